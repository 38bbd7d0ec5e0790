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
    /// Limits Docker sources to this stack (a Compose project). Other sources take part only if they are named.
    #[serde(default)]
    pub stack: Option<String>,
    /// Reads everything back to this level.
    #[serde(default)]
    pub verify: Option<Level>,
    /// Copies everything to all targets.
    #[serde(default)]
    pub sync_offsite: bool,
    /// Applies retention after the run.
    #[serde(default)]
    pub cleanup: bool,
    /// A word by which people find the run.
    #[serde(default)]
    pub label: Option<String>,
    /// Holds the run for at least this many seconds.
    #[serde(default)]
    pub hold_seconds: Option<u64>,
    /// The class that retention keeps the run by; chosen by the calendar if absent.
    #[serde(default)]
    pub class: Option<Class>,
    /// Captures without parents.
    #[serde(default)]
    pub fresh: bool,
    /// Seconds after which whatever has not come has failed; the configuration's default if absent.
    #[serde(default)]
    pub timeout_seconds: Option<u64>,
    /// The id that the run shall have. If no answer came, asking again with the same id is answered with the run that
    /// the first request started. Its time must be the present one, within an hour.
    #[serde(default)]
    pub run: Option<RunId>,
    /// Names the person who asks, where a program asks for one: kept with the run, and no proof of anything.
    #[serde(default)]
    pub person: Option<String>,
    /// Delays the answer until the run has ended: a gate waits for the proof.
    #[serde(default)]
    pub wait: bool,
}

impl Message for Trigger {
    const NAME: &'static str = "trigger";
}

/// The reason for which no run was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The request makes no sense for this configuration.
    Invalid(String),
    /// A source is in a run that has not ended.
    Overlap(RunId),
    /// Something is not as it must be before anything is captured (keys, repository).
    NotReady(String),
    /// The user may not ask for this.
    NotAllowed(String),
    /// No decision was made, or the end of the run was not waited for. A requester may send it again.
    AskAgain(String),
}

/// The answer to a [`Trigger`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerReply {
    /// The run was started.
    Started(RunId),
    /// No run was started.
    Refused(Refusal),
    /// The run was started, and has ended.
    Finished {
        run: RunId,
        /// True if everything that was asked for is there and good: go, not no-go.
        complete: bool,
        /// The first failures, for people.
        failures: Vec<String>,
    },
}

impl Message for TriggerReply {
    const NAME: &'static str = "trigger reply";
}
