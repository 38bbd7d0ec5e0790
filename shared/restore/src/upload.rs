//! An artefact's files as a tar whose names all begin with the same prefix.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write;

use holdfast_format::{Content, Entry, EntryKind, Extent, ObjectKey, Path, StreamFormat};

use crate::files::{adopted, check_link, components};
use crate::progress::{Limits, Progress};
use crate::select::{Selection, Selector};
use crate::source::Origin;
use crate::stream::{StreamError, Streamed, write_extents};
use crate::tar::{agreed, parse, rename};

/// Writes an artefact's files, or what is selected of them, as a tar in which `prefix` stands before every name and before
/// every hard link's target; the root's own name is the prefix. That is for a Docker engine, which unpacks archives in a
/// folder and refuses symbolic links that lead out of it: unpacked in the folder above, they are no matter. Symbolic links'
/// targets, owners, modes, times, devices, attributes and sparse files are as captured. If a hard link is selected and the
/// name that it leads to is not, it is a file. Blocks: call it on a thread that may.
///
/// Bytes are checked as by [`write_stream`](crate::write_stream), and what headers say of names is compared with the
/// contents. After an error, `out` holds a part, which unpackers may take for a whole one: whoever sends it on must break
/// off, and not end.
///
/// # Errors
/// [`StreamError`], which names the object at fault. Names that lead elsewhere, and entries below what is no directory, are
/// refused.
pub fn write_upload(
    origin: Origin<'_>,
    select: &Selection,
    prefix: &[u8],
    limits: Limits,
    progress: &Progress,
    out: &mut dyn Write,
) -> Result<Streamed, StreamError> {
    if origin.manifest.captured.stream.format != StreamFormat::Tar {
        return Err(StreamError::NotFiles {
            artefact: origin.manifest.captured.artefact.to_string(),
            kind: origin.manifest.captured.kind.as_str(),
        });
    }
    let mut upload = Upload {
        origin,
        selector: Selector::new(select),
        adopted: adopted(origin, select)?,
        last: None,
        sent: HashSet::new(),
        hasher: RandomState::new(),
    };
    let parts = origin.lines()?.flat_map(|line| {
        let parts = line.map_err(StreamError::from).and_then(|line| upload.line(line));
        let (parts, error) = match parts {
            Ok(parts) => (parts, None),
            Err(error) => (Vec::new(), Some(Err(error))),
        };
        parts.into_iter().map(Ok).chain(error)
    });
    let put = |extent: &Extent, names: Option<Box<Names>>, bytes: &[u8], held: &mut Vec<u8>| {
        let Some(names) = names else {
            held.extend_from_slice(bytes);
            return Ok(());
        };
        names.put(prefix, bytes, held).map_err(|problem| StreamError::Entry {
            object: origin.pack_key(extent.pack),
            path: names.path.display(),
            problem,
        })
    };
    write_extents(origin, select.is_all(), limits, progress, parts, put, out)
}

/// The names that go into an entry's headers.
struct Names {
    kind: EntryKind,
    path: Path,
    /// A hard link's target.
    link: Option<Path>,
    /// The size that the headers must say.
    agreed: u64,
}

impl Names {
    /// Adds the headers with the new names to `held`.
    fn put(&self, prefix: &[u8], bytes: &[u8], held: &mut Vec<u8>) -> Result<(), &'static str> {
        let header = parse(bytes)?;
        if agreed(header.kind, &header.path, &header.link) != self.agreed {
            return Err("its headers do not agree with the contents");
        }
        let mut name = prefixed(prefix, &self.path);
        if self.kind == EntryKind::Dir && !name.ends_with(b"/") {
            name.extend_from_slice(if name.is_empty() { b"./" } else { b"/" });
        }
        let link = self.link.as_ref().map(|link| prefixed(prefix, link));
        rename(bytes, &name, link.as_deref(), held)
    }
}

fn prefixed(prefix: &[u8], path: &Path) -> Vec<u8> {
    let path: &[u8] = if path.0 == b"." { b"" } else { &path.0 };
    [prefix, path].concat()
}

/// An extent; if it holds an entry's headers, with the names that go into them.
type Part = (Extent, Option<Box<Names>>);

struct Upload<'a> {
    origin: Origin<'a>,
    selector: Selector<'a>,
    /// Files that are not selected while a hard link to them is, and that link.
    adopted: HashMap<Path, Path>,
    /// The last entry, and whether it is a directory.
    last: Option<(Path, bool)>,
    /// Hashes of the names that hard links may lead to. Nobody outside knows how they are made.
    sent: HashSet<u64>,
    hasher: RandomState,
}

impl Upload<'_> {
    /// The extents of a line that are wanted.
    fn line(&mut self, line: Content) -> Result<Vec<Part>, StreamError> {
        let entry = match line {
            Content::Entry(entry) => entry,
            Content::End(extents) => {
                self.selector.finish()?;
                return Ok(extents.into_iter().map(|extent| (extent, None)).collect());
            }
            _ => return Ok(Vec::new()),
        };
        let wanted = self.selector.takes_entry(&entry);
        let names = self.names(&entry, wanted).map_err(|problem| StreamError::Entry {
            object: ObjectKey::Contents(self.origin.manifest.captured.artefact),
            path: entry.path.display(),
            problem,
        })?;
        let Some(names) = names else {
            return Ok(Vec::new());
        };
        let mut names = Some(Box::new(names));
        Ok(entry.extents.into_iter().map(|extent| (extent, names.take())).collect())
    }

    /// Returns the names of an entry's target. `None` if the entry is not wanted.
    fn names(&mut self, entry: &Entry, wanted: bool) -> Result<Option<Names>, &'static str> {
        self.check(entry)?;
        let heir = entry.link.as_ref().and_then(|link| self.adopted.get(link));
        let (path, link) = match (wanted, self.adopted.get(&entry.path), entry.kind, heir) {
            // It was made a file when the first name came by.
            (true, _, EntryKind::Hardlink, Some(heir)) if *heir == entry.path => return Ok(None),
            (true, _, EntryKind::Hardlink, Some(heir)) => (&entry.path, Some(heir)),
            (true, _, EntryKind::Hardlink, None) => (&entry.path, entry.link.as_ref()),
            (true, ..) => (&entry.path, None),
            (false, Some(heir), ..) => (heir, None),
            (false, None, ..) => return Ok(None),
        };
        // Who unpacks it would take what there is under that name, or follow it.
        if link.is_some_and(|link| !self.sent.contains(&self.hasher.hash_one(&link.0))) {
            return Err("refused: a hard link to something that does not come before it");
        }
        if entry.kind != EntryKind::Dir {
            self.sent.insert(self.hasher.hash_one(&path.0));
        }
        Ok(Some(Names {
            kind: entry.kind,
            path: path.clone(),
            link: link.cloned(),
            agreed: agreed(entry.kind, &entry.path.0, link_of(entry)),
        }))
    }

    /// Checks that an entry may stand here: who unpacks it follows the links that were unpacked before.
    fn check(&mut self, entry: &Entry) -> Result<(), &'static str> {
        let is_dir = entry.kind == EntryKind::Dir;
        if components(&entry.path.0)?.is_empty() && !is_dir {
            return Err("refused: the root is no directory");
        }
        check_link(entry.kind, link_of(entry))?;
        if entry.extents.is_empty() {
            return Err("refused: it has no headers");
        }
        if let Some((last, last_is_dir)) = &self.last {
            if entry.path.compare(last) != Ordering::Greater {
                return Err("refused: it comes out of order");
            }
            let below = entry
                .path
                .0
                .strip_prefix(&last.0[..])
                .is_some_and(|rest| rest.starts_with(b"/"));
            if below && !last_is_dir {
                return Err("refused: it is in something that is no directory");
            }
        }
        self.last = Some((entry.path.clone(), is_dir));
        Ok(())
    }
}

fn link_of(entry: &Entry) -> &[u8] {
    entry.link.as_ref().map_or(&[], |link| &link.0)
}
