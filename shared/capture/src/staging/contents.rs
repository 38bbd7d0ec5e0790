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
    dir: OwnedFd,
    temporary: String,
    path: PathBuf,
    max_bytes: u64,
    encoder: zstd::stream::write::Encoder<'static, BufWriter<File>>,
}

impl ContentsFile {
    /// `path` and `max_bytes` are for what an error tells.
    pub(super) fn create(dir: &OwnedFd, path: PathBuf, max_bytes: u64) -> io::Result<Self> {
        let dir = dir.try_clone()?;
        let temporary = files::temporary(files::CONTENTS);
        let file = files::create(dir.as_fd(), &temporary)?;
        let encoder = zstd::stream::write::Encoder::new(BufWriter::with_capacity(1 << 16, file), LEVEL)?;
        Ok(Self {
            dir,
            temporary,
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
        files::commit(self.dir.as_fd(), &file, &self.temporary, files::CONTENTS)
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

/// A full filesystem's error says what to do about it.
fn explain(error: io::Error, path: &Path, max_bytes: u64) -> io::Error {
    match StagingError::from_io("write", path, max_bytes, error) {
        full @ StagingError::Full { .. } => io::Error::new(io::ErrorKind::StorageFull, full),
        StagingError::Io { source, .. } => source,
        other => io::Error::other(other),
    }
}
