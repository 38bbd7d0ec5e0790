//! Errors, as every package of Holdfast speaks of them.
//!
//! - [`Retryable`]: an error that knows whether trying again may help.
//! - [`chain`]: an error with all its causes on one line.
//!
//! An error names the operation and the thing in its text, keeps its cause in `source`, and never prints that cause itself.

mod chain;
mod retry;

pub use chain::{Chain, chain};
pub use retry::{Retry, Retryable};
