//! The paths of an archive's entries, and their order, which must be that of a walk of a directory.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use holdfast_format::{EntryKind, Path};

use super::headers::ArchiveEntry;

/// The longest name of a file in any file system, in bytes.
const NAME_MAX: usize = 255;

/// The longest target of a symbolic link that the kernel takes, in bytes.
const TARGET_MAX: usize = 4095;

/// Follows the entries of an archive.
#[derive(Default)]
pub(super) struct Order {
    /// Path of the last entry, and whether it is a directory.
    last: Option<(Path, bool)>,
    /// Names that hard links may lead to, and what the archive tells of the files there, as hashes. Nobody outside knows how
    /// they are made; that one takes an unknown name for a known one needs more luck than there is.
    known: HashMap<u64, u64>,
    hasher: RandomState,
}

/// The path of an entry, and the path that it links to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// The path as contents spell it.
    pub(super) path: Path,
    /// The target of a link.
    pub(super) link: Option<Path>,
    /// True for a hard link of which the archive tells otherwise than of the file that it leads to: the bytes under this name
    /// are not in the archive.
    pub(super) estranged: bool,
}

impl Order {
    /// Takes the next entry.
    ///
    /// # Errors
    /// Why it cannot come here.
    pub(super) fn enter(&mut self, found: &ArchiveEntry) -> Result<Placed, &'static str> {
        let path = path(&found.path, found.kind == EntryKind::Dir)?;
        self.check(&path, found.kind)?;
        let told = self.hasher.hash_one((
            found.mode,
            found.uid,
            found.gid,
            found.mtime.seconds,
            found.mtime.nanoseconds,
        ));
        let mut estranged = false;
        let link = match found.kind {
            EntryKind::Hardlink => {
                let (first, told_first) = self.first_name(&found.link)?;
                estranged = told != told_first;
                Some(first)
            }
            EntryKind::Symlink => Some(target(&found.link)?),
            _ => None,
        };
        if !matches!(found.kind, EntryKind::Dir | EntryKind::Hardlink) {
            self.known.insert(self.hasher.hash_one(&path.0), told);
        }
        self.last = Some((path.clone(), found.kind == EntryKind::Dir));
        Ok(Placed { path, link, estranged })
    }

    /// Checks that the archive may end here.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn end(&self) -> Result<(), &'static str> {
        self.last
            .as_ref()
            .map(|_| ())
            .ok_or("the archive holds nothing, not even a directory")
    }

    fn check(&self, path: &Path, kind: EntryKind) -> Result<(), &'static str> {
        let Some((last, last_is_dir)) = &self.last else {
            let is_root = kind == EntryKind::Dir && path.0 == b".";
            return if is_root {
                Ok(())
            } else {
                Err("the archive does not begin with ./")
            };
        };
        match path.compare(last) {
            Ordering::Less => return Err("the entry comes out of order"),
            Ordering::Equal => return Err("the entry comes twice"),
            Ordering::Greater => {}
        }
        // What is above the last entry are directories that came: so was checked when it came itself.
        let Some(slash) = path.0.iter().rposition(|b| *b == b'/') else {
            return Ok(());
        };
        let above = &path.0[..slash];
        match last.0.strip_prefix(above) {
            Some(b"") if *last_is_dir => Ok(()),
            Some([b'/', ..]) => Ok(()),
            _ => Err("the entry's directory does not come before it"),
        }
    }

    /// The name that a hard link leads to, and the hash of what the archive told of the file there.
    fn first_name(&self, link: &[u8]) -> Result<(Path, u64), &'static str> {
        let first = path(link, false).map_err(|_| "a hard link to no name of a file")?;
        match self.known.get(&self.hasher.hash_one(&first.0)) {
            Some(told) => Ok((first, *told)),
            None => Err("a hard link to something that does not come before it"),
        }
    }
}

fn target(link: &[u8]) -> Result<Path, &'static str> {
    if link.is_empty() || link.len() > TARGET_MAX || link.contains(&0) {
        return Err("a symbolic link to no possible path");
    }
    Ok(Path(link.to_vec()))
}

/// A path as contents spell it.
fn path(spelled: &[u8], is_dir: bool) -> Result<Path, &'static str> {
    if spelled.starts_with(b"/") {
        return Err("an absolute name");
    }
    let plain = spelled.strip_prefix(b"./").unwrap_or(spelled);
    let plain = match plain.strip_suffix(b"/") {
        Some(plain) if is_dir => plain,
        Some(_) => return Err("a directory's name for something else"),
        None => plain,
    };
    if is_dir && matches!(spelled, b"." | b"./") {
        return Ok(Path(b".".to_vec()));
    }
    for part in plain.split(|b| *b == b'/') {
        match part {
            b".." => return Err("a name that leads out of the archive"),
            b"" | b"." => return Err("a name with empty parts"),
            part if part.contains(&0) => return Err("a name with a zero byte"),
            part if part.len() > NAME_MAX => return Err("a name of more than 255 bytes"),
            _ => {}
        }
    }
    Ok(Path(plain.to_vec()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_spelled_as_contents_spell_them() {
        let cases: [(&[u8], bool, &[u8]); 8] = [
            (b"./", true, b"."),
            (b".", true, b"."),
            (b"./a/", true, b"a"),
            (b"./a", true, b"a"),
            (b"a/b", false, b"a/b"),
            (b"./a\xff\n/ ", false, b"a\xff\n/ "),
            (b"./...", false, b"..."),
            (b"./-", false, b"-"),
        ];
        for (spelled, is_dir, expected) in cases {
            assert_eq!(path(spelled, is_dir).unwrap().0, expected, "{}", spelled.escape_ascii());
        }
        let long = [b'n'; 256];
        let refused: [&[u8]; 14] = [
            b"", b"/", b"/a", b"..", b"./..", b"./../a", b"a/../b", b"a//b", b"././a", b"a/./b", b".//a", b"a\0b",
            b"a//", &long,
        ];
        for spelled in refused {
            assert!(path(spelled, true).is_err(), "{}", spelled.escape_ascii());
            assert!(path(spelled, false).is_err(), "{}", spelled.escape_ascii());
        }
        for spelled in [&b"./"[..], b".", b"a/"] {
            assert!(path(spelled, false).is_err(), "{}", spelled.escape_ascii());
        }
    }
}
