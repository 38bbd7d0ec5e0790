//! The end of a run, in one word.

use serde::{Deserialize, Serialize};

/// The end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All expected artefacts came, are good, and are where they should be.
    Complete,
    /// A restore point was written, but something expected did not come.
    Partial,
    /// The run brought nothing to restore from.
    Failed,
}

impl Outcome {
    /// Returns the word for it in output and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}
