//! Files with several names: which names are names of one file.
//!
//! The number of an inode proves nothing. Names vanish while a tree is read, and a new file gets the number of the one that
//! they led to. So a name is a further one only if all that the system tells of it now is what it told of the file after that
//! was read, the change time included. A file of which another name came or went meanwhile differs by that, and is read
//! again as a file of its own.
//!
//! A file that changed a moment ago may look like one that is made a moment later: clocks of file systems have ticks. It is
//! held open until its tick is over, and so long no other file gets its number.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;

use holdfast_format::{Path, Stamp};
use rustix::fs::fstat;

use super::join::latest_meant;
use super::meta::Meta;
use super::walk::Identity;

/// Most files that are held open.
const HELD: usize = 64;

/// A file with several names, one of which was taken.
struct Linked {
    first: Path,
    /// The state that the system told after it was read.
    told: Meta,
    /// Names that may still come.
    left: u64,
}

/// The files with several names, of which some have not come yet.
#[derive(Default)]
pub(super) struct Links {
    files: HashMap<Identity, Linked>,
    /// Open files, the oldest first.
    held: VecDeque<(Identity, OwnedFd)>,
}

impl Links {
    /// The name of this file that was taken before, if one was.
    pub(super) fn first_name(&mut self, meta: &Meta) -> Option<Path> {
        if meta.links < 2 {
            return None;
        }
        let file = self.files.get_mut(&meta.identity())?;
        if !file.told.is_same(meta) {
            self.forget(meta.identity());
            return None;
        }
        file.left = file.left.saturating_sub(1);
        let first = file.first.clone();
        if file.left == 0 {
            self.forget(meta.identity());
        }
        Some(first)
    }

    /// Notes that a file was taken under this name. `told` is what the system told of it after it was read, and no earlier
    /// than at `now`; `open` is the file, if it is at hand. One that is neither settled nor held open is not noted.
    pub(super) fn taken(&mut self, first: Path, told: Meta, now: Stamp, open: Option<OwnedFd>) {
        if told.links < 2 {
            return;
        }
        self.forget(told.identity());
        if !is_settled(&told, now) {
            let Some(open) = open else { return };
            if self.held.len() >= HELD {
                self.let_go();
            }
            self.held.push_back((told.identity(), open));
        }
        let left = told.links - 1;
        self.files.insert(told.identity(), Linked { first, told, left });
    }

    /// Closes the file that was held open for the longest time. Its other names count only if it has settled since.
    fn let_go(&mut self) {
        let Some((identity, open)) = self.held.pop_front() else {
            return;
        };
        let now = super::flush::now();
        let settled = fstat(&open).map(Meta::from).is_ok_and(|meta| {
            let noted = self.files.get(&identity);
            noted.is_some_and(|file| file.told.is_same(&meta)) && is_settled(&meta, now)
        });
        if !settled {
            self.files.remove(&identity);
        }
    }

    fn forget(&mut self, identity: Identity) {
        if self.files.remove(&identity).is_some() {
            self.held.retain(|(held, _)| *held != identity);
        }
    }
}

/// True if every file that is made from `now` on has a later change time.
fn is_settled(meta: &Meta, now: Stamp) -> bool {
    latest_meant(meta.ctime) < now
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tree::flush;
    use std::fs::{self, File, hard_link};
    use std::path::Path as FsPath;

    fn name(name: &str) -> Path {
        Path(name.as_bytes().to_vec())
    }

    fn look(file: &File) -> Meta {
        Meta::from(fstat(file).unwrap())
    }

    /// A file with two names.
    fn linked(dir: &FsPath, at: &str) -> File {
        let file = File::create(dir.join(at)).unwrap();
        hard_link(dir.join(at), dir.join(format!("{at}-2"))).unwrap();
        file
    }

    /// A time at which everything that was made so far has settled.
    fn later() -> Stamp {
        let now = flush::now();
        Stamp {
            seconds: now.seconds + 10,
            ..now
        }
    }

    #[test]
    fn names_are_one_file_only_if_all_agrees() {
        let dir = tempfile::tempdir().unwrap();
        let meta = look(&linked(dir.path(), "a"));
        let other = |stamp: Stamp| Stamp {
            nanoseconds: stamp.nanoseconds ^ 1,
            ..stamp
        };
        let unlike = [
            Meta { size: 1, ..meta },
            Meta {
                mode: meta.mode ^ 1,
                ..meta
            },
            Meta {
                uid: meta.uid + 1,
                ..meta
            },
            Meta {
                gid: meta.gid + 1,
                ..meta
            },
            Meta { links: 3, ..meta },
            Meta { kind: None, ..meta },
            Meta { device: (1, 2), ..meta },
            Meta {
                mtime: other(meta.mtime),
                ..meta
            },
            Meta {
                ctime: other(meta.ctime),
                ..meta
            },
        ];
        for unlike in unlike {
            let mut links = Links::default();
            links.taken(name("a"), meta, later(), None);
            assert_eq!(links.first_name(&unlike), None, "{unlike:?}");
            assert_eq!(
                links.first_name(&meta),
                None,
                "the number belongs to something else by now"
            );
        }
        let mut links = Links::default();
        links.taken(name("a"), meta, later(), None);
        // Blocks are allocated late, which changes nothing else.
        let allocated = Meta {
            allocated: 4096,
            ..meta
        };
        assert_eq!(links.first_name(&allocated), Some(name("a")));
        assert!(links.files.is_empty(), "all names have come");
    }

    #[test]
    fn a_file_that_has_not_settled_is_held_open_or_not_noted() {
        let dir = tempfile::tempdir().unwrap();
        let file = linked(dir.path(), "a");
        let meta = look(&file);
        let mut links = Links::default();
        links.taken(name("a"), meta, meta.ctime, None);
        assert_eq!(links.first_name(&meta), None);

        links.taken(name("a"), meta, meta.ctime, Some(file.into()));
        fs::remove_file(dir.path().join("a")).unwrap();
        fs::remove_file(dir.path().join("a-2")).unwrap();
        for n in 0..20 {
            let file = linked(dir.path(), &n.to_string());
            assert_ne!(look(&file).identity(), meta.identity(), "nobody gets its number");
        }
        assert_eq!(links.first_name(&meta), Some(name("a")));
        assert!(links.held.is_empty(), "it is closed once all names have come");
    }

    #[test]
    fn few_files_are_held_open_and_what_has_settled_counts_further() {
        let dir = tempfile::tempdir().unwrap();
        let mut links = Links::default();
        let mut metas = Vec::new();
        for n in 0..HELD + 2 {
            let file = linked(dir.path(), &n.to_string());
            metas.push(look(&file));
            if n == HELD {
                // The first one has another name less by now, the second one settles.
                fs::remove_file(dir.path().join("0-2")).unwrap();
                let start = std::time::Instant::now();
                while start.elapsed() < std::time::Duration::from_millis(60) {
                    std::thread::yield_now();
                }
            }
            links.taken(name(&n.to_string()), metas[n], metas[n].ctime, Some(file.into()));
            assert!(links.held.len() <= HELD);
        }
        assert_eq!(links.first_name(&metas[0]), None);
        assert_eq!(links.first_name(&metas[1]), Some(name("1")));
        assert_eq!(links.first_name(&metas[HELD + 1]), Some(name(&(HELD + 1).to_string())));
    }
}
