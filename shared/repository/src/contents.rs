//! Contents: too large for memory, so they pass through files of a scratch directory.
//!
//! **Written once, like all else.** Sealing is random, so two attempts at one artefact give different bytes for one key,
//! and perhaps different contents: a live volume changes, and an attempt may have filled other packs. The first attempt
//! stays. [`Repository::put_contents`] compares what is there with the draft: if both say the same, what is there serves
//! and is what the manifest must name; if not, it answers [`ContentsPut::Other`] and the attempt has failed. Nothing is
//! ever replaced, so a manifest that another attempt may be writing at this moment stays true.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use holdfast_format::{ArtefactId, ContentsError, ContentsReader, ContentsRef, Digest, Manifest, ObjectKey};
use holdfast_sealing::{OpenError, Opening, SecretKeys, seal_stream};
use holdfast_storage::{Put, StorageError};
use openssl::sha::Sha256;
use zstd::stream::read::Decoder;

use crate::error::At;
use crate::records::blocking;
use crate::repository::{wrong_hash, wrong_size};
use crate::{Repository, RepositoryError};

/// A zstd frame with a larger window (2^27 bytes: 128 MiB) is refused.
const WINDOW_LOG_MAX: u32 = 27;

const BUFFER: usize = 256 << 10;

/// The outcome of writing contents. Size and SHA-256 are those of the object that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentsPut {
    /// The stored contents are those of the draft, be they from this attempt or from an earlier one. A manifest may
    /// name them.
    Stored {
        /// Bytes of the sealed object.
        size: u64,
        /// SHA-256 of the sealed object.
        sha256: Digest,
    },
    /// Another attempt's contents are stored, and differ. This attempt has failed.
    Other {
        /// Bytes of the sealed object.
        size: u64,
        /// SHA-256 of the sealed object.
        sha256: Digest,
    },
}

/// Contents in a file of the scratch directory, still sealed, and checked against the manifest. The file goes when this
/// is dropped.
pub struct ContentsFile {
    file: Scratch,
    at: At,
    artefact: ArtefactId,
    expected: ContentsRef,
    secret: SecretKeys,
}

impl fmt::Debug for ContentsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentsFile({} of {})", self.file.0.display(), self.artefact)
    }
}

impl ContentsFile {
    /// Reads the contents from the beginning; as often as wanted. This blocks, and so does the reader.
    ///
    /// # Errors
    /// [`RepositoryError::NoKey`]; [`RepositoryError::Damaged`] if they are not what the format says;
    /// [`RepositoryError::Scratch`].
    pub fn reader(&self) -> Result<ContentsReader<ContentsBytes>, RepositoryError> {
        let opened = open_file(&self.file, &self.secret, &self.at)?;
        let bytes = ContentsBytes(BufReader::with_capacity(
            BUFFER,
            Bounded {
                inner: opened,
                left: self.expected.plain,
            },
        ));
        ContentsReader::new(bytes, self.artefact).map_err(|source| self.error(source))
    }

    /// Makes the repository's error of one that came out of the reader.
    #[must_use]
    pub fn error(&self, source: ContentsError) -> RepositoryError {
        let source = match source {
            ContentsError::Read(source) if is_of_file(&source) => return self.file.read_error(source),
            source => source,
        };
        RepositoryError::Damaged {
            place: self.at.place.clone(),
            key: Box::new(self.at.key.clone()),
            problem: "its lines cannot be read".to_owned(),
            source: Some(Box::new(source)),
        }
    }
}

type Decompressed = Decoder<'static, BufReader<Opening<'static>>>;

/// The JSON lines of contents: opened, decompressed, and exactly as many bytes as the manifest says.
pub struct ContentsBytes(BufReader<Bounded<Decompressed>>);

impl Read for ContentsBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl BufRead for ContentsBytes {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

/// A reader that yields exactly `left` bytes, or an error.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let got = self.inner.read(buffer)?;
        match self.left.checked_sub(got as u64) {
            None => Err(io::Error::other("it is longer than its manifest says")),
            Some(left) if got == 0 && left > 0 => Err(io::Error::other("it is shorter than its manifest says")),
            Some(left) => {
                self.left = left;
                Ok(got)
            }
        }
    }
}

/// A file that goes when this is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // The file may never have come to be, and the owner of a scratch directory empties it anyway.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Scratch {
    /// Makes a name for a new file.
    fn new(directory: &Path, artefact: ArtefactId) -> Self {
        Self(directory.join(format!("contents-{artefact}-{}", uuid::Uuid::new_v4())))
    }

    fn read_error(&self, source: io::Error) -> RepositoryError {
        scratch_error("read", &self.0, source)
    }
}

fn scratch_error(doing: &'static str, path: &Path, source: io::Error) -> RepositoryError {
    RepositoryError::Scratch {
        doing,
        path: path.to_owned(),
        source,
    }
}

impl Repository {
    /// Fetches an artefact's contents into a file below `scratch`, of the size and SHA-256 that the manifest names.
    ///
    /// # Errors
    /// [`RepositoryError::Missing`], [`RepositoryError::Damaged`], [`RepositoryError::Scratch`]; others of the place.
    pub async fn open_contents(&self, manifest: &Manifest, scratch: &Path) -> Result<ContentsFile, RepositoryError> {
        let artefact = manifest.captured.artefact;
        let at = self.named_at(&ObjectKey::Contents(artefact));
        let file = match self.fetch_contents(&at, manifest, scratch).await {
            // The object may have been damaged on the way: it is fetched once more.
            Err(RepositoryError::Damaged { .. }) => self.fetch_contents(&at, manifest, scratch).await?,
            other => other?,
        };
        Ok(ContentsFile {
            file,
            at,
            artefact,
            expected: manifest.contents,
            secret: self.keys().secret.clone(),
        })
    }

    async fn fetch_contents(&self, at: &At, manifest: &Manifest, scratch: &Path) -> Result<Scratch, RepositoryError> {
        let expected = manifest.contents;
        let (file, size, found) = self
            .fetch_hashed(at, manifest.captured.artefact, expected.size, scratch)
            .await?;
        if size != expected.size {
            return Err(at.damaged(wrong_size(size, expected.size)));
        }
        if found != expected.sha256 {
            return Err(at.damaged(wrong_hash(found, expected.sha256)));
        }
        Ok(file)
    }

    async fn fetch_hashed(
        &self,
        at: &At,
        artefact: ArtefactId,
        limit: u64,
        scratch: &Path,
    ) -> Result<(Scratch, u64, Digest), RepositoryError> {
        let file = Scratch::new(scratch, artefact);
        let size = match self.place().get_to_file(&at.key, &file.0, limit).await {
            Ok(size) => size,
            Err(StorageError::NotFound { .. }) => return Err(at.missing()),
            Err(StorageError::TooLarge { size, limit, .. }) => return Err(at.damaged(wrong_size(size, limit))),
            Err(error) => return Err(error.into()),
        };
        blocking(&at.key, move || {
            let sha256 = sha256_of_file(&file.0).map_err(|source| file.read_error(source))?;
            Ok((file, size, sha256))
        })
        .await?
    }

    /// Seals and writes an artefact's contents from a draft: a file of one zstd frame of JSON lines. Works in files
    /// beside the draft. See [`ContentsPut`] for what it means if contents are there already.
    ///
    /// # Errors
    /// [`RepositoryError::ReadOnly`]; [`RepositoryError::Scratch`]; [`RepositoryError::Damaged`] if contents are there
    /// that do not open; others.
    pub async fn put_contents(&self, artefact: ArtefactId, draft: &Path) -> Result<ContentsPut, RepositoryError> {
        let key = ObjectKey::Contents(artefact);
        let at = self.named_at(&key);
        let directory = draft.parent().unwrap_or_else(|| Path::new(".")).to_owned();
        let (sealed, size, sha256) = self.seal_contents(&key, artefact, draft, &directory).await?;
        match self.place().put_file(&key, &sealed.0, None).await? {
            Put::Created => return Ok(ContentsPut::Stored { size, sha256 }),
            Put::AlreadyThere { .. } => {}
        }
        // The stored object can be of any size: it is only compared.
        let (stored, size, found) = self.fetch_hashed(&at, artefact, u64::MAX, &directory).await?;
        if found == sha256 {
            return Ok(ContentsPut::Stored { size, sha256 });
        }
        let secret = self.keys().secret.clone();
        let draft = draft.to_owned();
        let same = blocking(&key, move || is_same(&stored, &secret, &at, &draft)).await??;
        let sha256 = found;
        Ok(if same {
            ContentsPut::Stored { size, sha256 }
        } else {
            ContentsPut::Other { size, sha256 }
        })
    }

    async fn seal_contents(
        &self,
        key: &ObjectKey,
        artefact: ArtefactId,
        draft: &Path,
        directory: &Path,
    ) -> Result<(Scratch, u64, Digest), RepositoryError> {
        let recipients = self.keys().readers()?;
        let profile = self.keys().profile;
        let sealed = Scratch::new(directory, artefact);
        let draft = draft.to_owned();
        let at = Box::new(key.clone());
        blocking(key, move || {
            let from = File::open(&draft).map_err(|source| scratch_error("read", &draft, source))?;
            let to = new_private(&sealed.0).map_err(|source| scratch_error("write", &sealed.0, source))?;
            let mut to = Hashing::new(to);
            seal_stream(&recipients, profile, from, &mut to)
                .map_err(|source| RepositoryError::Seal { key: at, source })?;
            Ok((sealed, to.size, Digest::from_bytes(to.hasher.finish())))
        })
        .await?
    }
}

fn new_private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Returns the SHA-256 of a file, read in pieces.
///
/// # Errors
/// What the file says.
pub fn sha256_of_file(path: &Path) -> io::Result<Digest> {
    let mut hashing = Hashing::new(io::sink());
    io::copy(&mut File::open(path)?, &mut hashing)?;
    Ok(Digest::from_bytes(hashing.hasher.finish()))
}

/// A writer with the size and hash of what was written to it.
struct Hashing<W> {
    to: W,
    hasher: Sha256,
    size: u64,
}

impl<W> Hashing<W> {
    fn new(to: W) -> Self {
        Self {
            to,
            hasher: Sha256::new(),
            size: 0,
        }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn open_file(file: &Scratch, secret: &SecretKeys, at: &At) -> Result<Decompressed, RepositoryError> {
    let from = File::open(&file.0).map_err(|source| file.read_error(source))?;
    let size = from.metadata().map_err(|source| file.read_error(source))?.len();
    // Nothing is compressed by OpenPGP, so a plaintext is smaller than its message.
    let opening = secret
        .open_reader(BufReader::with_capacity(BUFFER, from), size)
        .map_err(|error| match error {
            OpenError::Read { source } => file.read_error(source),
            other => at.open(other),
        })?;
    decompress(opening).map_err(|source| file.read_error(source))
}

/// True if a reader of a sealed scratch file failed because the file could not be read: that says nothing about the object.
fn is_of_file(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(OpenError::Read { .. }))
}

fn decompress<R: Read>(from: R) -> io::Result<Decoder<'static, BufReader<R>>> {
    let mut decoder = Decoder::new(from)?.single_frame();
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(decoder)
}

/// Tells whether stored contents and a draft hold the same lines. Of a stored object that nobody has signed yet,
/// nothing else is used.
fn is_same(file: &Scratch, secret: &SecretKeys, at: &At, draft: &Path) -> Result<bool, RepositoryError> {
    let mut stored = open_file(file, secret, at)?;
    let draft_error = |source| scratch_error("read", draft, source);
    let mut draft_lines = File::open(draft).and_then(decompress).map_err(draft_error)?;
    let mut ours = Vec::with_capacity(BUFFER);
    let mut theirs = Vec::with_capacity(BUFFER);
    loop {
        ours.clear();
        theirs.clear();
        let next = (&mut draft_lines).take(BUFFER as u64).read_to_end(&mut ours);
        next.map_err(draft_error)?;
        let next = (&mut stored).take(BUFFER as u64).read_to_end(&mut theirs);
        next.map_err(|source| {
            if is_of_file(&source) {
                return file.read_error(source);
            }
            RepositoryError::Damaged {
                place: at.place.clone(),
                key: Box::new(at.key.clone()),
                problem: "it is there from another attempt, and does not open".to_owned(),
                source: Some(Box::new(source)),
            }
        })?;
        if ours != theirs {
            return Ok(false);
        }
        if ours.is_empty() {
            return Ok(true);
        }
    }
}
