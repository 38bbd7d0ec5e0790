//! The message bus: work queues, facts and requests over NATS JetStream.
//!
//! NATS is the doorbell, the repository is the ledger: everything in the streams can be made again from the repository,
//! so this crate promises delivery **at least once** and nothing more. What it takes care of:
//!
//! - [`Bus::connect`] and [`Bus::ensure_topology`]: the server is new enough, the four streams exist as they should be.
//! - [`Bus::publish_work`]: one message per job, confirmed by the server; a job that waits already is success.
//! - [`Bus::run_worker`]: takes jobs one at a time per free slot, keeps the lease of long ones, maps a handler's
//!   [`Disposition`] to acknowledgements, survives restarts of the server and the loss of its store, and drains.
//! - [`Bus::facts`], [`Bus::new_facts`]: what happened, for people and for the record.
//! - [`Bus::request`], [`Bus::serve_triggers`]: asking for a run.
//! - [`Bus::ask_docker`], [`Bus::answer_docker`]: what one service must know of a Docker engine that another one speaks to.
//! - [`Bus::exhausted`]: jobs whose deliveries ran out, by rules that a killed server cannot deceive.
//! - [`PrivateServer`]: a `nats-server` of our own on loopback, for a host without one.

mod api;
mod ask;
mod backoff;
mod code;
mod connection;
mod consumer;
mod content;
mod error;
mod exhausted;
mod facts;
mod feed;
mod forget;
mod names;
mod options;
mod park;
mod progress;
mod publish;
mod pull;
mod server;
mod topology;
mod trace;
mod trigger;
mod worker;

pub use connection::Bus;
pub use error::{ApiError, BusError};
pub use exhausted::{Exhausted, Queue};
pub use feed::Feed;
pub use options::{Auth, BusOptions};
pub use progress::ArtefactProgress;
pub use publish::Queued;
pub use server::{PrivateServer, RunningServer, ServerError};
pub use trigger::{Answer, Asked};
pub use worker::{Delivery, Disposition, Handler, WorkerOptions};
