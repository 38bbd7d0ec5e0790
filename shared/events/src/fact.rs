//! Facts: what happened. People, the recorder, alerts and metrics read them; nothing that matters lives in them alone.

use holdfast_format::{
    Artefact, ArtefactId, Class, Digest, Expected, FailureSubject, Level, PlaceName, RunId, SourceName, Stage,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Message, Outcome};

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// The run.
    pub run: RunId,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

impl Message for Fact {
    const NAME: &'static str = "fact";
}

/// What happened. Each can be made again from the repository but the two that only inform: `Started`, `Captured`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The run's expectations are written down.
    RunStarted {
        /// How many sources it has; the rest stands in `runs/<run>/expected`.
        sources: u32,
        /// What retention goes by.
        class: Class,
        /// A word that people find it by.
        label: Option<String>,
        /// What has not come by then has failed.
        deadline: Timestamp,
    },
    /// A source's artefacts are written down. Told in pages, as a server may have thousands.
    SourceListed {
        /// The source.
        source: SourceName,
        /// This page, from 0.
        page: u32,
        /// How many pages there are.
        pages: u32,
        /// The artefacts of this page.
        artefacts: Vec<Artefact>,
    },
    /// A worker began with an artefact.
    ArtefactStarted {
        /// The artefact.
        artefact: ArtefactId,
        /// Which attempt it is.
        attempt: u32,
    },
    /// Its stream was read to its end; packs may still be waiting for their seal.
    ArtefactCaptured {
        /// The artefact.
        artefact: ArtefactId,
        /// Which attempt it was.
        attempt: u32,
        /// Bytes of the stream.
        size: u64,
        /// Bytes that were new.
        new_bytes: u64,
        /// Warnings of the capture.
        warnings: u64,
    },
    /// Its manifest stands in the repository.
    ArtefactSealed {
        /// The artefact.
        artefact: ArtefactId,
        /// SHA-256 of the sealed manifest.
        manifest: Digest,
        /// Bytes of the stream.
        size: u64,
        /// Sealed bytes that it added to the repository.
        stored: u64,
        /// Warnings of the capture.
        warnings: u64,
    },
    /// It was read back and is good.
    ArtefactVerified {
        /// The artefact.
        artefact: ArtefactId,
        /// How deep.
        level: Level,
    },
    /// A target has it whole.
    ArtefactSynced {
        /// The artefact.
        artefact: ArtefactId,
        /// The target.
        target: PlaceName,
        /// Bytes sent for it.
        sent: u64,
    },
    /// Something will not come.
    Failed {
        /// What.
        subject: FailureSubject,
        /// In which stage.
        stage: Stage,
        /// Why.
        reason: String,
    },
    /// The restore point stands in the repository.
    RunRecorded {
        /// Whether everything expected is in it and good.
        complete: bool,
    },
    /// A target has the restore point.
    PointSynced {
        /// The target.
        target: PlaceName,
    },
    /// Retention was applied at a place.
    PlaceCleaned {
        /// The place.
        place: PlaceName,
        /// Runs given up.
        expired: u64,
        /// Objects deleted.
        deleted: u64,
        /// Bytes freed.
        freed: u64,
    },
    /// All steps are done.
    RunFinished {
        /// How it ended.
        outcome: Outcome,
    },
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
    /// Facts that tell of a source's artefacts, in pages of at most 200.
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

    /// The run's first fact.
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
