//! The frame that all services share: opening the repository, places and bus of the configuration, running stages on
//! the bus, reconciling, ending well.
//!
//! A service is a set of [`Stage`]s. A stage is a pair: what is missing, and how to do it. This crate brings the rest:
//! one worker a stage, verdicts and retries, failures written to the repository and told on the bus, and the reconciler
//! that asks again for whatever the repository lacks, so that nothing depends on a message having survived.

mod context;
mod harden;
mod in_memory;
mod job;
mod open;
mod process;
mod progress;
mod proven_facts;
mod reconcile;
mod seen;
mod serve;
mod stage;

pub use context::Context;
pub use harden::{HardenError, harden};
pub use in_memory::is_in_memory;
pub use job::JobError;
pub use open::{
    OpenError, bus_options, open_bus, open_place, open_repository, repository_keys, role_keys, secret_keys,
    target_place,
};
pub use process::{exit_code, run_process, shutdown_signal};
pub use progress::ProgressTeller;
pub use proven_facts::{ProvenFacts, none_if_damaged, proven_facts};
pub use reconcile::{Reconciler, unfinished};
pub use seen::check_roster_seen;
pub use serve::{Serving, serve};
pub use stage::{Stage, WorkerSpec};
