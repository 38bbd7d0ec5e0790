//! The content of a place, as far as retention needs to know it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use holdfast_format::{ArtefactId, ArtefactKind, Class, Level, ObjectKey, PackId, PlaceName, RunId, SourceName};
use jiff::Timestamp;

use super::Described;

/// The content of a place. An object that cannot be read or understood is named in `unreadable`. Then nothing is
/// deleted, since that object may be the only one that names a pack.
#[derive(Clone, Debug)]
pub(crate) struct PlaceView {
    pub place: PlaceName,
    /// All runs, in any order, those among them that are given up and not deleted yet.
    pub runs: Vec<RunView>,
    /// Artefacts whose run has no record and no tombstone here.
    pub orphans: Vec<ArtefactView>,
    /// All packs, by id.
    pub packs: BTreeMap<PackId, PackView>,
    /// Packs that are condemned, with the time of each mark.
    pub condemned: BTreeMap<PackId, Timestamp>,
    /// The keys of manifests and records that cannot be read, each with the reason.
    pub unreadable: Vec<String>,
    /// The latest time in the past that any manifest or record here names.
    pub newest_record: Option<Timestamp>,
    /// The time by the place's own clock, if it has one (a store's `Date`).
    pub place_time: Option<Timestamp>,
}

/// A stored object, with its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub key: ObjectKey,
    pub size: u64,
}

/// A stored pack: its size, and the time at which it was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackView {
    pub size: u64,
    /// Time at which the pack was stored.
    pub modified: Timestamp,
}

/// One run at a place.
#[derive(Clone, Debug)]
pub(crate) struct RunView {
    pub run: RunId,
    /// Time of the run's start.
    pub started: Timestamp,
    /// The class, which decides how long the run is kept.
    pub class: Class,
    /// A label that somebody gave the run.
    pub label: Option<String>,
    /// True if the run's restore point is here.
    pub recorded: bool,
    /// The deadline of the run. `None` only if no record names one.
    pub deadline: Option<Timestamp>,
    /// The targets that the run is copied to.
    pub targets: Vec<PlaceName>,
    /// The hold of the run: the latest of those that its records and its hold name.
    pub hold: Option<Hold>,
    /// Set once retention has given the run up.
    pub tombstone: Option<Tombstoned>,
    /// The run's artefacts: those listed and those captured; with a tombstone, those that it names and that left an
    /// object.
    pub artefacts: Vec<ArtefactView>,
    /// The run's own objects: everything under `runs/<run>/`, and `holds/<run>`.
    pub objects: Vec<Object>,
}

/// The end of a run's hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The run is held until this time.
    Until(Timestamp),
    /// The run is held until somebody releases it.
    Forever,
}

/// The tombstone of a run that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tombstoned {
    /// Time at which the run was given up.
    pub at: Timestamp,
    pub rule: String,
}

/// One artefact at a place.
#[derive(Clone, Debug)]
pub(crate) struct ArtefactView {
    pub id: ArtefactId,
    /// The subject of the artefact. `None` if its manifest and its listing are both gone.
    pub subject: Option<Subject>,
    /// True if the artefact's manifest is here.
    pub manifest: bool,
    /// True if something is known against the artefact: its run failed on it, or it was found damaged; and it was not
    /// found good since.
    pub bad: bool,
    /// The deepest level at which the artefact was ever found good, whatever was found since.
    pub verified: Option<Level>,
    /// The packs that the artefact's manifest names.
    pub packs: Vec<PackId>,
    /// The artefact's objects: everything under `artefacts/<id>/`.
    pub objects: Vec<Object>,
}

/// The thing that artefacts of different runs are backups of: one database, or one directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub source: SourceName,
    /// The kind of artefact.
    pub kind: ArtefactKind,
    /// The name at the source.
    pub name: String,
}

/// The other places, by name. A target that is no longer configured is not among them, and does not keep anything.
pub(crate) type Others = BTreeMap<PlaceName, Other>;

/// The content of another place, as far as it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    /// The place was read.
    Seen {
        /// Runs that have an object there and are not given up there.
        runs: BTreeSet<RunId>,
        /// Artefacts whose manifest is there and was read, so that the whole artefact is there.
        artefacts: BTreeSet<ArtefactId>,
        /// Runs that the place had, and that its own retention has given up, by tombstones that were read.
        given_up: BTreeSet<RunId>,
    },
    /// The place could not be read, for this reason.
    Unseen(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names come from the source. A line break in a name must not forge a line of the report.
        write!(f, "{} {}/{}", self.kind, self.source, self.name.escape_debug())
    }
}

impl Hold {
    /// True if the run is still held at `now`.
    #[must_use]
    pub(crate) fn is_in_force(self, now: Timestamp) -> bool {
        match self {
            Self::Until(until) => until > now,
            Self::Forever => true,
        }
    }
}

impl ArtefactView {
    /// True if the artefact is here, and nothing is known against it.
    #[must_use]
    pub(crate) fn is_good(&self) -> bool {
        self.manifest && !self.bad
    }
}

impl RunView {
    /// Returns the run as people know it.
    #[must_use]
    pub(crate) fn described(&self) -> Described {
        Described {
            run: self.run,
            started: self.started,
            class: self.class,
            label: self.label.clone(),
        }
    }

    /// True if the run may still get a restore point.
    #[must_use]
    pub(crate) fn is_going_on(&self, now: Timestamp) -> bool {
        self.tombstone.is_none() && !self.recorded && self.deadline.is_none_or(|deadline| deadline > now)
    }
}

impl PlaceView {
    /// Returns every artefact that is here.
    pub(super) fn artefacts(&self) -> impl Iterator<Item = &ArtefactView> {
        self.runs.iter().flat_map(|run| &run.artefacts).chain(&self.orphans)
    }

    pub(super) fn newest_first(&self) -> Vec<&RunView> {
        let mut runs: Vec<&RunView> = self.runs.iter().collect();
        runs.sort_by_key(|run| std::cmp::Reverse((run.started, run.run)));
        runs
    }
}
