//! The repository's own record, and verifications' records.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::vocabulary::{Level, Verdict};
use crate::{ArtefactId, ChunkKey, ChunkerParams, ObjectKey, PlaceName, Record, RunId};

/// `repository.pgp`: what every reader and writer of the repository must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryInfo {
    /// The time at which the repository was made.
    pub created: Timestamp,
    /// The parameters by which content is cut.
    pub chunker: ChunkerParams,
    /// The key of chunk ids, pack ids and digests.
    pub chunk_key: ChunkKey,
}

impl Record for RepositoryInfo {
    const KIND: &'static str = "repository";

    fn belongs_at(&self, key: &ObjectKey) -> bool {
        *key == ObjectKey::Repository
    }
}

/// A fault that a verification found; in one whose verdict is unknown, an object that could not be judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The key of the object.
    pub object: String,
    /// The fault, or the reason why there is no judgement, in words for people.
    pub problem: String,
}

/// A verification of one artefact at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// The id of this record, a UUID version 7.
    pub id: Uuid,
    pub artefact: ArtefactId,
    /// The run that asked for it, if one did.
    #[serde(default)]
    pub run: Option<RunId>,
    /// The place that was read.
    pub place: PlaceName,
    pub level: Level,
    pub verdict: Verdict,
    /// The first 100 findings. None if the verdict is good.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// The number of all findings.
    #[serde(default)]
    pub total_findings: u64,
    pub started: Timestamp,
    pub finished: Timestamp,
    /// Sealed bytes that were read.
    pub bytes_read: u64,
    /// True if every pack's message holds an encrypted session key for each reader of the manifest.
    #[serde(default)]
    pub recipients_proven: bool,
}

impl Verification {
    /// True if the artefact was found as it was captured.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.verdict == Verdict::Good
    }

    /// True if damage was found. An artefact that could not be judged is neither damaged nor good.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.verdict == Verdict::Damaged
    }
}

impl Record for Verification {
    const KIND: &'static str = "verification";

    fn belongs_at(&self, key: &ObjectKey) -> bool {
        *key == ObjectKey::Verified(self.artefact, self.id)
    }
}
