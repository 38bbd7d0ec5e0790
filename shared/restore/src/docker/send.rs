//! Sends an artefact's files to the engine, which unpacks them in a volume.

use std::io::{self, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use holdfast_docker::helper::{Helper, UPLOAD_PREFIX};
use tokio::io::{AsyncRead, DuplexStream, ReadBuf};
use tokio_util::io::SyncIoBridge;

use super::error::VolumeError;
use crate::progress::{Limits, Progress, StopOnDrop};
use crate::select::Selection;
use crate::source::OpenArtefact;
use crate::stream::StreamError;
use crate::upload::write_upload;

/// Bytes of the archive that may wait for the engine.
const IN_FLIGHT: usize = 1 << 20;

/// Bytes that are handed over at once.
const PIECE: usize = 1 << 18;

/// Writes all that is selected of an artefact into the volume that `helper` has mounted, and removes the helper.
pub(super) async fn to_engine(
    volume: &str,
    helper: Helper,
    artefact: Arc<OpenArtefact>,
    select: Selection,
    progress: Arc<Progress>,
) -> Result<(), VolumeError> {
    let (ours, theirs) = tokio::io::duplex(IN_FLIGHT);
    let whole = Arc::new(AtomicBool::new(false));
    let archive = UnlessBrokenOff {
        inner: theirs,
        whole: whole.clone(),
    };
    let bridge = SyncIoBridge::new(ours);
    let mut stop = StopOnDrop::new(&progress);
    let writing = progress.clone();
    let writer = tokio::task::spawn_blocking(move || {
        let mut out = io::BufWriter::with_capacity(PIECE, bridge);
        let prefix = UPLOAD_PREFIX.as_bytes();
        write_upload(
            artefact.origin(),
            &select,
            prefix,
            Limits::default(),
            &writing,
            &mut out,
        )?;
        out.flush().map_err(StreamError::Write)?;
        whole.store(true, Ordering::SeqCst);
        Ok(())
    });
    // Dropping the upload closes the archive, so that the writer ends too.
    let sent = tokio::select! {
        sent = helper.upload(archive) => sent.map_err(VolumeError::from),
        () = progress.wait_for_stop() => Err(VolumeError::Stopped { volume: volume.to_owned() }),
    };
    let written = writer.await;
    stop.disarm();
    let removed = helper.remove().await;
    match written {
        // The engine says why it took no more.
        Ok(Ok(()) | Err(StreamError::Write(_) | StreamError::Stopped)) => {}
        // What the artefact lacks is the cause of what the engine says of its end.
        Ok(Err(source)) => {
            return Err(VolumeError::Stream {
                volume: volume.to_owned(),
                source: Box::new(source),
            });
        }
        Err(source) => {
            return Err(VolumeError::BrokenOff {
                volume: volume.to_owned(),
                source,
            });
        }
    }
    sent?;
    Ok(removed?)
}

/// An archive that fails at its end unless it was written whole: the engine would take a part for the whole.
struct UnlessBrokenOff {
    inner: DuplexStream,
    whole: Arc<AtomicBool>,
}

impl AsyncRead for UnlessBrokenOff {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, into);
        let at_end = matches!(read, Poll::Ready(Ok(()))) && into.filled().len() == before;
        if at_end && !self.whole.load(Ordering::SeqCst) {
            return Poll::Ready(Err(io::Error::other("the archive was broken off")));
        }
        read
    }
}
