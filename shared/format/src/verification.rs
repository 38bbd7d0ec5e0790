//! The repository's own record, and verifications' records.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::vocabulary::Level;
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

/// A fault that a verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The key of the object.
    pub object: String,
    /// The fault in words, for people.
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
    /// True if no fault was found.
    pub good: bool,
    /// The faults, the first 100 of them.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// The number of all faults.
    #[serde(default)]
    pub total_findings: u64,
    pub started: Timestamp,
    pub finished: Timestamp,
    /// Sealed bytes that were read.
    pub bytes_read: u64,
    /// True if every pack's message holds an encrypted session key for each recipient of the manifest.
    #[serde(default)]
    pub recipients_proven: bool,
}

impl Record for Verification {
    const KIND: &'static str = "verification";

    fn belongs_at(&self, key: &ObjectKey) -> bool {
        *key == ObjectKey::Verified(self.artefact, self.id)
    }
}
