//! The repository's own record, and verifications' records.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::run::Level;
use crate::{ArtefactId, ChunkKey, ChunkerParams, ObjectKey, PlaceName, Record, RunId};

/// `repository.pgp`: what every reader and writer of the repository must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryInfo {
    /// When it was made.
    pub created: Timestamp,
    /// How content is cut.
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

/// One thing that a verification found wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The object, by its key.
    pub object: String,
    /// What is wrong with it, for people.
    pub problem: String,
}

/// One verification of one artefact at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// This record; a UUID version 7.
    pub id: Uuid,
    /// The artefact.
    pub artefact: ArtefactId,
    /// The run that asked for it, if one did.
    #[serde(default)]
    pub run: Option<RunId>,
    /// Where it was read.
    pub place: PlaceName,
    /// To which level.
    pub level: Level,
    /// Whether everything was as it should be.
    pub good: bool,
    /// What was not; at most 100 are told.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// How many findings there were.
    #[serde(default)]
    pub total_findings: u64,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Sealed bytes read.
    pub bytes_read: u64,
    /// How many of the packs' messages hold an encrypted session key for each recipient of the manifest.
    #[serde(default)]
    pub recipients_proven: bool,
}

impl Record for Verification {
    const KIND: &'static str = "verification";

    fn belongs_at(&self, key: &ObjectKey) -> bool {
        *key == ObjectKey::Verified(self.artefact, self.id)
    }
}
