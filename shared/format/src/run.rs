//! The records of a run: its expectations, listings, failures, and the restore point (docs/format.md, section 6).

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Artefact, ArtefactId, BusUser, Class, Digest, Level, ObjectKey, PlaceName, Record, RunId, ScheduleName, Signers,
    Site, SourceKind, SourceName, Stage,
};

/// The cause of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A person asked for the run.
    Manual,
    /// A schedule's slot came due.
    Schedule {
        /// The name of the schedule.
        name: ScheduleName,
        /// The time at which the run was due.
        slot: Timestamp,
        /// Number of earlier slots that were missed and are not made up for.
        missed: u32,
    },
}

/// A requester of runs: named in a run's expectations, for whoever looks later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskedBy {
    /// A schedule of the configuration.
    Schedule(ScheduleName),
    /// A user of the message bus.
    User {
        /// The user, as the bus's server knows it.
        name: BusUser,
        /// The person, as the user's program tells: a Unix user. No proof of it is asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        person: Option<String>,
    },
}

impl fmt::Display for AskedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schedule(name) => write!(f, "schedule {name}"),
            Self::User { name, person: None } => write!(f, "{name}"),
            Self::User {
                name,
                person: Some(person),
            } => write!(f, "{name} ({person})"),
        }
    }
}

/// A source that a run is to bring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedSource {
    pub name: SourceName,
    pub kind: SourceKind,
    pub site: Site,
}

/// The steps after sealing an artefact, and after the restore point.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steps {
    /// The level to which each artefact is read back; none to read nothing.
    #[serde(default)]
    pub verify: Option<Level>,
    /// The targets to which artefacts and restore point are copied.
    #[serde(default)]
    pub targets: Vec<PlaceName>,
    /// The places at which retention is applied afterwards.
    #[serde(default)]
    pub clean: Vec<PlaceName>,
}

/// The expectations of a run, written before anything is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    pub run: RunId,
    /// The time at which the run was started.
    pub created: Timestamp,
    pub reason: Reason,
    /// The requester of the run.
    pub requester: AskedBy,
    /// The site of the scheduler: where verification, sync and retention run by default.
    pub site: Site,
    /// The type that was asked for: `all`, `databases`, `volumes`, `full`.
    pub backup_type: String,
    /// Limits Docker sources to this stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    pub sources: Vec<ExpectedSource>,
    pub steps: Steps,
    pub class: Class,
    /// A word by which people find the run.
    #[serde(default)]
    pub label: Option<String>,
    /// The time until which the run is held.
    #[serde(default)]
    pub hold_until: Option<Timestamp>,
    /// True if artefacts are captured without parents.
    #[serde(default)]
    pub fresh: bool,
    /// The time after which whatever has not come has failed.
    pub deadline: Timestamp,
    /// W3C trace context of the run's start, so that work asked for later belongs to the same trace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trace: BTreeMap<String, String>,
}

impl Expected {
    /// Returns the source of this name.
    #[must_use]
    pub fn source(&self, name: &SourceName) -> Option<&ExpectedSource> {
        self.sources.iter().find(|s| s.name == *name)
    }
}

/// The artefacts that one source is to bring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub run: RunId,
    pub source: SourceName,
    /// The time of the listing.
    pub at: Timestamp,
    pub artefacts: Vec<Artefact>,
    /// The images in use, if the source is a Docker engine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageInUse>,
    /// Notes for the operator: what is left out and why, labels without effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The image that a container was made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageInUse {
    /// The site of its engine.
    pub site: Site,
    /// The container's name.
    pub container: String,
    /// The stack that the container belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// The stack's service that the container runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The name by which the image was asked for.
    pub image: String,
    /// The engine's id of the image: `sha256:...` of its configuration.
    pub id: String,
    /// Names by which exactly this image can be pulled again: `repository@sha256:...`. Empty for images made on the
    /// host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<String>,
}

/// The thing that failed in a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureSubject {
    /// A source as a whole: it could not be listed.
    Source(SourceName),
    /// An artefact, at every place.
    Artefact(ArtefactId),
    /// An artefact at one target; elsewhere it may be good.
    ArtefactAt(ArtefactId, PlaceName),
    /// The run's own step at a place: copying the restore point, retention.
    Place(PlaceName),
}

/// A failure: something expected did not come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub run: RunId,
    pub subject: FailureSubject,
    pub stage: Stage,
    /// The reason, for people. Holds no secrets.
    pub reason: String,
    pub at: Timestamp,
}

impl Failure {
    /// Returns the key under which the record is stored.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        match &self.subject {
            FailureSubject::Source(source) => ObjectKey::SourceFailed(self.run, source.clone()),
            FailureSubject::Artefact(id) => ObjectKey::ArtefactFailed(self.run, *id, None),
            FailureSubject::ArtefactAt(id, place) => ObjectKey::ArtefactFailed(self.run, *id, Some(place.clone())),
            FailureSubject::Place(place) => ObjectKey::PlaceFailed(self.run, place.clone()),
        }
    }
}

/// The status of an artefact in a restore point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PointStatus {
    /// Sealed, and verified if that was wanted.
    Good {
        /// SHA-256 of the sealed manifest.
        manifest: Digest,
        /// The level to which the artefact was verified.
        verified: Option<Level>,
    },
    /// The artefact did not come, or is not what it should be.
    Failed { stage: Stage, reason: String },
}

/// An artefact in a restore point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointArtefact {
    pub source: SourceName,
    pub artefact: Artefact,
    pub status: PointStatus,
}

/// The signed record of a run whose artefacts have come or failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePoint {
    pub run: RunId,
    /// The time at which the run was started.
    pub started: Timestamp,
    /// The time at which this record was written.
    pub recorded: Timestamp,
    /// True if everything that was expected is here and good.
    pub complete: bool,
    pub reason: Reason,
    /// The type that was asked for.
    pub backup_type: String,
    /// The stack, if the run was asked for one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    pub class: Class,
    /// A word by which people find the run.
    #[serde(default)]
    pub label: Option<String>,
    /// The time until which the run is held.
    #[serde(default)]
    pub hold_until: Option<Timestamp>,
    /// Every artefact that was listed.
    pub artefacts: Vec<PointArtefact>,
    /// Sources that could not be listed, each with the reason.
    #[serde(default)]
    pub failed_sources: BTreeMap<SourceName, String>,
    /// The images in use when the sources were listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageInUse>,
    /// Notes for the operator on the listings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl RestorePoint {
    /// Returns the artefacts that can be restored.
    pub fn good(&self) -> impl Iterator<Item = &PointArtefact> {
        self.artefacts
            .iter()
            .filter(|a| matches!(a.status, PointStatus::Good { .. }))
    }
}

/// A restore point's copy at a target, with all that it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointCopied {
    pub run: RunId,
    pub place: PlaceName,
    pub at: Timestamp,
}

impl Record for PointCopied {
    const KIND: &'static str = "copied";

    fn belongs_at(&self, key: &ObjectKey) -> bool {
        *key == ObjectKey::Copied(self.run, self.place.clone())
    }
}

/// The end of a run: the last record that it gets, at the place where it was captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    pub run: RunId,
    pub at: Timestamp,
    /// The outcome's word: `complete`, `partial` or `failed`.
    pub outcome: String,
    /// Failures of the run, for people.
    pub failures: Vec<String>,
}

impl Record for Finished {
    const KIND: &'static str = "finished";

    fn belongs_at(&self, key: &ObjectKey) -> bool {
        *key == ObjectKey::Finished(self.run)
    }
}

impl Record for Expected {
    const KIND: &'static str = "expected";

    fn belongs_at(&self, key: &ObjectKey) -> bool {
        *key == ObjectKey::Expected(self.run)
    }
}

impl Record for Listed {
    const KIND: &'static str = "listed";

    fn belongs_at(&self, key: &ObjectKey) -> bool {
        *key == ObjectKey::Listed(self.run, self.source.clone())
    }
}

impl Record for Failure {
    const KIND: &'static str = "failure";

    fn belongs_at(&self, key: &ObjectKey) -> bool {
        *key == self.key()
    }

    fn signers(&self) -> Signers {
        Signers::of_stage(self.stage)
    }
}

impl Record for RestorePoint {
    const KIND: &'static str = "restore-point";

    fn belongs_at(&self, key: &ObjectKey) -> bool {
        *key == ObjectKey::RestorePoint(self.run)
    }
}
