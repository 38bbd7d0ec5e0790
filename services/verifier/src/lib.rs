//! The verifier: reads artefacts back, and writes down what it found.
//!
//! Work in: `verify` per artefact. Out: a signed verification, a mark for each damaged pack, so that no later capture builds
//! on it; then the copies to the targets. It is the only service that holds a secret backup key, and opens packs in memory.
//!
//! What it says of an artefact is about the artefact alone. A missing key, a place that does not answer, a scratch folder
//! that is full: these are failures of the verification, and never make an artefact look damaged.
//!
//! [`verify_artefact`] is also what `holdfast verify` calls, for any place.

mod error;
mod harden;
mod judge;
mod options;
mod process;
mod record;
mod stage;
mod trial;
mod verify;

pub use error::VerifyError;
pub use harden::{HardenError, harden};
pub use options::{VerifyOptions, client_dirs, secret_keys, trial_dir};
pub use process::main;
pub use record::record;
pub use stage::Verifier;
pub use verify::{Checked, verify_artefact};
