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
    /// Seal a single pack.
    Seal,
    /// Write an artefact's contents and manifest.
    Close,
    /// Read one artefact back.
    Verify,
    /// Copy one artefact, or the restore point, to one target.
    Sync,
    /// Apply retention at one place.
    Clean,
}

impl WorkStage {
    /// All stages, in the order of the pipeline.
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

    /// Returns the token for it in subjects and consumer names.
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

/// The task of one work message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Find out which artefacts a source has, and write that down.
    List {
        source: SourceName,
        /// The kind of source, which decides who lists it.
        kind: SourceKind,
    },
    /// Capture a single artefact.
    Capture {
        source: SourceName,
        /// The kind of source, which decides who captures it.
        kind: SourceKind,
        artefact: ArtefactId,
    },
    /// Seal one staged pack.
    Seal {
        artefact: ArtefactId,
        /// The attempt that staged the pack.
        attempt: u32,
        pack: PackId,
    },
    /// Write an artefact's contents and manifest, once all its packs are sealed.
    Close {
        source: SourceName,
        artefact: ArtefactId,
        /// The attempt that was captured whole.
        attempt: u32,
    },
    /// Read an artefact back from the repository.
    Verify {
        source: SourceName,
        artefact: ArtefactId,
        level: Level,
    },
    /// Copy an artefact to a target.
    Sync {
        source: SourceName,
        artefact: ArtefactId,
        target: PlaceName,
    },
    /// Copy the restore point to a target that has all its good artefacts.
    SyncPoint { target: PlaceName },
    /// Apply retention at a place.
    Clean { place: PlaceName },
}

/// A job of a run, for workers that serve its site.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Work {
    pub run: RunId,
    /// The site that the worker must be able to reach.
    pub site: Site,
    pub job: Job,
}

impl Message for Work {
    const NAME: &'static str = "work";
}

impl Work {
    /// Returns the stage that does the job.
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

    /// Returns the artefact that the job is about, if it is about one.
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
