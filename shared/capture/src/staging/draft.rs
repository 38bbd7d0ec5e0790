//! The draft: all of a manifest that the capture knows.

use std::collections::HashMap;

use holdfast_fault::{Retry, Retryable};
use holdfast_format::{Captured, ContentsRef, Manifest, PackId, PackRef, Warnings};
use serde::{Deserialize, Serialize};

use super::receipt::Receipt;

/// A manifest without what sealing adds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// The part that the manifest takes over as it is.
    #[serde(flatten)]
    pub captured: Captured,
    /// Notes of the capture for the operator.
    pub warnings: Warnings,
    /// Every pack that the stream uses, and those that only a pre-copy used.
    pub packs: Vec<DraftPack>,
    /// Bytes of the contents' JSON lines.
    pub contents_plain: u64,
}

/// A pack as a draft names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftPack {
    pub id: PackId,
    pub plain: u32,
    /// Bytes of the plaintext that this stream uses.
    pub used: u32,
    /// The parent's record of it; none for a pack that this capture stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<PackRef>,
}

/// A pack of the draft is not sealed yet.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("pack {0} of the draft is not sealed")]
pub struct MissingReceipt(pub PackId);

/// The pack's seal may be under way.
impl Retryable for MissingReceipt {
    fn retry(&self) -> Retry {
        Retry::Later
    }
}

impl Draft {
    /// The manifest, once every new pack has its receipt and the contents are stored.
    ///
    /// # Errors
    /// [`MissingReceipt`] if a new pack has none, or one for another plaintext.
    pub fn manifest(
        self,
        receipts: &HashMap<PackId, Receipt>,
        contents: ContentsRef,
    ) -> Result<Manifest, MissingReceipt> {
        let packs = self.packs.iter().map(|pack| pack.sealed(receipts));
        Ok(Manifest {
            packs: packs.collect::<Result<_, _>>()?,
            captured: self.captured,
            contents,
            warnings: self.warnings,
        })
    }
}

impl DraftPack {
    fn sealed(&self, receipts: &HashMap<PackId, Receipt>) -> Result<PackRef, MissingReceipt> {
        if let Some(stored) = self.stored {
            return Ok(PackRef {
                used: self.used,
                ..stored
            });
        }
        match receipts.get(&self.id) {
            Some(receipt) if receipt.plain == self.plain => Ok(PackRef {
                id: self.id,
                size: receipt.size,
                sha256: receipt.sha256,
                plain: self.plain,
                used: self.used,
            }),
            _ => Err(MissingReceipt(self.id)),
        }
    }
}

#[cfg(test)]
mod tests;
