//! Files, pack by pack.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use holdfast_format::{ChunkId, EntryKind, Extent, ObjectKey};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, linkat, openat, renameat, renameat_with, statat, unlinkat};
use rustix::io::Errno;

use super::error::FilesError;
use super::job::{Extra, FilesJob};
use super::plan::{EntryTarget, HEADER, Node, Piece};
use crate::passes::{each, fetch, lock};
use crate::stream::StreamError;
use crate::tar;

/// Files kept open whose data comes from several packs.
const OPEN: usize = 64;

const CREATE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

const REOPEN: OFlags = OFlags::WRONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl FilesJob<'_> {
    /// Fetches and opens each pack once, and makes of its pieces what they are for.
    pub(super) fn write_packs(&self) -> Result<(), FilesError> {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let mut start = 0;
        for group in self.plan.pieces.chunk_by(|a, b| a.pack == b.pack) {
            ranges.push(start..start + group.len());
            start += group.len();
        }
        each(&ranges, self.options.limits, |range| {
            self.check_stopped()?;
            self.pack(&self.plan.pieces[range.clone()])
        })
    }

    fn pack(&self, pieces: &[Piece]) -> Result<(), FilesError> {
        let Some(pack) = pieces.first().map(|piece| piece.pack) else {
            return Ok(());
        };
        let (key, fetched) = match self.origin.pack(pack) {
            Some(named) => (ObjectKey::Pack(named.id), fetch(self.origin, self.progress, named)),
            None => {
                let problem = "the contents name a pack that the manifest does not have";
                return self.all_lost(pieces, &self.origin.pack_key(pack), problem);
            }
        };
        let plain = match fetched {
            Ok(plain) => plain,
            Err(error) if error.is_damage() => return self.all_lost(pieces, &key, &error.to_string()),
            Err(error) => return Err(StreamError::from(error).into()),
        };
        let mut ids = Vec::new();
        for group in pieces.chunk_by(|a, b| a.target == b.target) {
            self.group(group, &plain, &mut ids)?;
        }
        self.plan.ledger.found(&ids);
        Ok(())
    }

    fn all_lost(&self, pieces: &[Piece], key: &ObjectKey, problem: &str) -> Result<(), FilesError> {
        for piece in pieces {
            self.lost_piece(piece, key, problem)?;
        }
        Ok(())
    }

    /// A piece that cannot be had costs its entry, unless it held only attributes.
    pub(super) fn lost_piece(&self, piece: &Piece, key: &ObjectKey, problem: &str) -> Result<(), FilesError> {
        let EntryTarget::Node(index) = piece.target else {
            self.warn(piece.target, problem, Some(key.clone()));
            return Ok(());
        };
        let node = self.plan.node(index);
        let numbers_lost = matches!(node.kind, EntryKind::Char | EntryKind::Block);
        if piece.at == HEADER && !numbers_lost {
            let problem = format!("its extended attributes, if it has any, are lost: {problem}");
            self.warn(piece.target, problem, Some(key.clone()));
            if node.kind == EntryKind::File {
                return self.pieces_done(index, node, 1);
            }
            return Ok(());
        }
        self.lose(piece.target, problem, Some(key.clone()));
        Ok(())
    }

    /// Pieces of one entry in one pack.
    fn group(&self, group: &[Piece], plain: &[u8], ids: &mut Vec<(u32, ChunkId)>) -> Result<(), FilesError> {
        let mut good: Vec<(&Piece, &[u8])> = Vec::with_capacity(group.len());
        for piece in group {
            match self.bytes(piece, plain, ids) {
                Ok(bytes) => good.push((piece, bytes)),
                Err(error) => {
                    let key = self.origin.pack_key(piece.pack);
                    self.lost_piece(piece, &key, &error.to_string())?;
                }
            }
        }
        let Some((first, _)) = good.first() else {
            return Ok(());
        };
        match first.target {
            EntryTarget::Nobody => Ok(()),
            EntryTarget::Node(index) if self.plan.node(index).kind == EntryKind::File => self.file(index, &good),
            target => {
                for (_, bytes) in good {
                    if let Some(extra) = self.header(target, bytes) {
                        self.keep(target, extra);
                    }
                }
                Ok(())
            }
        }
    }

    /// The bytes of a piece, their id compared or noted.
    pub(super) fn bytes<'b>(
        &self,
        piece: &Piece,
        plain: &'b [u8],
        ids: &mut Vec<(u32, ChunkId)>,
    ) -> Result<&'b [u8], StreamError> {
        let extent = Extent {
            pack: piece.pack,
            offset: piece.offset,
            length: piece.length,
            id: None,
        };
        let from = piece.offset as usize;
        let to = piece.offset as usize + piece.length as usize;
        let bytes = plain
            .get(from..to)
            .ok_or_else(|| StreamError::outside(self.origin, &extent))?;
        let id = self.origin.key.chunk_id(bytes);
        match self.plan.ledger.expected(piece.place) {
            Some(expected) if expected != id => return Err(StreamError::chunk(self.origin, &extent, expected)),
            Some(_) => {}
            None => ids.push((piece.place, id)),
        }
        Ok(bytes)
    }

    /// Reads facts beyond the contents from headers; `None` if the headers make no sense, which costs a device and no other.
    pub(super) fn header(&self, target: EntryTarget, bytes: &[u8]) -> Option<Extra> {
        match tar::parse(bytes) {
            Ok(header) => Some(Extra {
                xattrs: header.xattrs,
                device: header.device,
            }),
            Err(problem) => {
                self.warn(target, format!("its tar headers cannot be read: {problem}"), None);
                None
            }
        }
    }

    fn keep(&self, target: EntryTarget, extra: Extra) {
        if !extra.xattrs.is_empty() || extra.device != (0, 0) {
            lock(&self.extras).insert(target, extra);
        }
    }

    fn file(&self, index: u32, good: &[(&Piece, &[u8])]) -> Result<(), FilesError> {
        let node = self.plan.node(index);
        let target = EntryTarget::Node(index);
        if node.failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut extra = None;
        let mut data = Vec::with_capacity(good.len());
        for (piece, bytes) in good {
            if piece.at == HEADER {
                extra = self.header(target, bytes);
            } else {
                // The last piece also fills a block of the archive.
                let wanted = usize::try_from(node.size.saturating_sub(piece.at)).unwrap_or(usize::MAX);
                data.push((piece.at, &bytes[..wanted.min(bytes.len())]));
            }
        }
        let count = u32::try_from(good.len()).unwrap_or(u32::MAX);
        if node.left.load(Ordering::Acquire) == count && !node.created.load(Ordering::Acquire) {
            return self.whole_file(index, node, &data, &extra.unwrap_or_default());
        }
        if let Some(extra) = extra {
            self.keep(target, extra);
        }
        let file = match self.open_file(index, node) {
            Ok(file) => file,
            Err(error) => return self.trouble(target, "create the file", error.into()),
        };
        if let Err(error) = write_all(&file, &data) {
            return self.trouble(target, "write the file", error);
        }
        self.progress
            .add_done(data.iter().map(|(_, bytes)| bytes.len() as u64).sum());
        self.pieces_done(index, node, count)
    }

    /// A file all of whose data is at hand: the usual case.
    fn whole_file(&self, index: u32, node: &Node, data: &[(u64, &[u8])], extra: &Extra) -> Result<(), FilesError> {
        let target = EntryTarget::Node(index);
        let file = match self.create(index, node) {
            Ok(file) => file,
            Err(error) => return self.trouble(target, "create the file", error.into()),
        };
        if let Err(error) = write_all(&file, data) {
            return self.trouble(target, "write the file", error);
        }
        self.dress(target, &file, node.meta, extra);
        if let Err(error) = self.place(index, node) {
            return self.trouble(target, "create the file", error.into());
        }
        self.progress
            .add_done(data.iter().map(|(_, bytes)| bytes.len() as u64).sum());
        Ok(())
    }

    /// Counts pieces of a file as dealt with; the last one completes it.
    fn pieces_done(&self, index: u32, node: &Node, count: u32) -> Result<(), FilesError> {
        if node.left.fetch_sub(count, Ordering::AcqRel) != count || node.failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let target = EntryTarget::Node(index);
        let file = match self.open_file(index, node) {
            Ok(file) => file,
            Err(error) => return self.trouble(target, "open the file again", error.into()),
        };
        lock(&self.open).files.remove(&index);
        let extra = lock(&self.extras).remove(&target).unwrap_or_default();
        self.dress(target, &*file, node.meta, &extra);
        self.place(index, node)
            .or_else(|error| self.trouble(target, "create the file", error.into()))
    }

    /// A file whose data comes bit by bit.
    pub(super) fn open_file(&self, index: u32, node: &Node) -> Result<Arc<File>, Errno> {
        let mut open = lock(&self.open);
        open.now += 1;
        let now = open.now;
        if let Some((file, wanted)) = open.files.get_mut(&index) {
            *wanted = now;
            return Ok(Arc::clone(file));
        }
        let file = if node.created.load(Ordering::Acquire) {
            let dir = self.tree.dir(node.dir)?;
            File::from(openat(&dir, self.part_name(index), REOPEN, Mode::empty())?)
        } else {
            self.create(index, node)?
        };
        let file = Arc::new(file);
        if open.files.len() >= OPEN {
            let oldest = open
                .files
                .iter()
                .min_by_key(|(_, (_, wanted))| *wanted)
                .map(|(index, _)| *index);
            if let Some(oldest) = oldest {
                open.files.remove(&oldest);
            }
        }
        open.files.insert(index, (Arc::clone(&file), now));
        Ok(file)
    }

    /// Makes a file under a name of its own: it gets its real one when it is whole.
    fn create(&self, index: u32, node: &Node) -> Result<File, Errno> {
        let dir = self.tree.dir(node.dir)?;
        let file = openat(&dir, self.part_name(index), CREATE, Mode::RUSR | Mode::WUSR)?;
        node.created.store(true, Ordering::Release);
        Ok(File::from(file))
    }

    /// The name of an entry that is not whole yet: one that nobody else uses.
    pub(super) fn part_name(&self, index: u32) -> Vec<u8> {
        format!(".holdfast-restore-{:016x}-{index}", self.run).into_bytes()
    }

    /// Gives a whole file its real name.
    pub(super) fn place(&self, index: u32, node: &Node) -> Result<(), Errno> {
        let dir = self.tree.dir(node.dir)?;
        let part = self.part_name(index);
        let name = self.plan.bytes(node.name);
        if self.options.overwrite {
            renameat(&dir, part.as_slice(), &dir, name)?;
        } else {
            rename_new(&dir, &part, name)?;
        }
        node.created.store(false, Ordering::Release);
        Ok(())
    }
}

/// Renames, unless something has the new name.
fn rename_new(dir: &OwnedFd, from: &[u8], to: &[u8]) -> Result<(), Errno> {
    match renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
        // Not every file system knows how.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        other => return other,
    }
    match linkat(dir, from, dir, to, AtFlags::empty()) {
        Ok(()) => unlinkat(dir, from, AtFlags::empty()),
        // Some have no links either.
        Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP) => match statat(dir, to, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(Errno::EXIST),
            Err(Errno::NOENT) => renameat(dir, from, dir, to),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

fn write_all(file: &File, data: &[(u64, &[u8])]) -> io::Result<()> {
    for (at, bytes) in data {
        file.write_all_at(bytes, *at)?;
    }
    Ok(())
}
