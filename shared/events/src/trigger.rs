//! Asking for a run: request and reply, in bincode or JSON.

use holdfast_format::{Class, Level, RunId, SourceName};
use serde::{Deserialize, Serialize};

use crate::Message;

/// A request for a run. In JSON every field but `backup_type` may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// `all`, `databases`, `volumes` or `full`; empty means `all`.
    pub backup_type: String,
    /// Only these sources; empty means all of the type.
    #[serde(default)]
    pub sources: Vec<SourceName>,
    /// Of Docker sources, only this stack's (a Compose project); other sources only if they are named.
    #[serde(default)]
    pub stack: Option<String>,
    /// Read everything back, to this level.
    #[serde(default)]
    pub verify: Option<Level>,
    /// Copy to all targets.
    #[serde(default)]
    pub sync_offsite: bool,
    /// Apply retention afterwards.
    #[serde(default)]
    pub cleanup: bool,
    /// A word that people find the run by.
    #[serde(default)]
    pub label: Option<String>,
    /// Keep it at least for this many seconds.
    #[serde(default)]
    pub hold_seconds: Option<u64>,
    /// What retention goes by; chosen by the calendar if absent.
    #[serde(default)]
    pub class: Option<Class>,
    /// Capture without parents.
    #[serde(default)]
    pub fresh: bool,
    /// What has not come within this many seconds has failed; the configuration's default if absent.
    #[serde(default)]
    pub timeout_seconds: Option<u64>,
    /// The id that the run shall have. Who asks again with the same id, because no answer came, is answered with the run
    /// that the first request started. Its time must be the present one, within an hour.
    #[serde(default)]
    pub run: Option<RunId>,
    /// Answer only once the run has ended: a gate waits for the proof.
    #[serde(default)]
    pub wait: bool,
}

impl Message for Trigger {
    const NAME: &'static str = "trigger";
}

/// Why no run was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The request makes no sense for this configuration.
    Invalid(String),
    /// A source is in a run that has not ended.
    Overlap(RunId),
    /// Something is not as it must be before anything is captured (keys, repository).
    NotReady(String),
}

/// The answer to a [`Trigger`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerReply {
    /// The run was started.
    Started(RunId),
    /// It was not.
    Refused(Refusal),
    /// It was started, and has ended.
    Finished {
        /// The run.
        run: RunId,
        /// Whether everything that was asked for is there and good: go or no go.
        complete: bool,
        /// What did not come, for people; the first of it.
        failures: Vec<String>,
    },
}

impl Message for TriggerReply {
    const NAME: &'static str = "trigger reply";
}
