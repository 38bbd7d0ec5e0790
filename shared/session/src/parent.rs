//! The parent of a capture: the artefact whose chunks may be referenced.

use std::collections::HashSet;
use std::sync::Arc;

use holdfast_capture::{ContentsIter, Earlier, ParentIndex, ReadContents};
use holdfast_format::{ArtefactId, ContentsError, PackId};
use holdfast_repository::{ContentsFile, SealedManifest};
use holdfast_service::{Context, JobError};
use tokio_util::sync::CancellationToken;

use crate::joined_thread::JoinedThread;

/// A parent whose contents were fetched.
pub(crate) struct Parent {
    sealed: Arc<SealedManifest>,
    contents: Arc<Contents>,
}

/// Fetched contents, as a capture reads them.
struct Contents(ContentsFile);

impl ReadContents for Contents {
    fn lines(&self) -> Result<ContentsIter<'_>, ContentsError> {
        let reader = self.0.reader();
        Ok(Box::new(
            reader.map_err(|error| ContentsError::Read(std::io::Error::other(error)))?,
        ))
    }
}

impl Parent {
    /// Fetches the contents of an artefact; `None`, with a warning, if they cannot be fetched: then everything is stored.
    pub(crate) async fn fetch(cx: &Context, sealed: Arc<SealedManifest>) -> Option<Self> {
        match cx.repository.open_contents(&sealed.manifest, &cx.scratch).await {
            Ok(file) => Some(Self {
                sealed,
                contents: Arc::new(Contents(file)),
            }),
            Err(error) => {
                let reason = holdfast_fault::chain(&error).to_string();
                let artefact = sealed.manifest.captured.artefact;
                tracing::warn!(%artefact, reason, "an artefact's contents cannot be fetched, so it is no parent");
                None
            }
        }
    }

    pub(crate) fn id(&self) -> ArtefactId {
        self.sealed.manifest.captured.artefact
    }

    /// The parent as a walk compares files with it.
    pub(crate) fn earlier(&self) -> Earlier<'_> {
        Earlier::parent(&self.sealed.manifest, &*self.contents)
    }

    /// The index of its chunks, and the thread that makes it: chunks are looked for only once something new comes, so the
    /// parent's contents are read beside the capture.
    ///
    /// # Errors
    /// [`JobError::Retry`] if the system gives no thread.
    pub(crate) fn index(
        &self,
        bad: &HashSet<PackId>,
        stop: CancellationToken,
    ) -> Result<(ParentIndex, JoinedThread), JobError> {
        let (index, maker) = ParentIndex::new(&self.sealed.manifest.packs, bad);
        let contents = self.contents.clone();
        let making = JoinedThread::start("parent-index", move || match contents.lines() {
            Ok(lines) => maker.make(lines, &|| stop.is_cancelled()),
            Err(error) => maker.fail(error),
        })?;
        Ok((index, making))
    }
}
