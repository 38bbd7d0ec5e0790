//! The selection of entries of a tree.

use std::collections::BTreeSet;

use holdfast_format::{Content, Entry, EntryKind, Path};

/// All of an artefact, or what lies at or below chosen paths. Directories above a chosen path belong to it, so that they
/// come back with their owners and modes.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    paths: Option<Vec<Vec<u8>>>,
}

/// A selected path that the artefact does not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the artefact holds nothing at {}", paths.join(", "))]
pub struct NotFound {
    /// The paths.
    pub paths: Vec<String>,
}

impl Selection {
    /// Selects every file.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Selects the entries at these paths or below them, relative to the artefact's root. A leading `/` or `./` and a closing `/` mean
    /// nothing; no path at all, and the root itself, mean everything.
    #[must_use]
    pub fn of<P: AsRef<[u8]>>(paths: &[P]) -> Self {
        let trimmed: Vec<Vec<u8>> = paths.iter().map(|p| trim(p.as_ref()).to_vec()).collect();
        let everything = trimmed.is_empty() || trimmed.iter().any(Vec::is_empty);
        Self {
            paths: (!everything).then_some(trimmed),
        }
    }

    /// True if everything is wanted.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.paths.is_none()
    }

    /// True if this path is at or below a selected one.
    pub(crate) fn covers(&self, path: &Path) -> bool {
        self.covering(path).is_some()
    }

    fn covering(&self, path: &Path) -> Option<usize> {
        match &self.paths {
            None => Some(0),
            Some(paths) => paths.iter().position(|wanted| below(&path.0, wanted)),
        }
    }

    fn is_above(&self, entry: &Entry) -> bool {
        let path = entry.path.0.as_slice();
        entry.kind == EntryKind::Dir
            && self
                .paths
                .iter()
                .flatten()
                .any(|wanted| path == b"." || below(wanted, path))
    }
}

/// Applies a selection to lines, one after the other, and remembers what was found.
pub(crate) struct Selector<'a> {
    selection: &'a Selection,
    found: BTreeSet<usize>,
}

impl<'a> Selector<'a> {
    pub(crate) fn new(selection: &'a Selection) -> Self {
        Self {
            selection,
            found: BTreeSet::new(),
        }
    }

    /// Tells whether the extents of this line are wanted.
    pub(crate) fn takes(&mut self, content: &Content) -> bool {
        match content {
            Content::Entry(entry) => self.takes_entry(entry),
            _ => true,
        }
    }

    pub(crate) fn takes_entry(&mut self, entry: &Entry) -> bool {
        let Some(paths) = &self.selection.paths else {
            return true;
        };
        let before = self.found.len();
        for (at, wanted) in paths.iter().enumerate() {
            if below(&entry.path.0, wanted) {
                self.found.insert(at);
            }
        }
        self.found.len() > before || self.selection.covers(&entry.path) || self.selection.is_above(entry)
    }

    /// Complains about selected paths that were nowhere.
    pub(crate) fn finish(&self) -> Result<(), NotFound> {
        let Some(paths) = &self.selection.paths else {
            return Ok(());
        };
        let missing = |(at, path): (usize, &Vec<u8>)| (!self.found.contains(&at)).then(|| Path(path.clone()).display());
        let paths: Vec<String> = paths.iter().enumerate().filter_map(missing).collect();
        if paths.is_empty() {
            Ok(())
        } else {
            Err(NotFound { paths })
        }
    }
}

fn trim(mut path: &[u8]) -> &[u8] {
    loop {
        path = match path {
            [b'/', rest @ ..] | [b'.', b'/', rest @ ..] | [rest @ .., b'/'] => rest,
            [b'.'] => &[],
            other => return other,
        };
    }
}

fn below(path: &[u8], wanted: &[u8]) -> bool {
    path.strip_prefix(wanted)
        .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use holdfast_format::Stamp;

    fn entry(kind: EntryKind, path: &str) -> Entry {
        let stamp = Stamp {
            seconds: 0,
            nanoseconds: 0,
        };
        Entry {
            kind,
            path: Path(path.as_bytes().to_vec()),
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: stamp,
            ctime: stamp,
            inode: 1,
            link: None,
            changed: false,
            extents: Vec::new(),
        }
    }

    #[test]
    fn a_path_takes_what_is_below_it_and_the_directories_above() {
        let selection = Selection::of(&["/etc/nginx/", "./srv/app/.env", "gone"]);
        let mut selector = Selector::new(&selection);
        let cases = [
            (EntryKind::Dir, ".", true),
            (EntryKind::Dir, "etc", true),
            (EntryKind::File, "etc/passwd", false),
            (EntryKind::Dir, "etc/nginx", true),
            (EntryKind::File, "etc/nginx/nginx.conf", true),
            (EntryKind::File, "etc/nginx.conf", false),
            (EntryKind::File, "srv/app/.env", true),
            (EntryKind::File, "srv/app", false),
        ];
        for (kind, path, wanted) in cases {
            assert_eq!(selector.takes_entry(&entry(kind, path)), wanted, "{path}");
        }
        assert_eq!(selector.finish().unwrap_err().paths, ["gone"]);
    }

    #[test]
    fn the_root_is_everything() {
        for all in [&[][..], &["."], &["/"], &["a", "./"]] {
            assert!(Selection::of(all).is_all(), "{all:?}");
        }
    }
}
