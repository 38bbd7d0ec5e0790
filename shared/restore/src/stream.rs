//! The exact stream of an artefact, or of some entries of a tree.

use std::io::{self, Write};

use holdfast_fault::{Retry, Retryable};
use holdfast_format::{ChunkId, Content, Extent, ObjectKey};
use holdfast_repository::RepositoryError;

use crate::in_order::{Broken, in_order};
use crate::progress::{Limits, Progress};
use crate::select::{NotFound, Selection, Selector};
use crate::source::{Origin, PackError};

/// A stream could not be written to its end.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// A pack could not be had.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The contents could not be read.
    #[error(transparent)]
    Contents(#[from] RepositoryError),
    /// Contents and packs do not belong together.
    #[error("{object} is damaged: an extent at {offset} of {length} bytes reaches beyond it")]
    Outside {
        /// The pack; the contents, if they name none.
        object: ObjectKey,
        /// Bytes before the extent.
        offset: u32,
        /// The number of bytes.
        length: u32,
    },
    /// A chunk is not what was captured.
    #[error(
        "{object} holds something else than was captured: {length} bytes at {offset} do not have the chunk id {id}"
    )]
    Chunk {
        /// The pack.
        object: ObjectKey,
        /// Bytes before the chunk.
        offset: u32,
        /// The number of bytes.
        length: u32,
        /// The id that it should have.
        id: ChunkId,
    },
    /// All chunks are good, and yet the whole is not what was captured.
    #[error("the stream of {object} is not what was captured: {problem}")]
    Digest {
        /// The contents.
        object: ObjectKey,
        /// The difference.
        problem: String,
    },
    /// An entry is not what it should be.
    #[error("{object} holds an entry, {path}, that cannot be given out: {problem}")]
    Entry {
        /// The pack with its headers, or the contents.
        object: ObjectKey,
        /// The entry's path in the artefact, escaped for people.
        path: String,
        /// The fault of the entry.
        problem: &'static str,
    },
    /// The artefact is something else.
    #[error("artefact {artefact} holds {kind}, not files")]
    NotFiles {
        /// The artefact.
        artefact: String,
        /// The kind of the artefact.
        kind: &'static str,
    },
    /// A selected path is not there.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// The writer did not take the stream.
    #[error("cannot write the stream")]
    Write(#[source] io::Error),
    /// The order to stop came.
    #[error("stopped before the end")]
    Stopped,
}

impl Retryable for StreamError {
    fn retry(&self) -> Retry {
        match self {
            Self::Pack(error) => error.retry(),
            Self::Contents(error) => error.retry(),
            Self::Write(error) => Retry::of_io(error),
            Self::Stopped => Retry::Later,
            Self::Outside { .. }
            | Self::Chunk { .. }
            | Self::Digest { .. }
            | Self::Entry { .. }
            | Self::NotFiles { .. }
            | Self::NotFound(_) => Retry::Never,
        }
    }
}

impl StreamError {
    /// The object at fault, if the repository is.
    #[must_use]
    pub fn damaged(&self) -> Option<&ObjectKey> {
        match self {
            Self::Pack(error) => error.is_damage().then_some(&error.object),
            Self::Contents(RepositoryError::Damaged { key, .. } | RepositoryError::Missing { key, .. }) => Some(key),
            Self::Outside { object, .. }
            | Self::Chunk { object, .. }
            | Self::Digest { object, .. }
            | Self::Entry { object, .. } => Some(object),
            _ => None,
        }
    }

    /// An extent that lies in no pack.
    pub(crate) fn outside(origin: Origin<'_>, extent: &Extent) -> Self {
        Self::Outside {
            object: origin.pack_key(extent.pack),
            offset: extent.offset,
            length: extent.length,
        }
    }

    /// A chunk that is another one.
    pub(crate) fn chunk(origin: Origin<'_>, extent: &Extent, id: ChunkId) -> Self {
        Self::Chunk {
            object: origin.pack_key(extent.pack),
            offset: extent.offset,
            length: extent.length,
            id,
        }
    }

    pub(crate) fn digest(origin: Origin<'_>, problem: impl Into<String>) -> Self {
        Self::Digest {
            object: ObjectKey::Contents(origin.manifest.captured.artefact),
            problem: problem.into(),
        }
    }
}

impl<E: Into<Self>> From<(Origin<'_>, Broken<E>)> for StreamError {
    fn from((origin, broken): (Origin<'_>, Broken<E>)) -> Self {
        match broken {
            Broken::Outside(extent) => Self::outside(origin, &extent),
            Broken::Workers => Self::Stopped,
            Broken::Other(error) => error.into(),
        }
    }
}

/// The size of a stream that was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streamed {
    /// Bytes.
    pub size: u64,
    /// Extents.
    pub extents: u64,
}

/// Writes an artefact's stream to `out`, in order and byte for byte; of a selection, the chosen entries, which with the
/// stream's end make a valid tar. Blocks: call it on a thread that may.
///
/// Every chunk is compared with its id. Of a whole stream, size and digest are compared with the manifest *before the last
/// extent is written*: a reader that got everything got what was captured. After an error, `out` holds a part.
///
/// # Errors
/// [`StreamError`], which names the object at fault.
pub fn write_stream(
    origin: Origin<'_>,
    select: &Selection,
    limits: Limits,
    progress: &Progress,
    out: &mut dyn Write,
) -> Result<Streamed, StreamError> {
    let extents = extents(origin, Selector::new(select))?;
    let put = |_: &Extent, (), bytes: &[u8], held: &mut Vec<u8>| {
        held.extend_from_slice(bytes);
        Ok(())
    };
    write_extents(origin, select.is_all(), limits, progress, extents, put, out)
}

/// Writes extents in order, each as `put` gives it: it is called with the extent, its tag, its bytes, and an empty buffer.
/// Every chunk is compared with its id; if the extents are the whole stream, that is compared with the manifest before
/// what was made of the last one is written.
pub(crate) fn write_extents<T>(
    origin: Origin<'_>,
    whole: bool,
    limits: Limits,
    progress: &Progress,
    extents: impl Iterator<Item = Result<(Extent, T), StreamError>>,
    mut put: impl FnMut(&Extent, T, &[u8], &mut Vec<u8>) -> Result<(), StreamError>,
    out: &mut dyn Write,
) -> Result<Streamed, StreamError> {
    let mut digest = origin.key.extent_digest();
    let mut written = Streamed::default();
    let mut held: Vec<u8> = Vec::new();
    // Of the stream itself, which `put` may make longer.
    let mut length = 0;
    let mut write = |held: &[u8], length: u32| {
        out.write_all(held).map_err(StreamError::Write)?;
        written.size += held.len() as u64;
        progress.add_done(u64::from(length));
        Ok::<_, StreamError>(())
    };
    in_order(origin, limits, progress, extents, |extent, tag, bytes| {
        if progress.stopped() {
            return Err(StreamError::Stopped);
        }
        let bytes = bytes?;
        let id = origin.key.chunk_id(bytes);
        if let Some(expected) = extent.id.filter(|expected| *expected != id) {
            return Err(StreamError::chunk(origin, &extent, expected));
        }
        digest.add(extent.length, id);
        write(&held, length)?;
        held.clear();
        length = extent.length;
        put(&extent, tag, bytes, &mut held)
    })
    .map_err(|broken| StreamError::from((origin, broken)))?;
    let (size, extents, found) = digest.finish();
    if whole {
        compare(origin, size, extents, found)?;
    }
    write(&held, length)?;
    out.flush().map_err(StreamError::Write)?;
    written.extents = extents;
    Ok(written)
}

/// The extents of the selected lines. Complains at the last line about selected paths that were nowhere.
fn extents(
    origin: Origin<'_>,
    mut selector: Selector<'_>,
) -> Result<impl Iterator<Item = Result<(Extent, ()), StreamError>>, StreamError> {
    Ok(origin.lines()?.flat_map(move |line| {
        let (extents, error) = match line {
            Ok(content) if selector.takes(&content) => {
                let missing = match content {
                    Content::End(_) => selector.finish().err(),
                    _ => None,
                };
                (content.extents().to_vec(), missing.map(StreamError::NotFound))
            }
            Ok(_) => (Vec::new(), None),
            Err(error) => (Vec::new(), Some(StreamError::Contents(error))),
        };
        let extents = extents.into_iter().map(|extent| Ok((extent, ())));
        extents.chain(error.map(Err))
    }))
}

/// Compares a whole stream with the manifest.
pub(crate) fn compare(
    origin: Origin<'_>,
    size: u64,
    extents: u64,
    digest: holdfast_format::Digest,
) -> Result<(), StreamError> {
    let stream = &origin.manifest.captured.stream;
    if size != stream.size {
        return Err(StreamError::digest(
            origin,
            format!("{size} bytes, not {}", stream.size),
        ));
    }
    if extents != stream.extents {
        let problem = format!("{extents} extents, not {}", stream.extents);
        return Err(StreamError::digest(origin, problem));
    }
    if digest != stream.digest {
        return Err(StreamError::digest(origin, "another digest"));
    }
    Ok(())
}
