//! The contents of an attempt while they are written.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::{StagingError, files};

/// Fast rather than small: the encryptor compresses the contents again, in one frame that states its size.
const LEVEL: i32 = 1;

/// Takes the contents' lines and compresses them into the attempt's folder.
pub struct ContentsFile {
    temporary: Temporary,
    name: &'static str,
    path: PathBuf,
    max_bytes: u64,
    encoder: zstd::stream::write::Encoder<'static, BufWriter<File>>,
}

impl ContentsFile {
    /// `above` and `max_bytes` are for what an error tells.
    pub(super) fn create(dir: &OwnedFd, name: &'static str, above: &Path, max_bytes: u64) -> io::Result<Self> {
        let dir = dir.try_clone()?;
        let path = above.join(name);
        let temporary = Temporary {
            name: files::temporary(name),
            dir,
        };
        let file = files::create(temporary.dir.as_fd(), &temporary.name)?;
        let encoder = zstd::stream::write::Encoder::new(BufWriter::with_capacity(1 << 16, file), LEVEL)?;
        Ok(Self {
            temporary,
            name,
            path,
            max_bytes,
            encoder,
        })
    }

    /// Puts the contents into their place.
    ///
    /// # Errors
    /// What the filesystem answers; a folder that was superseded is not found.
    pub fn finish(self) -> io::Result<()> {
        let file = self
            .encoder
            .finish()?
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        files::commit(self.temporary.dir.as_fd(), &file, &self.temporary.name, self.name)
    }
}

impl Write for ContentsFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.encoder.write(bytes);
        written.map_err(|e| explain(e, &self.path, self.max_bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush()
    }
}

/// A file by a name of its own, which goes unless the file got another one.
struct Temporary {
    name: String,
    dir: OwnedFd,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // If it cannot be removed, it goes with the attempt.
        let _ = files::remove(self.dir.as_fd(), &self.name);
    }
}

/// A full filesystem's error says what to do about it.
fn explain(error: io::Error, path: &Path, max_bytes: u64) -> io::Error {
    match StagingError::from_io("write", path, max_bytes, error) {
        full @ StagingError::Full { .. } => io::Error::new(io::ErrorKind::StorageFull, full),
        StagingError::Io { source, .. } => source,
        other => io::Error::other(other),
    }
}
