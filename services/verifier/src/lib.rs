//! The verifier: reads artefacts back, and records whether they are good.
//!
//! Input: a `verify` job for each artefact. Output: a signed verification, and a mark for each damaged pack, so that no
//! later capture refers to it; then jobs for the copies to the targets. The verifier is the only service that has a
//! secret backup key. It opens packs in memory.
//!
//! A verification speaks of the artefact alone. Good, damaged and unknown are three things: an artefact that no key at hand
//! opens is unknown. A place that does not answer or a full scratch folder are failures of the verification. Neither makes
//! an artefact look damaged.
//!
//! [`verify_artefact`] works for any place; `holdfast verify` calls it, too.

mod error;
mod judge;
mod judged;
mod options;
mod process;
mod record;
mod stage;
mod trial;
mod verify;

pub use error::VerifyError;
pub use options::VerifyOptions;
pub use process::main;
pub use record::record;
pub use stage::Verifier;
pub use verify::{Checked, verify_artefact};
