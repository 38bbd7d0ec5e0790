//! The draft: all of a manifest that the capture knows.

use std::collections::{BTreeMap, HashMap};

use holdfast_fault::{Retry, Retryable};
use holdfast_format::{
    ArtefactId, ArtefactKind, Class, ContentsRef, Counts, DatabaseInfo, Manifest, NewBytes, PackId, PackRef,
    Predecessor, RunId, Site, SourceName, Stream, VolumeInfo, Warnings,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Receipt;

/// A manifest without what sealing adds. Fields as in [`Manifest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// The artefact.
    pub artefact: ArtefactId,
    /// The run that brought it.
    pub run: RunId,
    /// Its source.
    pub source: SourceName,
    /// What it is.
    pub kind: ArtefactKind,
    /// The database's or directory's name.
    pub name: String,
    /// Where it was captured.
    pub site: Site,
    /// Its number among the artefacts of the same source and name.
    pub sequence: u64,
    /// The artefact before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Predecessor>,
    /// The artefact whose chunks were referenced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ArtefactId>,
    /// When the capture began: taken before the first file was looked at.
    pub started: Timestamp,
    /// When the capture ended.
    pub finished: Timestamp,
    /// Which attempt of the run it was.
    pub attempt: u32,
    /// What retention goes by.
    pub class: Class,
    /// The OpenPGP profile of its packs.
    pub profile: String,
    /// Fingerprints of the certificates that its packs are sealed to.
    pub recipients: Vec<String>,
    /// Versions of the programs that took part.
    pub tools: BTreeMap<String, String>,
    /// The stream.
    pub stream: Stream,
    /// What this capture adds to the repository.
    pub new: NewBytes,
    /// What the stream holds, counted.
    pub counts: Counts,
    /// What a database is beside its dump.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseInfo>,
    /// What a Docker volume is beside its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeInfo>,
    /// What the operator should know.
    pub warnings: Warnings,
    /// Every pack that the stream uses, and those that only a pre-copy used.
    pub packs: Vec<DraftPack>,
    /// Bytes of the contents' JSON lines.
    pub contents_plain: u64,
}

/// A pack as a draft names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftPack {
    /// The pack.
    pub id: PackId,
    /// Bytes of its plaintext.
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
            artefact: self.artefact,
            run: self.run,
            source: self.source,
            kind: self.kind,
            name: self.name,
            site: self.site,
            sequence: self.sequence,
            previous: self.previous,
            parent: self.parent,
            started: self.started,
            finished: self.finished,
            attempt: self.attempt,
            class: self.class,
            profile: self.profile,
            recipients: self.recipients,
            tools: self.tools,
            stream: self.stream,
            new: self.new,
            counts: self.counts,
            database: self.database,
            volume: self.volume,
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
