//! The two sides of reading a source: the reader's input, and its findings.

use std::collections::BTreeMap;

use holdfast_capture::{ContentsFile, Earlier, Packer, Watch};
use holdfast_format::{ContentsWriter, Counts, DatabaseInfo, Extent, VolumeInfo, Warnings};
use holdfast_repository::SealedManifest;

/// The open ends of a recording, for whoever reads the source.
pub struct Input<'a> {
    /// Takes the stream's pieces.
    pub packer: &'a mut Packer<'static>,
    /// Takes entries and extents.
    pub contents: &'a mut ContentsWriter<ContentsFile>,
    /// The capture to compare files with: the pre-copy, else the parent.
    pub earlier: Option<Earlier<'a>>,
    /// The artefact before this one, to compare with.
    pub previous: Option<&'a SealedManifest>,
    /// Takes progress, and says when to stop.
    pub watch: Watch<'a>,
}

/// The facts about a source that a reader brings, besides the stream.
#[derive(Default)]
pub struct SourceFacts {
    /// Tables, rows, files and the like in the stream.
    pub counts: Counts,
    /// Properties of a database that its dump does not hold.
    pub database: Option<DatabaseInfo>,
    /// Properties of a Docker volume that its files do not tell.
    pub volume: Option<VolumeInfo>,
    /// Notes for the operator.
    pub warnings: Warnings,
    /// Versions of the programs that took part.
    pub tools: BTreeMap<String, String>,
    /// The extents of the contents' last line.
    pub closing: Vec<Extent>,
}
