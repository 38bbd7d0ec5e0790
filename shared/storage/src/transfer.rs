//! Reading objects, and copying them to and from files.

use std::path::Path as FilePath;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::{BoxStream, FuturesUnordered};
use holdfast_format::ObjectKey;
use object_store::path::Path;
use object_store::{GetOptions, GetResult, GetResultPayload, MultipartUpload, PutMultipartOptions, UploadPart};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWrite, AsyncWriteExt};

use crate::classify::{Class, classify};
use crate::error::{Operation, StorageError};
use crate::object::Put;
use crate::place::{DIRECT_MIN, Place, path_of};
use crate::{direct, local};

/// Bytes up to which a file is sent in one request, which can be conditional everywhere.
const WHOLE_MAX: u64 = 16 << 20;

/// Bytes of the smallest part, except the last.
const PART_MIN: u64 = 8 << 20;

/// The most parts of an upload; S3 takes 10,000.
const PARTS_MAX: u64 = 9_000;

/// Number of parts of one file that are on the way at the same time.
const PARTS_SENDING: usize = 2;

/// Bytes read from a file at once.
const READ: usize = 1 << 20;

impl Place {
    /// Reads an object of at most `limit` bytes.
    ///
    /// # Errors
    /// [`StorageError::NotFound`]; [`StorageError::TooLarge`] before anything is read; [`StorageError::Short`]; others.
    pub async fn get(&self, key: &ObjectKey, limit: u64) -> Result<Bytes, StorageError> {
        self.fetch(&path_of(key), limit).await
    }

    pub(crate) async fn fetch(&self, at: &Path, limit: u64) -> Result<Bytes, StorageError> {
        let _turn = self.turn().await;
        let (size, source) = self.begin(at, limit).await?;
        let source = match source {
            Source::File(file) if size >= DIRECT_MIN as u64 => return self.read_directly(at, size, file).await,
            other => other,
        };
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        // Writing to memory does not fail, so the file that would be named is of no matter.
        self.receive(at, size, source, &mut bytes, FilePath::new("")).await?;
        Ok(bytes.into())
    }

    async fn read_directly(&self, at: &Path, size: u64, file: File) -> Result<Bytes, StorageError> {
        self.throttle(size).await;
        let mut file = file.into_std().await;
        let read = tokio::task::spawn_blocking(move || {
            let whole = usize::try_from(size).map_err(std::io::Error::other)?;
            direct::read(&mut file, whole)
        });
        let refused = |error| self.error(Operation::Read, at.as_ref(), &error);
        let bytes = match read.await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => return Err(refused(local::refused(error))),
            Err(panicked) => return Err(refused(local::refused(panicked))),
        };
        if bytes.len() as u64 == size {
            return Ok(bytes);
        }
        Err(StorageError::Short {
            place: self.name().clone(),
            object: at.to_string(),
            expected: size,
            received: bytes.len() as u64,
        })
    }

    /// Copies an object of at most `limit` bytes to a new file that only this user can read; returns its size. After an
    /// error there is no file.
    ///
    /// # Errors
    /// As [`Place::get`]; [`StorageError::File`] if the file exists or cannot be written.
    pub async fn get_to_file(&self, key: &ObjectKey, path: &FilePath, limit: u64) -> Result<u64, StorageError> {
        let _turn = self.turn().await;
        let at = path_of(key);
        let (size, source) = self.begin(&at, limit).await?;
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        options.mode(0o600);
        let mut file = options.open(path).await.map_err(writing(path))?;
        let received = match self.receive(&at, size, source, &mut file, path).await {
            Ok(()) => file.flush().await.map_err(writing(path)),
            Err(error) => Err(error),
        };
        if received.is_err() {
            drop(file);
            // The first error is the one to tell.
            let _ = tokio::fs::remove_file(path).await;
        }
        received.map(|()| size)
    }

    async fn begin(&self, at: &Path, limit: u64) -> Result<(u64, Source), StorageError> {
        self.refuse_special(Operation::Read, at).await?;
        let answer = self.inner.store.get_opts(at, GetOptions::default()).await;
        let result = answer.map_err(|error| self.error(Operation::Read, at.as_ref(), &error))?;
        let size = result.meta.size;
        if size > limit {
            return Err(StorageError::TooLarge {
                place: self.name().clone(),
                object: at.to_string(),
                size,
                limit,
            });
        }
        Ok((size, Source::of(result)))
    }

    async fn receive<W: AsyncWrite + Unpin>(
        &self,
        at: &Path,
        size: u64,
        mut source: Source,
        to: &mut W,
        path: &FilePath,
    ) -> Result<(), StorageError> {
        let mut received = 0;
        loop {
            let piece = match source.next(self.inner.timeout).await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => return Err(self.error(Operation::Read, at.as_ref(), &error)),
            };
            received += piece.len() as u64;
            if received > size {
                break;
            }
            self.throttle(piece.len() as u64).await;
            to.write_all(&piece).await.map_err(writing(path))?;
        }
        if received == size {
            return Ok(());
        }
        Err(StorageError::Short {
            place: self.name().clone(),
            object: at.to_string(),
            expected: size,
            received,
        })
    }

    /// Writes an object from a file, in bounded memory, unless one of this key is there. The file must not change.
    ///
    /// # Errors
    /// As [`Place::put`]; [`StorageError::File`] if the file cannot be read.
    pub async fn put_file(&self, key: &ObjectKey, path: &FilePath, class: Option<&str>) -> Result<Put, StorageError> {
        let mut file = File::open(path).await.map_err(reading(path))?;
        let size = file.metadata().await.map_err(reading(path))?.len();
        if size <= WHOLE_MAX {
            let bytes = read_up_to(&mut file, WHOLE_MAX).await.map_err(reading(path))?;
            check_unchanged(path, bytes.len() as u64, size)?;
            return self.put(key, bytes, class).await;
        }
        let _turn = self.turn().await;
        let at = path_of(key);
        if let Some(meta) = self.look(&at).await? {
            return Ok(Put::AlreadyThere { size: meta.size });
        }
        match self.inner.root.clone() {
            Some(root) => self.copy_in(root, &at, path, size).await,
            None => self.upload(&at, path, &mut file, size, class).await,
        }
    }

    async fn copy_in(
        &self,
        root: std::path::PathBuf,
        at: &Path,
        path: &FilePath,
        size: u64,
    ) -> Result<Put, StorageError> {
        self.throttle(size).await;
        let key = at.to_string();
        let from = path.to_owned();
        let copied = tokio::task::spawn_blocking(move || local::copy_in(&root, &key, &from)).await;
        let refuse = |class, said: &dyn std::error::Error| self.failed(class, Operation::Write, at.as_ref(), said);
        match copied {
            Ok(Ok(put)) => Ok(put),
            Ok(Err(local::CopyError::From(source))) => Err(reading(path)(source)),
            Ok(Err(local::CopyError::To(error))) => {
                Err(self.error(Operation::Write, at.as_ref(), &local::refused(error)))
            }
            Err(panicked) => Err(refuse(Class::Unreachable, &panicked)),
        }
    }

    async fn upload(
        &self,
        at: &Path,
        path: &FilePath,
        file: &mut File,
        size: u64,
        class: Option<&str>,
    ) -> Result<Put, StorageError> {
        loop {
            let conditional = self.inner.conditional.load(Ordering::Relaxed);
            let options = PutMultipartOptions {
                attributes: self.attributes(class),
                ..PutMultipartOptions::default()
            };
            let started = self.inner.store.put_multipart_opts(at, options).await;
            let mut upload = started.map_err(|error| self.error(Operation::Write, at.as_ref(), &error))?;
            let ended = self.finish_upload(at, path, file, size, &mut *upload).await;
            if matches!(ended, Ok(Put::Created)) {
                return ended;
            }
            // Best effort: what stays is removed by the bucket's own rule for unfinished uploads.
            if let Err(error) = upload.abort().await {
                tracing::debug!(place = %self.name(), object = %at, error = %self.cause(&error), "a multipart upload could not be aborted");
            }
            match ended {
                Err(StorageError::NotSupported { .. }) if conditional => {
                    self.remember(false);
                    file.rewind().await.map_err(reading(path))?;
                }
                other => return other,
            }
        }
    }

    async fn finish_upload(
        &self,
        at: &Path,
        path: &FilePath,
        file: &mut File,
        size: u64,
        upload: &mut dyn MultipartUpload,
    ) -> Result<Put, StorageError> {
        self.send_parts(at, path, file, size, upload).await?;
        // The last look is for stores that do not know the condition.
        if let Some(meta) = self.look(at).await? {
            return Ok(Put::AlreadyThere { size: meta.size });
        }
        let Err(error) = upload.complete().await else {
            return Ok(Put::Created);
        };
        // An upload that is gone may be one that was completed by a request whose answer was lost.
        if matches!(classify(&error), Class::Exists | Class::NotFound | Class::Interrupted)
            && let Some(meta) = self.look(at).await?
        {
            return Ok(Put::AlreadyThere { size: meta.size });
        }
        Err(match classify(&error) {
            Class::NotFound => self.failed(Class::Unreachable, Operation::Write, at.as_ref(), &error),
            class => self.failed(class, Operation::Write, at.as_ref(), &error),
        })
    }

    async fn send_parts(
        &self,
        at: &Path,
        path: &FilePath,
        file: &mut File,
        size: u64,
        upload: &mut dyn MultipartUpload,
    ) -> Result<(), StorageError> {
        let refused = |error: object_store::Error| self.error(Operation::Write, at.as_ref(), &error);
        let part_size = PART_MIN.max(size.div_ceil(PARTS_MAX));
        let mut sending: FuturesUnordered<UploadPart> = FuturesUnordered::new();
        let mut sent = 0;
        loop {
            let part = read_up_to(file, part_size).await.map_err(reading(path))?;
            if part.is_empty() {
                break;
            }
            sent += part.len() as u64;
            if sending.len() >= PARTS_SENDING
                && let Some(result) = sending.next().await
            {
                result.map_err(refused)?;
            }
            self.throttle(part.len() as u64).await;
            sending.push(upload.put_part(part.into()));
        }
        while let Some(result) = sending.next().await {
            result.map_err(refused)?;
        }
        check_unchanged(path, sent, size)
    }

    fn cause(&self, error: &object_store::Error) -> crate::error::StorageCause {
        crate::error::StorageCause::new(error, &self.hidden())
    }
}

/// The source of an object's bytes. A directory's file is read in large pieces: the library would change threads for
/// every 8 KiB.
enum Source {
    File(File),
    Stream(BoxStream<'static, object_store::Result<Bytes>>),
}

impl Source {
    fn of(result: GetResult) -> Self {
        match result.payload {
            GetResultPayload::File(file, _) => Self::File(File::from_std(file)),
            GetResultPayload::Stream(stream) => Self::Stream(stream),
        }
    }

    async fn next(&mut self, silence: Duration) -> object_store::Result<Option<Bytes>> {
        let generic = |source| object_store::Error::Generic { store: "place", source };
        match self {
            Self::File(file) => {
                let piece = read_up_to(file, READ as u64).await.map_err(|e| generic(e.into()))?;
                Ok(Some(piece).filter(|piece| !piece.is_empty()))
            }
            Self::Stream(stream) => match tokio::time::timeout(silence, stream.next()).await {
                Ok(next) => next.transpose(),
                Err(_) => Err(generic(
                    format!("nothing came for {} s in the middle of it", silence.as_secs()).into(),
                )),
            },
        }
    }
}

async fn read_up_to<R: AsyncRead + Unpin>(from: &mut R, limit: u64) -> std::io::Result<Bytes> {
    let mut bytes = BytesMut::with_capacity(READ.min(limit as usize));
    let mut from = from.take(limit);
    while from.read_buf(&mut bytes).await? > 0 {
        bytes.reserve(READ.min(from.limit() as usize));
    }
    Ok(bytes.freeze())
}

fn check_unchanged(path: &FilePath, read: u64, size: u64) -> Result<(), StorageError> {
    if read == size {
        return Ok(());
    }
    let changed = std::io::Error::other(format!(
        "it had {size} bytes and then {read}: it changed while it was read"
    ));
    Err(reading(path)(changed))
}

fn reading(path: &FilePath) -> impl FnOnce(std::io::Error) -> StorageError + '_ {
    file_error("read", path)
}

fn writing(path: &FilePath) -> impl FnOnce(std::io::Error) -> StorageError + '_ {
    file_error("write", path)
}

fn file_error<'a>(doing: &'static str, path: &'a FilePath) -> impl FnOnce(std::io::Error) -> StorageError + 'a {
    move |source| StorageError::File {
        doing,
        path: path.to_owned(),
        source,
    }
}
