//! Files of containers and their volumes, read and written as tar archives.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::{ReaderStream, StreamReader};

use super::{Engine, EngineError, Kind};

/// The number of zero bytes at the end of every complete archive: two blocks.
const END: usize = 1024;

type Pieces = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A tar archive that the engine sends. If the engine fails to read a file, it stops sending and reports success all
/// the same; so reading fails with an error if the archive does not end with its two blocks of zeros.
pub struct Archive {
    reader: StreamReader<Pieces, Bytes>,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").finish_non_exhaustive()
    }
}

impl AsyncRead for Archive {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(context, into)
    }
}

impl Engine {
    /// Reads `path` of a container, with everything below it. The container need not run. If `path` ends with `/.`, the
    /// archive holds the content of the folder, under names that begin with `./`.
    ///
    /// If the container or the path is not there, or the engine does not answer. Later failures are returned by reads
    /// from the archive.
    pub async fn download(&self, container: &str, path: &str) -> Result<Archive, EngineError> {
        EngineError::check_name("read", "files of container", container)?;
        let thing = format!("{path} of container {container}");
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let mut pieces = Box::pin(self.client.download_from_container(container, Some(options)));
        // The engine may have to do much before it sends the first piece.
        let first = match tokio::time::timeout(self.limits.act, pieces.next()).await {
            Ok(Some(Ok(first))) => first,
            Ok(Some(Err(source))) => return Err(EngineError::of_bollard("read", thing, source)),
            Ok(None) => return Err(EngineError::new("read", thing, Kind::Broken)),
            Err(_) => return Err(EngineError::no_answer("read", thing, self.limits.act)),
        };
        let begun = Download {
            pieces: Box::pin(stream::iter([Ok(first)]).chain(pieces)),
            thing,
            idle: self.limits.idle,
            zeros: 0,
            ended: false,
        };
        let pieces: Pieces = Box::pin(stream::unfold(begun, Download::next));
        Ok(Archive {
            reader: StreamReader::new(pieces),
        })
    }

    /// Writes the entries of a tar archive below `path` of a container. The container need not run. Owners and modes
    /// are those of the archive.
    ///
    /// If the container or the path is not there, the path cannot be written to, reading `tar` fails, or no data moves
    /// for the idle limit.
    pub async fn upload(
        &self,
        container: &str,
        path: &str,
        tar: impl AsyncRead + Send + 'static,
    ) -> Result<(), EngineError> {
        EngineError::check_name("write", "files of container", container)?;
        let thing = format!("{path} of container {container}");
        let moved = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&moved);
        let pieces = ReaderStream::with_capacity(tar, 64 * 1024).inspect(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let options = UploadToContainerOptionsBuilder::default().path(path).build();
        let upload = self
            .client
            .upload_to_container(container, Some(options), bollard::body_try_stream(pieces));
        let idle = self.limits.idle;
        let stuck = async {
            let mut seen = None;
            loop {
                let now = moved.load(Ordering::Relaxed);
                if seen.replace(now) == Some(now) {
                    return;
                }
                tokio::time::sleep(idle).await;
            }
        };
        tokio::select! {
            done = upload => done.map_err(|source| EngineError::of_bollard("write", thing, source)),
            () = stuck => Err(EngineError::no_answer("write", thing, idle)),
        }
    }
}

struct Download {
    pieces: Pin<Box<dyn Stream<Item = Result<Bytes, bollard::errors::Error>> + Send>>,
    thing: String,
    idle: Duration,
    /// The number of zero bytes that the data received so far ends with.
    zeros: usize,
    ended: bool,
}

impl Download {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if self.ended {
            return None;
        }
        let error = match tokio::time::timeout(self.idle, self.pieces.next()).await {
            Ok(Some(Ok(piece))) => {
                self.zeros = match piece.iter().rposition(|byte| *byte != 0) {
                    Some(last) => piece.len() - 1 - last,
                    None => self.zeros + piece.len(),
                };
                return Some((Ok(piece), self));
            }
            Ok(Some(Err(source))) => EngineError::of_bollard("read", self.thing.clone(), source),
            Ok(None) if self.zeros >= END => return None,
            Ok(None) => EngineError::new("read", self.thing.clone(), Kind::Broken)
                .with_source("the archive ended before its end"),
            Err(_) => EngineError::no_answer("read", self.thing.clone(), self.idle),
        };
        self.ended = true;
        Some((Err(io::Error::other(error)), self))
    }
}
