//! Work: what a stage is asked to do. A message is a hint of where to look; what is to be done stands in the repository.

use std::fmt;

use holdfast_format::{ArtefactId, Level, PackId, PlaceName, RunId, Site, SourceKind, SourceName};
use serde::{Deserialize, Serialize};

use crate::Message;

/// A stage of the pipeline as a consumer sees it. Listing and capturing are told apart by who does them, since two
/// consumers of a work queue must not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkStage {
    /// List a PostgreSQL server's databases.
    ListPostgres,
    /// List a set of paths.
    ListFiles,
    /// Capture a database or the globals.
    CapturePostgres,
    /// Capture a directory or the system's paths.
    CaptureFiles,
    /// Seal one pack.
    Seal,
    /// Write contents and manifest.
    Close,
    /// Verify one artefact.
    Verify,
    /// Copy one artefact, or the restore point, to one target.
    Sync,
    /// Apply retention at one place.
    Clean,
}

impl WorkStage {
    /// Every stage.
    pub const ALL: [Self; 9] = [
        Self::ListPostgres,
        Self::ListFiles,
        Self::CapturePostgres,
        Self::CaptureFiles,
        Self::Seal,
        Self::Close,
        Self::Verify,
        Self::Sync,
        Self::Clean,
    ];

    /// Its token in subjects and consumer names.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ListPostgres => "list-postgres",
            Self::ListFiles => "list-files",
            Self::CapturePostgres => "capture-postgres",
            Self::CaptureFiles => "capture-files",
            Self::Seal => "seal",
            Self::Close => "close",
            Self::Verify => "verify",
            Self::Sync => "sync",
            Self::Clean => "clean",
        }
    }

    /// The stage that lists sources of this kind.
    #[must_use]
    pub fn list(kind: SourceKind) -> Self {
        match kind {
            SourceKind::Postgres => Self::ListPostgres,
            SourceKind::Files => Self::ListFiles,
        }
    }

    /// The stage that captures from sources of this kind.
    #[must_use]
    pub fn capture(kind: SourceKind) -> Self {
        match kind {
            SourceKind::Postgres => Self::CapturePostgres,
            SourceKind::Files => Self::CaptureFiles,
        }
    }
}

impl fmt::Display for WorkStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Find out which artefacts a source has, and write that down.
    List {
        /// The source.
        source: SourceName,
        /// Who lists it.
        kind: SourceKind,
    },
    /// Capture one artefact.
    Capture {
        /// Its source.
        source: SourceName,
        /// Who captures it.
        kind: SourceKind,
        /// The artefact.
        artefact: ArtefactId,
    },
    /// Seal one staged pack.
    Seal {
        /// The artefact it was captured for.
        artefact: ArtefactId,
        /// The attempt it was staged in.
        attempt: u32,
        /// The pack.
        pack: PackId,
    },
    /// Write an artefact's contents and manifest, once all its packs are sealed.
    Close {
        /// Its source.
        source: SourceName,
        /// The artefact.
        artefact: ArtefactId,
        /// The attempt that was captured whole.
        attempt: u32,
    },
    /// Read an artefact back.
    Verify {
        /// Its source.
        source: SourceName,
        /// The artefact.
        artefact: ArtefactId,
        /// How deep.
        level: Level,
    },
    /// Copy an artefact to a target.
    Sync {
        /// Its source.
        source: SourceName,
        /// The artefact.
        artefact: ArtefactId,
        /// The target.
        target: PlaceName,
    },
    /// Copy the restore point to a target that has all its good artefacts.
    SyncPoint {
        /// The target.
        target: PlaceName,
    },
    /// Apply retention at a place.
    Clean {
        /// The place.
        place: PlaceName,
    },
}

/// A job of a run, for who serves its site.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Work {
    /// The run.
    pub run: RunId,
    /// What its worker must be able to reach.
    pub site: Site,
    /// What is to be done.
    pub job: Job,
}

impl Message for Work {
    const NAME: &'static str = "work";
}

impl Work {
    /// The stage that does it.
    #[must_use]
    pub fn stage(&self) -> WorkStage {
        match &self.job {
            Job::List { kind, .. } => WorkStage::list(*kind),
            Job::Capture { kind, .. } => WorkStage::capture(*kind),
            Job::Seal { .. } => WorkStage::Seal,
            Job::Close { .. } => WorkStage::Close,
            Job::Verify { .. } => WorkStage::Verify,
            Job::Sync { .. } | Job::SyncPoint { .. } => WorkStage::Sync,
            Job::Clean { .. } => WorkStage::Clean,
        }
    }

    /// The artefact it is about, if it is about one.
    #[must_use]
    pub fn artefact(&self) -> Option<ArtefactId> {
        match &self.job {
            Job::Capture { artefact, .. }
            | Job::Seal { artefact, .. }
            | Job::Close { artefact, .. }
            | Job::Verify { artefact, .. }
            | Job::Sync { artefact, .. } => Some(*artefact),
            Job::List { .. } | Job::SyncPoint { .. } | Job::Clean { .. } => None,
        }
    }
}
