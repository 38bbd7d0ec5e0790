//! What a place holds, as far as retention needs to know.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use holdfast_format::{ArtefactId, ArtefactKind, Class, Level, ObjectKey, PackId, PlaceName, RunId, SourceName};
use jiff::Timestamp;

use super::Described;

/// Everything that a place holds. Whatever could not be read or made sense of belongs in `unreadable`: then nothing
/// is deleted, since what is not understood may be the only thing that names a pack.
#[derive(Clone, Debug)]
pub struct PlaceView {
    /// The place.
    pub place: PlaceName,
    /// Its runs, those given up and not gone yet among them, in any order.
    pub runs: Vec<RunView>,
    /// Artefacts whose run has no record and no tombstone here.
    pub orphans: Vec<ArtefactView>,
    /// Its packs.
    pub packs: BTreeMap<PackId, PackView>,
    /// Packs that are condemned, and since when.
    pub condemned: BTreeMap<PackId, Timestamp>,
    /// Manifests and records that could not be read, by their keys.
    pub unreadable: Vec<String>,
    /// The latest time that any manifest or record here names as past.
    pub newest_record: Option<Timestamp>,
    /// What time the place itself says it is, if it does (a store's `Date`).
    pub place_time: Option<Timestamp>,
}

/// A stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Where it is.
    pub key: ObjectKey,
    /// Its bytes.
    pub size: u64,
}

/// A stored pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackView {
    /// Its bytes.
    pub size: u64,
    /// When it was stored.
    pub modified: Timestamp,
}

/// One run at a place.
#[derive(Clone, Debug)]
pub struct RunView {
    /// The run.
    pub run: RunId,
    /// When it was started.
    pub started: Timestamp,
    /// What retention goes by.
    pub class: Class,
    /// A word that people find it by.
    pub label: Option<String>,
    /// Whether its restore point is here.
    pub recorded: bool,
    /// By when everything was to have come. `None` only if nothing says so.
    pub deadline: Option<Timestamp>,
    /// The targets it is to be copied to.
    pub targets: Vec<PlaceName>,
    /// How long it is held: the latest of what its records and its hold say.
    pub hold: Option<Hold>,
    /// Set once retention gave it up.
    pub tombstone: Option<Tombstoned>,
    /// Its artefacts: those listed, those that came, and for a tombstone those that it names and that left anything.
    pub artefacts: Vec<ArtefactView>,
    /// Its own objects: everything under `runs/<run>/`, and `holds/<run>`.
    pub objects: Vec<Object>,
}

/// How long a run is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Until then.
    Until(Timestamp),
    /// Until somebody releases it.
    Forever,
}

/// A run that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstoned {
    /// When.
    pub at: Timestamp,
    /// By which rule.
    pub rule: String,
}

/// One artefact at a place.
#[derive(Clone, Debug)]
pub struct ArtefactView {
    /// The artefact.
    pub id: ArtefactId,
    /// What it is one of. `None` if its manifest and its listing are both gone.
    pub subject: Option<Subject>,
    /// Whether its manifest is here.
    pub manifest: bool,
    /// Whether something is known against it: its run failed on it, or it was found damaged, and not found good since.
    pub bad: bool,
    /// The deepest level at which it was ever found good, whatever was found since.
    pub verified: Option<Level>,
    /// The packs that its manifest names.
    pub packs: Vec<PackId>,
    /// Its objects: everything under `artefacts/<id>/`.
    pub objects: Vec<Object>,
}

/// What artefacts of different runs have in common: one database, one directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// The source.
    pub source: SourceName,
    /// What it is.
    pub kind: ArtefactKind,
    /// Its name at the source.
    pub name: String,
}

/// The other places, by name. A target that is no longer configured is not among them and holds nothing back.
pub type Others = BTreeMap<PlaceName, Other>;

/// What another place holds, as far as was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Other {
    /// It was looked at.
    Seen {
        /// Runs of which anything is there and that are not given up there.
        runs: BTreeSet<RunId>,
        /// Artefacts whose manifest is there and was read, so that all of them is.
        artefacts: BTreeSet<ArtefactId>,
        /// Runs that its own retention gave up, as tombstones say that were read: it had them.
        given_up: BTreeSet<RunId>,
    },
    /// It could not be looked at; why, for people.
    Unseen(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names come from the source: a line break in one must not forge a line of the report.
        write!(f, "{} {}/{}", self.kind, self.source, self.name.escape_debug())
    }
}

impl Hold {
    /// Whether it still holds.
    #[must_use]
    pub fn is_in_force(self, now: Timestamp) -> bool {
        match self {
            Self::Until(until) => until > now,
            Self::Forever => true,
        }
    }
}

impl ArtefactView {
    /// Whether it is here and nothing is known against it.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.manifest && !self.bad
    }
}

impl RunView {
    /// The run as people know it.
    #[must_use]
    pub fn described(&self) -> Described {
        Described {
            run: self.run,
            started: self.started,
            class: self.class,
            label: self.label.clone(),
        }
    }

    /// Whether something may still come of it.
    #[must_use]
    pub fn is_going_on(&self, now: Timestamp) -> bool {
        self.tombstone.is_none() && !self.recorded && self.deadline.is_none_or(|deadline| deadline > now)
    }
}

impl PlaceView {
    /// Every artefact that is here.
    pub(super) fn artefacts(&self) -> impl Iterator<Item = &ArtefactView> {
        self.runs.iter().flat_map(|run| &run.artefacts).chain(&self.orphans)
    }

    pub(super) fn newest_first(&self) -> Vec<&RunView> {
        let mut runs: Vec<&RunView> = self.runs.iter().collect();
        runs.sort_by_key(|run| std::cmp::Reverse((run.started, run.run)));
        runs
    }
}
