//! The entries to restore, laid out by pack. Names stand once, in one buffer: a tree of a million files takes about 60
//! bytes for each file beside its name, and 32 for each extent.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32};

use holdfast_format::{Content, Entry, EntryKind, Extent, Path, Stamp};
use holdfast_repository::RepositoryError;

use super::error::FilesError;
use super::report::{FileCounts, Problem};
use crate::ledger::Ledger;
use crate::select::{Selection, Selector};
use crate::source::Origin;
use crate::tar::BLOCK;

/// The thing that a piece is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum EntryTarget {
    /// No output: the piece's bytes count for the stream's digest only.
    Nobody,
    /// A directory.
    Dir(u32),
    /// Anything else.
    Node(u32),
}

/// A piece of the names.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Name {
    at: u32,
    length: u32,
}

/// The facts that contents tell of every entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Stamp,
}

/// A directory. The first is the root.
pub(super) struct Dir {
    pub(super) parent: u32,
    pub(super) name: Name,
    /// None if the contents have no entry for it.
    pub(super) meta: Option<Meta>,
}

/// Anything but a directory.
pub(super) struct Node {
    pub(super) dir: u32,
    pub(super) name: Name,
    pub(super) kind: EntryKind,
    pub(super) meta: Meta,
    pub(super) size: u64,
    pub(super) link: Name,
    /// Pieces not dealt with yet.
    pub(super) left: AtomicU32,
    /// True if the file stands under a name that is not its own yet.
    pub(super) created: AtomicBool,
    pub(super) failed: AtomicBool,
}

/// The offset of a piece that holds headers.
pub(super) const HEADER: u64 = u64::MAX;

/// An extent and what it is for.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub(super) target: EntryTarget,
    pub(super) pack: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
    /// The number of the extent in the ledger.
    pub(super) place: u32,
    /// The offset in the file, or [`HEADER`].
    pub(super) at: u64,
}

#[derive(Default)]
pub(super) struct FilesPlan {
    names: Vec<u8>,
    pub(super) dirs: Vec<Dir>,
    pub(super) nodes: Vec<Node>,
    /// Ordered by pack, then by place.
    pub(super) pieces: Vec<Piece>,
    /// The pieces of sparse files, in the order of the stream.
    pub(super) sparse: Vec<Piece>,
    pub(super) ledger: Ledger,
    counts: FileCounts,
}

impl FilesPlan {
    /// Reads the contents. Entries with names that lead elsewhere come back as problems.
    pub(super) fn make(origin: Origin<'_>, select: &Selection) -> Result<(Self, Vec<Problem>), FilesError> {
        let adopted = adopted(origin, select)?;
        let mut selector = Selector::new(select);
        let mut builder = Builder::default();
        builder.plan.dirs.push(Dir {
            parent: 0,
            name: Name::default(),
            meta: None,
        });
        for line in origin.lines()? {
            match line? {
                Content::Entry(entry) => {
                    let wanted = selector.takes_entry(&entry);
                    match adopted.get(&entry.path) {
                        _ if wanted => builder.entry(entry, &adopted)?,
                        Some(heir) => builder.entry(
                            Entry {
                                path: heir.clone(),
                                ..entry
                            },
                            &HashMap::new(),
                        )?,
                        None => {}
                    }
                }
                other if select.is_all() => {
                    for extent in other.extents() {
                        builder.piece(EntryTarget::Nobody, extent, HEADER, false);
                    }
                }
                _ => {}
            }
        }
        selector.finish()?;
        let mut plan = builder.plan;
        plan.pieces.sort_unstable_by_key(|piece| (piece.pack, piece.place));
        Ok((plan, builder.refused))
    }

    pub(super) fn node(&self, index: u32) -> &Node {
        &self.nodes[index as usize]
    }

    pub(super) fn bytes(&self, name: Name) -> &[u8] {
        &self.names[name.at as usize..(name.at + name.length) as usize]
    }

    pub(super) fn counts(&self) -> FileCounts {
        self.counts
    }

    pub(super) fn into_ledger(self) -> Ledger {
        self.ledger
    }

    /// Indices of the packs that are needed.
    pub(super) fn packs(&self) -> BTreeSet<u32> {
        self.pieces.iter().chain(&self.sparse).map(|piece| piece.pack).collect()
    }

    /// A path for people.
    pub(super) fn display(&self, target: EntryTarget) -> String {
        match target {
            EntryTarget::Nobody => "the end of the archive".to_owned(),
            _ => Path(self.path(target)).display(),
        }
    }

    /// The path in the artefact.
    pub(super) fn path(&self, target: EntryTarget) -> Vec<u8> {
        let (mut dir, last) = match target {
            EntryTarget::Nobody => (0, None),
            EntryTarget::Dir(index) => (index, None),
            EntryTarget::Node(index) => (self.node(index).dir, Some(self.node(index).name)),
        };
        let mut parts: Vec<&[u8]> = last.map(|name| self.bytes(name)).into_iter().collect();
        while dir != 0 {
            let node = &self.dirs[dir as usize];
            parts.push(self.bytes(node.name));
            dir = node.parent;
        }
        parts.reverse();
        if parts.is_empty() {
            return b".".to_vec();
        }
        parts.join(&b'/')
    }
}

/// Files that are not selected while a hard link to them is: by their path, the link that gets their data.
pub(crate) fn adopted(origin: Origin<'_>, select: &Selection) -> Result<HashMap<Path, Path>, RepositoryError> {
    let mut adopted = HashMap::new();
    if select.is_all() {
        return Ok(adopted);
    }
    for line in origin.lines()? {
        if let Content::Entry(entry) = line?
            && let (EntryKind::Hardlink, Some(first)) = (entry.kind, entry.link)
            && select.covers(&entry.path)
            && !select.covers(&first)
        {
            adopted.entry(first).or_insert(entry.path);
        }
    }
    Ok(adopted)
}

#[derive(Default)]
struct Builder {
    plan: FilesPlan,
    /// Directories from below the root to where the last entry was.
    stack: Vec<u32>,
    refused: Vec<Problem>,
}

impl Builder {
    fn entry(&mut self, mut entry: Entry, adopted: &HashMap<Path, Path>) -> Result<(), FilesError> {
        if let (EntryKind::Hardlink, Some(heir)) = (entry.kind, entry.link.as_ref().and_then(|l| adopted.get(l))) {
            if *heir == entry.path {
                // It was made a file when the first name came by.
                return Ok(());
            }
            entry.link = Some(heir.clone());
        }
        let target = match components(&entry.path.0) {
            Ok(parts) if entry.kind == EntryKind::Dir => EntryTarget::Dir(self.directory(&parts, Some(meta(&entry)))?),
            Ok(parts) => self.node(&entry, &parts)?,
            Err(problem) => {
                self.refuse(&entry, problem);
                EntryTarget::Nobody
            }
        };
        let data: u64 = entry.extents.iter().skip(1).map(|x| u64::from(x.length)).sum();
        let sparse = matches!(target, EntryTarget::Node(_))
            && entry.kind == EntryKind::File
            && data != entry.size.next_multiple_of(BLOCK as u64);
        let mut at = 0;
        for (index, extent) in entry.extents.iter().enumerate() {
            self.piece(target, extent, if index == 0 { HEADER } else { at }, sparse);
            at += if index == 0 { 0 } else { u64::from(extent.length) };
        }
        Ok(())
    }

    fn refuse(&mut self, entry: &Entry, problem: &str) {
        self.refused.push(Problem {
            path: entry.path.display(),
            problem: problem.to_owned(),
            object: None,
            lost: true,
        });
    }

    fn piece(&mut self, target: EntryTarget, extent: &Extent, at: u64, sparse: bool) {
        let piece = Piece {
            target,
            pack: extent.pack,
            offset: extent.offset,
            length: extent.length,
            place: self.plan.ledger.enter(extent),
            at,
        };
        if sparse {
            self.plan.sparse.push(piece);
        } else {
            self.plan.pieces.push(piece);
        }
    }

    fn node(&mut self, entry: &Entry, parts: &[&[u8]]) -> Result<EntryTarget, FilesError> {
        let Some((last, above)) = parts.split_last() else {
            self.refuse(entry, "refused: the root is no directory");
            return Ok(EntryTarget::Nobody);
        };
        let link = entry.link.as_ref().map_or(&[][..], |link| &link.0);
        if let Err(problem) = check_link(entry.kind, link) {
            self.refuse(entry, problem);
            return Ok(EntryTarget::Nobody);
        }
        let dir = self.directory(above, None)?;
        self.count(entry);
        let node = Node {
            dir,
            name: self.name(last)?,
            kind: entry.kind,
            meta: meta(entry),
            size: entry.size,
            link: self.name(link)?,
            left: AtomicU32::new(u32::try_from(entry.extents.len()).map_err(|_| FilesError::TooMany)?),
            created: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        };
        let index = u32::try_from(self.plan.nodes.len()).map_err(|_| FilesError::TooMany)?;
        self.plan.nodes.push(node);
        Ok(EntryTarget::Node(index))
    }

    fn count(&mut self, entry: &Entry) {
        let counts = &mut self.plan.counts;
        match entry.kind {
            EntryKind::File => {
                counts.files += 1;
                counts.bytes += entry.size;
            }
            EntryKind::Hardlink => counts.hardlinks += 1,
            EntryKind::Symlink => counts.symlinks += 1,
            EntryKind::Dir => counts.directories += 1,
            EntryKind::Fifo | EntryKind::Char | EntryKind::Block => counts.other += 1,
        }
    }

    /// The directory at these components, made up where the contents have no entry for it.
    fn directory(&mut self, parts: &[&[u8]], meta: Option<Meta>) -> Result<u32, FilesError> {
        let shared = self
            .stack
            .iter()
            .zip(parts)
            .take_while(|(dir, part)| self.plan.bytes(self.plan.dirs[**dir as usize].name) == **part)
            .count();
        self.stack.truncate(shared);
        for part in &parts[shared..] {
            let dir = Dir {
                parent: self.stack.last().copied().unwrap_or(0),
                name: self.name(part)?,
                meta: None,
            };
            self.stack
                .push(u32::try_from(self.plan.dirs.len()).map_err(|_| FilesError::TooMany)?);
            self.plan.dirs.push(dir);
        }
        let index = self.stack.last().copied().unwrap_or(0);
        if let Some(meta) = meta {
            self.plan.counts.directories += 1;
            self.plan.dirs[index as usize].meta = Some(meta);
        }
        Ok(index)
    }

    fn name(&mut self, bytes: &[u8]) -> Result<Name, FilesError> {
        let names = &mut self.plan.names;
        let at = u32::try_from(names.len());
        let length = u32::try_from(bytes.len());
        let (Ok(at), Ok(length)) = (at, length) else {
            return Err(FilesError::TooMany);
        };
        at.checked_add(length).ok_or(FilesError::TooMany)?;
        names.extend_from_slice(bytes);
        Ok(Name { at, length })
    }
}

fn meta(entry: &Entry) -> Meta {
    Meta {
        mode: entry.mode & 0o7777,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
    }
}

/// Checks that a link may be made, whatever there is at its target.
///
/// # Errors
/// The reason why it may not.
pub(crate) fn check_link(kind: EntryKind, link: &[u8]) -> Result<(), &'static str> {
    match kind {
        EntryKind::Hardlink => match components(link) {
            Ok(parts) if !parts.is_empty() => Ok(()),
            _ => Err("refused: a hard link that leads out of the target"),
        },
        EntryKind::Symlink if link.is_empty() || link.contains(&0) => Err("refused: a symbolic link to nowhere"),
        _ => Ok(()),
    }
}

/// The names of which a path consists; none for the root.
///
/// # Errors
/// Why it is no path below the root.
pub(crate) fn components(path: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    if path == b"." {
        return Ok(Vec::new());
    }
    if path.starts_with(b"/") {
        return Err("refused: an absolute path");
    }
    let parts: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
    for part in &parts {
        match *part {
            b".." => return Err("refused: a path that leads out of the target"),
            b"" | b"." => return Err("refused: a path with empty parts"),
            part if part.contains(&0) => return Err("refused: a path with a zero byte"),
            part if part.len() > 255 => return Err("refused: a name of more than 255 bytes"),
            _ => {}
        }
    }
    Ok(parts)
}
