//! A run's records: what is expected, what is listed, what failed, and the restore point (docs/format.md, section 6).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Artefact, ArtefactId, Digest, ObjectKey, PlaceName, Record, RunId, Site, SourceName};

macro_rules! word_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name in records, commands and output.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|v| v.as_str() == text).ok_or_else(|| {
                    let words: Vec<&str> = Self::ALL.iter().map(|v| v.as_str()).collect();
                    format!("{text:?} is not one of {}", words.join(", "))
                })
            }
        }
    };
}

word_enum!(
    /// What retention goes by. Ordered: a monthly backup also counts as a weekly and a daily one.
    Class {
        /// Kept for the shortest period.
        Daily = "daily",
        /// The week's first.
        Weekly = "weekly",
        /// The month's first.
        Monthly = "monthly",
        /// Kept until somebody says otherwise.
        Pinned = "pinned",
    }
);

word_enum!(
    /// How deep a verification goes. Each level includes those before it.
    Level {
        /// Every object is there, with the size and SHA-256 that the signed manifest names.
        Integrity = "integrity",
        /// Every pack opens; every chunk has its id; the stream has its digest; a dump's table of contents reads.
        Decrypt = "decrypt",
        /// Restored into a scratch server or directory, and compared.
        Restore = "restore",
    }
);

word_enum!(
    /// What kind of source it is: who lists and captures it.
    SourceKind {
        /// A PostgreSQL server.
        Postgres = "postgres",
        /// Directories and system paths.
        Files = "files",
    }
);

word_enum!(
    /// A stage of the pipeline, as failures name it.
    Stage {
        /// Listing a source's artefacts.
        List = "list",
        /// Capturing one.
        Capture = "capture",
        /// Sealing its packs.
        Seal = "seal",
        /// Writing contents and manifest.
        Close = "close",
        /// Reading it back.
        Verify = "verify",
        /// Copying it to a target.
        Sync = "sync",
        /// Retention at a place.
        Clean = "clean",
    }
);

/// Why a run was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Somebody asked.
    Manual,
    /// A schedule's slot came due.
    Schedule {
        /// The schedule's name.
        name: String,
        /// When it was due.
        slot: Timestamp,
        /// How many earlier slots were missed and are not made up for.
        missed: u32,
    },
}

/// A source that a run is to bring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedSource {
    /// Its name.
    pub name: SourceName,
    /// Who lists and captures it.
    pub kind: SourceKind,
    /// Where.
    pub site: Site,
}

/// What is done with each artefact after it was sealed, and with the run after its restore point.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steps {
    /// Read it back to this level.
    #[serde(default)]
    pub verify: Option<Level>,
    /// Copy it to these targets.
    #[serde(default)]
    pub targets: Vec<PlaceName>,
    /// Apply retention at these places afterwards.
    #[serde(default)]
    pub clean: Vec<PlaceName>,
}

/// What a run is to bring, written before anything is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// The run.
    pub run: RunId,
    /// When it was started.
    pub created: Timestamp,
    /// Why.
    pub reason: Reason,
    /// The site of the scheduler: where verification, sync and retention run by default.
    pub site: Site,
    /// What was asked for: `all`, `databases`, `volumes`, `full`.
    pub backup_type: String,
    /// Of Docker sources, only this stack's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// The sources.
    pub sources: Vec<ExpectedSource>,
    /// The steps.
    pub steps: Steps,
    /// What retention goes by.
    pub class: Class,
    /// A word that people find it by.
    #[serde(default)]
    pub label: Option<String>,
    /// Kept at least until then.
    #[serde(default)]
    pub hold_until: Option<Timestamp>,
    /// Captured without parents.
    #[serde(default)]
    pub fresh: bool,
    /// What has not come by then has failed.
    pub deadline: Timestamp,
    /// W3C trace context of the run's start, so that work asked for later belongs to the same trace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trace: BTreeMap<String, String>,
}

impl Expected {
    /// The source of this name.
    #[must_use]
    pub fn source(&self, name: &SourceName) -> Option<&ExpectedSource> {
        self.sources.iter().find(|s| s.name == *name)
    }
}

/// The artefacts that one source is to bring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The run.
    pub run: RunId,
    /// The source.
    pub source: SourceName,
    /// When it was listed.
    pub at: Timestamp,
    /// What was found.
    pub artefacts: Vec<Artefact>,
    /// The images in use, if the source is a Docker engine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageInUse>,
    /// What the operator should know of it: what is left out and why, labels without effect.
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
    /// Its stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// The stack's service that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The image as it was asked for.
    pub image: String,
    /// The engine's id of it: `sha256:...` of its configuration.
    pub id: String,
    /// By what it can be pulled again exactly: `repository@sha256:...`. Empty for images made on the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<String>,
}

/// What failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureSubject {
    /// A source as a whole: it could not be listed.
    Source(SourceName),
    /// An artefact, everywhere.
    Artefact(ArtefactId),
    /// An artefact at one target; elsewhere it may be good.
    ArtefactAt(ArtefactId, PlaceName),
    /// The run's own step at a place: copying the restore point, retention.
    Place(PlaceName),
}

/// Something that was to come and did not, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The run.
    pub run: RunId,
    /// What failed.
    pub subject: FailureSubject,
    /// In which stage.
    pub stage: Stage,
    /// Why, for people; no secrets.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Failure {
    /// The key it is stored under.
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

/// How one artefact of a restore point stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PointStatus {
    /// Sealed, and verified if that was wanted.
    Good {
        /// SHA-256 of the sealed manifest.
        manifest: Digest,
        /// To which level it was verified.
        verified: Option<Level>,
    },
    /// It did not come, or is not what it should be.
    Failed {
        /// In which stage.
        stage: Stage,
        /// Why.
        reason: String,
    },
}

/// One artefact of a restore point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointArtefact {
    /// Its source.
    pub source: SourceName,
    /// The artefact.
    pub artefact: Artefact,
    /// How it stands.
    pub status: PointStatus,
}

/// A finished run's signed record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePoint {
    /// The run.
    pub run: RunId,
    /// When the run was started.
    pub started: Timestamp,
    /// When this was written.
    pub recorded: Timestamp,
    /// Whether everything that was expected is here and good.
    pub complete: bool,
    /// Why the run was started.
    pub reason: Reason,
    /// What was asked for.
    pub backup_type: String,
    /// The stack that it is of, if one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// What retention goes by.
    pub class: Class,
    /// A word that people find it by.
    #[serde(default)]
    pub label: Option<String>,
    /// Kept at least until then.
    #[serde(default)]
    pub hold_until: Option<Timestamp>,
    /// Everything that was listed.
    pub artefacts: Vec<PointArtefact>,
    /// Sources that could not be listed, and why.
    #[serde(default)]
    pub failed_sources: BTreeMap<SourceName, String>,
    /// The images in use when the sources were listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageInUse>,
    /// What the operator should know of the listings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl RestorePoint {
    /// The artefacts that can be restored.
    pub fn good(&self) -> impl Iterator<Item = &PointArtefact> {
        self.artefacts
            .iter()
            .filter(|a| matches!(a.status, PointStatus::Good { .. }))
    }
}

/// How a run ended: the last record it gets, at the place where it was captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// The run.
    pub run: RunId,
    /// When.
    pub at: Timestamp,
    /// `complete`, `partial` or `failed`.
    pub outcome: String,
    /// Everything that did not come, for people.
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
}

impl Record for RestorePoint {
    const KIND: &'static str = "restore-point";

    fn belongs_at(&self, key: &ObjectKey) -> bool {
        *key == ObjectKey::RestorePoint(self.run)
    }
}
