//! What a capture's body is given, and what it brings.

use std::collections::BTreeMap;

use holdfast_capture::{Attempt, CaptureError, ContentsFile, Earlier, Packer, PrecopyContents, Watch};
use holdfast_format::{ContentsWriter, Counts, DatabaseInfo, Extent, VolumeInfo, Warnings};
use holdfast_repository::SealedManifest;
use holdfast_service::{Context, JobError};
use jiff::Timestamp;

/// What a capture reads and writes.
pub struct Input<'a, 's> {
    /// Takes the stream's pieces.
    pub packer: &'a mut Packer<'s>,
    /// Takes entries and extents.
    pub contents: &'a mut ContentsWriter<ContentsFile>,
    /// The capture to compare files with.
    pub earlier: Option<Earlier<'a>>,
    /// The artefact before this one, to compare with.
    pub previous: Option<&'a SealedManifest>,
    /// Progress, and when to stop.
    pub watch: Watch<'a>,
    pub(super) attempt: &'a Attempt,
    /// Waits until all packs that were handed over are staged, or cannot be.
    pub(super) settle: &'a dyn Fn(),
    pub(super) cx: &'a Context,
}

/// What a capture found besides the stream.
#[derive(Default)]
pub struct Found {
    /// What the stream holds.
    pub counts: Counts,
    /// What a database is beside its dump.
    pub database: Option<DatabaseInfo>,
    /// What a Docker volume is beside its files.
    pub volume: Option<VolumeInfo>,
    /// What the operator should know.
    pub warnings: Warnings,
    /// Versions of the programs that took part.
    pub tools: BTreeMap<String, String>,
    /// The extents of the contents' last line.
    pub closing: Vec<Extent>,
}

/// What a pre-copy left: its chunks are staged or on their way, its contents lie in the attempt's folder until this is
/// dropped.
pub struct Precopy<'a> {
    started: Timestamp,
    attempt: &'a Attempt,
    contents: PrecopyContents<'a>,
}

impl<'a, 's> Input<'a, 's> {
    /// Captures with `read` while programs still write, so that the capture proper has little left to read once they do
    /// not. Its counts and warnings do not count. Whether it fails or not, the stream begins again with the next piece, and
    /// what is stored already is not stored again.
    ///
    /// # Errors
    /// What `read` answers; [`JobError`] if staging does not take the contents.
    pub fn precopy(
        &mut self,
        read: impl FnOnce(&mut Input<'_, 's>) -> Result<Found, JobError>,
    ) -> Result<Precopy<'a>, JobError> {
        let started = self.cx.now();
        let attempt = self.attempt;
        let mut contents = attempt.precopy()?;
        let found = read(&mut Input {
            contents: &mut contents,
            ..self.reborrow()
        });
        self.packer.begin_again();
        // Nothing of it is to wait for room once programs stand still.
        (self.settle)();
        let (file, _) = contents.finish(found?.closing).map_err(CaptureError::Contents)?;
        file.finish().map_err(CaptureError::Contents)?;
        Ok(Precopy {
            started,
            attempt,
            contents: attempt.precopied(),
        })
    }

    /// The same, to be compared with the pre-copy.
    pub fn after<'b>(&'b mut self, precopy: &'b Precopy<'_>) -> Input<'b, 's> {
        Input {
            earlier: Some(Earlier::precopy(precopy.started, &precopy.contents)),
            ..self.reborrow()
        }
    }

    fn reborrow(&mut self) -> Input<'_, 's> {
        Input {
            packer: self.packer,
            contents: self.contents,
            earlier: self.earlier,
            previous: self.previous,
            watch: Watch {
                progress: self.watch.progress,
                stop: self.watch.stop,
            },
            attempt: self.attempt,
            settle: self.settle,
            cx: self.cx,
        }
    }
}

impl Drop for Precopy<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.attempt.forget_precopy() {
            // It goes with the attempt.
            tracing::debug!(reason = %holdfast_fault::chain(&error), "a pre-copy's contents could not be removed");
        }
    }
}
