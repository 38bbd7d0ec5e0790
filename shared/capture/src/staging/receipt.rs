//! The receipt of a sealed pack.

use holdfast_format::Digest;
use serde::{Deserialize, Serialize};

/// The record of a sealed pack: the manifest's facts about the sealed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Bytes of the sealed object.
    pub size: u64,
    /// SHA-256 of the sealed object.
    pub sha256: Digest,
    pub plain: u32,
}
