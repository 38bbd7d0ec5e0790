//! The messages of the bus: work, facts, their subjects and encoding, and the fold that makes a run's state of facts.
//!
//! Pure: no NATS, no I/O, no clock. NATS is the doorbell and the repository the ledger: every message here can be made
//! again from the repository, and handlers act on what they find there.

mod ask;
mod codec;
mod fact;
mod fold;
mod outcome;
mod plan;
mod subject;
mod trigger;
mod work;

pub use ask::{DockerAnswer, DockerAsk, DockerQuestion};
pub use codec::{CodecError, MAX_MESSAGE, Message, decode, encode, encode_json};
pub use fact::{Fact, What};
pub use fold::{ArtefactState, Effect, IllegalFact, RunState, SourceState, TargetState, Why};
pub use outcome::Outcome;
pub use plan::{after_close, after_list, after_verify, missing, point_status};
pub use subject::{EVENTS_STREAM, Subjects, WORK_STREAM};
pub use trigger::{Refusal, Trigger, TriggerReply};
pub use work::{Job, Work, WorkStage};
