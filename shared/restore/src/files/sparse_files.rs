//! Files whose data in the archive is not their content byte for byte: sparse ones. In the order of the stream, because a
//! map tells where data goes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use holdfast_format::{EntryKind, Extent};

use super::error::FilesError;
use super::job::{Extra, FilesJob};
use super::plan::{EntryTarget, HEADER, Piece};
use crate::in_order::{Broken, in_order};
use crate::passes::lock;
use crate::source::PackError;
use crate::sparse::Sparse;
use crate::stream::StreamError;
use crate::tar;

/// The sparse file that is being written.
struct Current {
    index: u32,
    file: Arc<File>,
    sparse: Sparse,
    extra: Extra,
}

/// A fault that stops a file: the file's own, or the disk's.
enum Fault {
    Own(String),
    Disk(std::io::Error),
}

impl From<&'static str> for Fault {
    fn from(problem: &'static str) -> Self {
        Self::Own(problem.to_owned())
    }
}

impl FilesJob<'_> {
    /// Writes sparse files.
    pub(super) fn write_sparse_files(&self) -> Result<(), FilesError> {
        let mut current: Option<Current> = None;
        let extents = self.plan.sparse.iter().map(|piece| {
            let extent = Extent {
                pack: piece.pack,
                offset: piece.offset,
                length: piece.length,
                id: self.plan.ledger.expected(piece.place),
            };
            Ok((extent, piece))
        });
        let result = in_order(
            self.origin,
            self.options.limits,
            self.progress,
            extents,
            |extent, piece, bytes| self.sparse_piece(&extent, piece, bytes, &mut current),
        );
        match result {
            Ok(()) => self.complete(current),
            Err(Broken::Other(error)) => Err(error),
            Err(Broken::Outside(extent)) => Err(StreamError::outside(self.origin, &extent).into()),
            Err(Broken::Workers) => Err(StreamError::Stopped.into()),
        }
    }

    fn sparse_piece(
        &self,
        extent: &Extent,
        piece: &Piece,
        bytes: Result<&[u8], PackError>,
        current: &mut Option<Current>,
    ) -> Result<(), FilesError> {
        self.check_stopped()?;
        let EntryTarget::Node(index) = piece.target else {
            return Ok(());
        };
        if piece.at == HEADER {
            self.complete(current.take())?;
        }
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) if error.is_damage() => {
                self.lose(piece.target, error.to_string(), Some(error.object));
                return Ok(());
            }
            Err(error) => return Err(StreamError::from(error).into()),
        };
        let id = self.origin.key.chunk_id(bytes);
        match extent.id {
            Some(expected) if expected != id => {
                let error = StreamError::chunk(self.origin, extent, expected);
                self.lose(piece.target, error.to_string(), Some(self.origin.pack_key(piece.pack)));
                return Ok(());
            }
            Some(_) => {}
            None => self.plan.ledger.found(&[(piece.place, id)]),
        }
        if self.plan.node(index).failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let outcome = if piece.at == HEADER {
            self.begin(index, bytes).map(|begun| *current = Some(begun))
        } else {
            data(current, index, bytes)
        };
        match outcome {
            Ok(()) => {
                self.progress.add_done(bytes.len() as u64);
                Ok(())
            }
            Err(Fault::Own(problem)) => {
                self.lose(piece.target, problem, None);
                Ok(())
            }
            Err(Fault::Disk(error)) => self.trouble(piece.target, "write the file", error),
        }
    }

    /// Makes the file at its full size: a hole from end to end.
    fn begin(&self, index: u32, header: &[u8]) -> Result<Current, Fault> {
        let node = self.plan.node(index);
        let header = tar::parse(header)?;
        if header.kind != EntryKind::File || header.sparse != Some(node.size) {
            return Err("contents and tar headers do not agree about its size".into());
        }
        let file = self.open_file(index, node).map_err(|error| Fault::Disk(error.into()))?;
        file.set_len(node.size).map_err(Fault::Disk)?;
        Ok(Current {
            index,
            file,
            sparse: Sparse::new(node.size),
            extra: Extra {
                xattrs: header.xattrs,
                device: (0, 0),
            },
        })
    }

    fn complete(&self, current: Option<Current>) -> Result<(), FilesError> {
        let Some(current) = current else {
            return Ok(());
        };
        let target = EntryTarget::Node(current.index);
        let node = self.plan.node(current.index);
        lock(&self.open).files.remove(&current.index);
        if !current.sparse.is_whole() {
            self.lose(target, "its data ends early", None);
        }
        if !node.failed.load(Ordering::Relaxed) {
            self.dress(target, &*current.file, node.meta, &current.extra);
            if let Err(error) = self.place(current.index, node) {
                return self.trouble(target, "create the file", error.into());
            }
        }
        Ok(())
    }
}

fn data(current: &mut Option<Current>, index: u32, bytes: &[u8]) -> Result<(), Fault> {
    let Some(current) = current.as_mut().filter(|current| current.index == index) else {
        return Err("its data comes without headers".into());
    };
    let file = &current.file;
    current.sparse.take(bytes, |offset, part| {
        file.write_all_at(part, offset).map_err(Fault::Disk)
    })
}
