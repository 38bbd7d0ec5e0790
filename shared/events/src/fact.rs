//! Facts: statements of what happened. People, the recorder, alerts and metrics read them; nothing that matters lives
//! in them alone.

use holdfast_format::{
    Artefact, ArtefactId, Class, Digest, Expected, FailureSubject, Level, PlaceName, RunId, SourceName, Stage,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Message, Outcome};

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    pub run: RunId,
    pub at: Timestamp,
    pub what: What,
}

impl Message for Fact {
    const NAME: &'static str = "fact";
}

/// The content of a fact. Facts can be made again from the repository, except the two that only inform: `Started`,
/// `Captured`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The run's expectations are written down.
    RunStarted {
        /// Number of sources; their names stand in `runs/<run>/expected`.
        sources: u32,
        /// The class that retention keeps the run by.
        class: Class,
        /// A word by which people find the run.
        label: Option<String>,
        /// The time after which whatever has not come has failed.
        deadline: Timestamp,
    },
    /// A source's artefacts are written down. Told in pages, as a server may have thousands.
    SourceListed {
        source: SourceName,
        /// Number of this page, from 0.
        page: u32,
        /// Number of pages of the listing.
        pages: u32,
        artefacts: Vec<Artefact>,
    },
    /// A worker began with an artefact.
    ArtefactStarted {
        artefact: ArtefactId,
        /// Number of the attempt, from 1.
        attempt: u32,
    },
    /// An artefact's stream was read to its end; packs may still be waiting for their seal.
    ArtefactCaptured {
        artefact: ArtefactId,
        attempt: u32,
        /// Bytes of the stream.
        size: u64,
        /// Bytes of chunks that the repository did not have.
        new_bytes: u64,
        /// Number of warnings.
        warnings: u64,
    },
    /// An artefact's manifest stands in the repository.
    ArtefactSealed {
        artefact: ArtefactId,
        /// SHA-256 of the sealed manifest.
        manifest: Digest,
        /// Bytes of the stream.
        size: u64,
        /// Sealed bytes that the artefact added to the repository.
        stored: u64,
        /// Number of warnings.
        warnings: u64,
    },
    /// An artefact was read back and is good.
    ArtefactVerified { artefact: ArtefactId, level: Level },
    /// A target has an artefact whole.
    ArtefactSynced {
        artefact: ArtefactId,
        target: PlaceName,
        /// Bytes that were sent.
        sent: u64,
    },
    /// Something expected will not come.
    Failed {
        subject: FailureSubject,
        stage: Stage,
        reason: String,
    },
    /// The restore point stands in the repository.
    RunRecorded {
        /// True if everything expected is in the restore point, and good.
        complete: bool,
    },
    /// A target has the restore point.
    PointSynced { target: PlaceName },
    /// Retention was applied at a place.
    PlaceCleaned {
        place: PlaceName,
        /// Number of runs that were given up.
        expired: u64,
        /// Number of objects that were deleted.
        deleted: u64,
        /// Bytes that were freed.
        freed: u64,
    },
    /// All steps of the run are done.
    RunFinished { outcome: Outcome },
}

impl What {
    /// Noun and fact, as the subject has them.
    #[must_use]
    pub fn name(&self) -> (&'static str, &'static str) {
        match self {
            Self::RunStarted { .. } => ("run", "started"),
            Self::SourceListed { .. } => ("source", "listed"),
            Self::ArtefactStarted { .. } => ("artefact", "started"),
            Self::ArtefactCaptured { .. } => ("artefact", "captured"),
            Self::ArtefactSealed { .. } => ("artefact", "sealed"),
            Self::ArtefactVerified { .. } => ("artefact", "verified"),
            Self::ArtefactSynced { .. } => ("artefact", "synced"),
            Self::Failed { subject, .. } => match subject {
                FailureSubject::Source(_) => ("source", "failed"),
                FailureSubject::Artefact(_) | FailureSubject::ArtefactAt(..) => ("artefact", "failed"),
                FailureSubject::Place(_) => ("place", "failed"),
            },
            Self::RunRecorded { .. } => ("run", "recorded"),
            Self::PointSynced { .. } => ("point", "synced"),
            Self::PlaceCleaned { .. } => ("place", "cleaned"),
            Self::RunFinished { .. } => ("run", "finished"),
        }
    }

    /// The artefact it is about, if it is about one.
    #[must_use]
    pub fn artefact(&self) -> Option<ArtefactId> {
        match self {
            Self::ArtefactStarted { artefact, .. }
            | Self::ArtefactCaptured { artefact, .. }
            | Self::ArtefactSealed { artefact, .. }
            | Self::ArtefactVerified { artefact, .. }
            | Self::ArtefactSynced { artefact, .. } => Some(*artefact),
            Self::Failed {
                subject: FailureSubject::Artefact(id) | FailureSubject::ArtefactAt(id, _),
                ..
            } => Some(*id),
            _ => None,
        }
    }
}

impl Fact {
    /// Makes the facts that tell a source's artefacts, in pages of at most 200.
    #[must_use]
    pub fn listed(run: RunId, at: Timestamp, source: &SourceName, artefacts: &[Artefact]) -> Vec<Self> {
        const PAGE: usize = 200;
        let pages = artefacts.len().div_ceil(PAGE).max(1) as u32;
        let mut chunks = artefacts.chunks(PAGE);
        (0..pages)
            .map(|page| {
                let artefacts = chunks.next().unwrap_or_default().to_vec();
                Self {
                    run,
                    at,
                    what: What::SourceListed {
                        source: source.clone(),
                        page,
                        pages,
                        artefacts,
                    },
                }
            })
            .collect()
    }

    /// Makes the first fact of a run.
    #[must_use]
    pub fn started(expected: &Expected) -> Self {
        let what = What::RunStarted {
            sources: expected.sources.len() as u32,
            class: expected.class,
            label: expected.label.clone(),
            deadline: expected.deadline,
        };
        Self {
            run: expected.run,
            at: expected.created,
            what,
        }
    }
}
