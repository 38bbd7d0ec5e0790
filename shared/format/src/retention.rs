//! Retention's own records (docs/format.md, section 7).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ArtefactId, ObjectKey, PackId, PlaceName, Record, RunId};

/// A run kept until a date, whatever retention says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The run.
    pub run: RunId,
    /// Until then; `None` keeps it until it is released.
    pub until: Option<Timestamp>,
    /// When it was held.
    pub at: Timestamp,
    /// Why, in the operator's words.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A run given up by retention at this place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The run.
    pub run: RunId,
    /// When it was given up.
    pub at: Timestamp,
    /// By which rule.
    pub rule: String,
    /// Its artefacts, so that an interrupted deletion can be finished without their records.
    pub artefacts: Vec<ArtefactId>,
}

/// A pack that no manifest of the place names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condemned {
    /// The pack.
    pub pack: PackId,
    /// When it was condemned; it goes after the grace period.
    pub at: Timestamp,
}

/// A pack that a verification found damaged or missing: no later capture references it, or gives its id to a new pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    /// The pack.
    pub pack: PackId,
    /// When it was found.
    pub at: Timestamp,
    /// The artefact that was verified.
    pub artefact: ArtefactId,
    /// What is wrong with it.
    pub problem: String,
}

/// One deletion of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// The object's key.
    pub object: String,
    /// By which rule.
    pub rule: String,
}

/// What retention did at one place after a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanReport {
    /// The run after which it was done.
    pub run: RunId,
    /// The place.
    pub place: PlaceName,
    /// When it was planned.
    pub at: Timestamp,
    /// Runs kept.
    pub kept_runs: u64,
    /// Runs given up.
    pub expired_runs: Vec<RunId>,
    /// Packs condemned.
    pub condemned: u64,
    /// Packs that came back into use and were spared.
    pub spared: u64,
    /// Objects deleted; at most 1000 are told.
    pub deleted: Vec<Deleted>,
    /// How many were deleted.
    pub total_deleted: u64,
    /// Bytes freed.
    pub freed_bytes: u64,
    /// What retention would have done and did not, and why (holds, last good backups, what a target lacks, the brake).
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
