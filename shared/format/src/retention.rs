//! The records of retention (docs/format.md, section 7).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ArtefactId, ObjectKey, PackId, PlaceName, Record, RunId};

/// A run kept until a date, whatever retention says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub run: RunId,
    /// The end of the hold. `None` keeps the run until it is released.
    pub until: Option<Timestamp>,
    /// The time at which somebody held the run.
    pub at: Timestamp,
    /// The operator's words.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A run given up by retention at this place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    pub run: RunId,
    /// The time at which the run was given up.
    pub at: Timestamp,
    /// The rule that gave the run up.
    pub rule: String,
    /// The artefacts of the run, so that an interrupted deletion can be finished without their records.
    pub artefacts: Vec<ArtefactId>,
}

/// A pack that no manifest of the place names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condemned {
    pub pack: PackId,
    /// The time at which the pack was condemned. It is deleted after the grace period.
    pub at: Timestamp,
}

/// A pack that a verification found damaged or missing: no later capture references it, or gives its id to a new pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    pub pack: PackId,
    /// The time at which the damage was found.
    pub at: Timestamp,
    /// The artefact whose verification found it.
    pub artefact: ArtefactId,
    /// The damage in words, for people.
    pub problem: String,
}

/// A deleted object in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// The key of the object.
    pub object: String,
    /// The rule that asked for the deletion.
    pub rule: String,
}

/// The result of retention at one place after a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanReport {
    /// The run after which retention was applied.
    pub run: RunId,
    pub place: PlaceName,
    /// The time at which the plan was made.
    pub at: Timestamp,
    /// Number of runs that stay.
    pub kept_runs: u64,
    /// Runs that were given up.
    pub expired_runs: Vec<RunId>,
    /// Number of packs that were condemned.
    pub condemned: u64,
    /// Number of packs that came back into use and were spared.
    pub spared: u64,
    /// Objects that were deleted, the first 1000 of them.
    pub deleted: Vec<Deleted>,
    /// Number of objects that were deleted.
    pub total_deleted: u64,
    pub freed_bytes: u64,
    /// Steps that were due and not taken, each with the reason: holds, last good backups, what a target lacks, the
    /// brake.
    pub refused: Vec<String>,
}

macro_rules! keyed_record {
    ($name:ident, $kind:literal, $this:ident => $key:expr) => {
        impl Record for $name {
            const KIND: &'static str = $kind;

            fn belongs_at(&self, key: &ObjectKey) -> bool {
                let $this = self;
                *key == $key
            }
        }
    };
}

keyed_record!(Hold, "hold", r => ObjectKey::Hold(r.run));
keyed_record!(Tombstone, "tombstone", r => ObjectKey::Tombstone(r.run));
keyed_record!(Condemned, "condemned", r => ObjectKey::Condemned(r.pack));
keyed_record!(Damaged, "damaged", r => ObjectKey::Damaged(r.pack));
keyed_record!(CleanReport, "clean-report", r => ObjectKey::Cleaned(r.run, r.place.clone()));
