//! What all services share: opening what the configuration names, running stages on the bus, reconciling, ending well.
//!
//! A service is a set of [`Stage`]s. A stage is a pair: what is missing, and how to do it. This crate brings the rest:
//! one worker a stage, verdicts and retries, failures written to the repository and told on the bus, and the reconciler
//! that asks again for whatever the repository lacks, so that nothing depends on a message having survived.

mod capturing;
mod context;
mod evidence;
mod introduce;
mod job;
mod open;
mod process;
mod reconcile;
mod serve;
mod stage;

pub use capturing::{
    Found, Input, Listing, Precopy, Session, ask_for_seals, hand_on_sealed, missing_captures, staged_artefacts,
    write_listing,
};
pub use context::Context;
pub use evidence::{Evidence, evidence, none_if_damaged};
pub use introduce::{DatabaseContainer, Reachable, Told, own_container};
pub use job::JobError;
pub use open::{
    OpenError, bus_options, open_bus, open_place, open_repository, open_staging, repository_keys, staging_dir,
    target_place,
};
pub use process::{ProcessArgs, exit_code, run_process, shutdown_signal};
pub use reconcile::{Reconciler, unfinished};
pub use serve::{Serving, serve};
pub use stage::{Stage, WorkerSpec};
