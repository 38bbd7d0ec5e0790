//! Archives that others make.

use std::cell::Cell;

use super::*;

mod hostile;

/// An archive of a directory, made by GNU tar.
fn gnu_tar(root: &FsPath, options: &[&str]) -> Vec<u8> {
    let output = Command::new("tar")
        .env("LC_ALL", "C")
        .args(["--sort=name", "--warning=no-file-ignored"])
        .args(options)
        .arg("-C")
        .arg(root)
        .args(["-cf", "-", "./"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
    output.stdout
}

fn take(archive: &[u8]) -> Result<Shot, CaptureError> {
    shoot_archive(&Store::default(), archive, None)
}

fn entries(shot: &Shot) -> Vec<holdfast_format::Entry> {
    let entry = |line| match line {
        Content::Entry(entry) => Some(entry),
        _ => None,
    };
    shot.lines().into_iter().filter_map(entry).collect()
}

/// Entries without what archives do not tell, and without extents.
fn told(shot: &Shot, nanoseconds: bool) -> Vec<holdfast_format::Entry> {
    let mut entries = entries(shot);
    for entry in &mut entries {
        (entry.ctime, entry.inode) = (UNKNOWN, 0);
        entry.mtime.nanoseconds *= u32::from(nanoseconds);
        entry.extents.clear();
    }
    entries
}

const UNKNOWN: holdfast_format::Stamp = holdfast_format::Stamp {
    seconds: 0,
    nanoseconds: 0,
};

const PAX: [&str; 3] = ["--format=posix", "--xattrs", "--xattrs-include=*"];

#[test]
fn gnu_tars_archive_gives_the_stream_that_the_files_give() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::default();
    varied(root.path());
    let files = shoot(&store, &spec(root.path()), None);
    let archive = gnu_tar(root.path(), &PAX);
    let shot = shoot_archive(&store, &archive[..], None).unwrap();
    assert_eq!(told(&shot, true), told(&files, true));
    assert!(shot.stream == files.stream);
    assert_eq!(shot.packed.digest, files.packed.digest);
    let ours = shot.outcome.counts;
    let theirs = files.outcome.counts;
    assert_eq!(
        (ours.files, ours.directories, ours.other, ours.skipped),
        (theirs.files, theirs.directories, theirs.other, 0)
    );
    assert_eq!(shot.warnings(), Vec::<String>::new());
    assert!(entries(&shot).iter().all(|e| (e.ctime, e.inode) == (UNKNOWN, 0)));
}

#[test]
fn other_formats_differ_in_what_they_cannot_tell() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::default();
    varied(root.path());
    let files = shoot(&store, &spec(root.path()), None);
    let shot = take(&gnu_tar(root.path(), &["--format=gnu"])).unwrap();
    assert_eq!(told(&shot, false), told(&files, false));
    for name in ["dir/large", "zz-hard", "empty"] {
        let data = |shot: &Shot| -> Vec<_> { entry(shot, name).extents[1..].iter().map(|x| x.id).collect() };
        assert_eq!(data(&shot), data(&files), "{name}: the same chunks");
    }
    // Names of 100 bytes and more, and large owners, are not for this one.
    for name in ["n".repeat(255), "link".to_owned(), "long-link".to_owned()] {
        fs::remove_file(root.path().join(name)).unwrap();
    }
    std::os::unix::fs::lchown(root.path().join("dir/sub"), Some(5), Some(6)).unwrap();
    let recent = fs::File::options().write(true).open(root.path().join("dir-x")).unwrap();
    recent.set_modified(std::time::SystemTime::now()).unwrap();
    let files = shoot(&store, &spec(root.path()), None);
    let shot = take(&gnu_tar(root.path(), &["--format=ustar"])).unwrap();
    assert_eq!(told(&shot, false), told(&files, false));
}

#[test]
fn what_the_parent_has_is_not_stored_again() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::default();
    varied(root.path());
    let archive = gnu_tar(root.path(), &PAX);
    let first = shoot_archive(&store, &archive[..], None).unwrap();
    let second = shoot_archive(&store, &archive[..], Some(&first)).unwrap();
    assert!(second.stream == first.stream);
    // A device's headers: contents do not tell its numbers.
    assert_eq!(second.packed.new.bytes, 1536, "{:?}", second.packed.new);
    assert_eq!(second.packed.digest, first.packed.digest);

    // One file is another one, one has other attributes, one has none any more.
    fs::write(root.path().join("dir/large"), noise(300_000, 2)).unwrap();
    set_xattr(&root.path().join("dir"), "user.dir", &noise(900, 6));
    rustix::fs::lremovexattr(root.path().join("dir/sub/small"), "user.odd=name%").unwrap();
    rustix::fs::lremovexattr(root.path().join("dir/sub/small"), "security.capability").unwrap();
    let archive = gnu_tar(root.path(), &PAX);
    let third = shoot_archive(&store, &archive[..], Some(&second)).unwrap();
    assert!(third.stream == shoot(&store, &spec(root.path()), None).stream);
    assert!(
        (301_000..312_000).contains(&third.packed.new.bytes),
        "{:?}",
        third.packed.new
    );

    // The files themselves, with an archive as parent: all are read, and nothing is new.
    settle();
    let files = shoot(&store, &spec(root.path()), Some(&third));
    assert_eq!(files.outcome.counts.unread, 0);
    assert!(files.stream == third.stream);
    assert!(files.packed.new.bytes < 60_000, "headers: {:?}", files.packed.new);
    // And the other way round.
    let archive = shoot_archive(&store, &archive[..], Some(&files)).unwrap();
    assert_eq!(archive.packed.new.bytes, 1536, "{:?}", archive.packed.new);
    assert!(archive.stream == files.stream);
}

#[test]
fn a_sparse_parent_lends_no_headers() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::default();
    let file = fs::File::create(root.path().join("hollow")).unwrap();
    file.set_len(1 << 20).unwrap();
    let files = shoot(&store, &spec(root.path()), None);
    assert!(files.stream.len() < 10_000);
    let archive = gnu_tar(root.path(), &["--format=posix"]);
    let shot = shoot_archive(&store, &archive[..], Some(&files)).unwrap();
    assert!(shot.stream.len() > 1 << 20);
    let out = extract(&shot.stream);
    assert_eq!(fs::read(out.path().join("out/hollow")).unwrap(), vec![0; 1 << 20]);
}

/// An archive in the making.
struct Made(tar::Builder<Vec<u8>>);

impl Made {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new())).add(tar::EntryType::Directory, "./", "", b"")
    }

    fn empty() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// The name goes into the block as it is: the crate refuses hostile ones.
    fn add(mut self, kind: tar::EntryType, name: &str, link: &str, data: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_600_000_000);
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    fn dir(self, name: &str) -> Self {
        self.add(tar::EntryType::Directory, name, "", b"")
    }

    fn file(self, name: &str, data: &[u8]) -> Self {
        self.add(tar::EntryType::Regular, name, "", data)
    }

    /// Adds a hard link with a later time, as archives have that were read while a file changed.
    fn later_link(self, name: &str, to: &str) -> Self {
        self.pax(&[("mtime", b"1600000001")]).link(name, to)
    }

    fn link(self, name: &str, to: &str) -> Self {
        self.add(tar::EntryType::Link, name, to, b"")
    }

    fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

#[test]
fn names_records_and_links_are_told_in_many_ways() {
    let large = noise(100_000, 7);
    let archive = Made::new()
        .dir("./a")
        .file("./a/large", &large)
        .link("./a/link", "./a/large")
        .link("a/link2", "a/large")
        .pax(&[
            ("mtime", b"-1.25"),
            ("uid", b"4000000000"),
            ("path", b"./b\nc"),
            ("SCHILY.xattr.user.x", b"\x01\n\0\x02=\n"),
            ("comment", b"nothing"),
            ("RHT.security.selinux", b"x"),
        ])
        .file("in-its-records", b"data")
        .add(tar::EntryType::Symlink, "./c", "../../x/", b"")
        .add(tar::EntryType::Continuous, "./d", "", b"more")
        .bytes();
    let shot = take(&archive).unwrap();
    assert_eq!(
        shot.paths(),
        [".", "a", "a/large", "a/link", "a/link2", "b\\nc", "c", "d"]
    );
    assert_eq!(shot.warnings(), ["xattrs b\\nc"]);
    for name in ["a/link", "a/link2"] {
        assert_eq!(entry(&shot, name).link.unwrap().display(), "a/large");
    }
    let found = entry(&shot, "b\\nc");
    assert_eq!(
        (found.uid, found.mtime.seconds, found.mtime.nanoseconds),
        (4_000_000_000, -2, 750_000_000)
    );
    assert_eq!(entry(&shot, "c").link.unwrap().0, b"../../x/");
    let out = extract(&shot.stream);
    let out = out.path().join("out");
    assert!(fs::read(out.join("a/link2")).unwrap() == large);
    assert_eq!(fs::read(out.join("b\nc")).unwrap(), b"data");
    let value = (b"user.x".to_vec(), b"\x01\n\0\x02=\n".to_vec());
    assert!(attributes(&out.join("b\nc")).contains(&value));
}

#[test]
fn a_hard_link_that_is_another_file_by_now_is_skipped() {
    let archive = Made::new()
        .file("a", b"one")
        .link("b", "a")
        .later_link("c", "a")
        .pax(&[("uid", b"7")])
        .link("d", "a")
        .link("e", "a")
        .file("f", b"two")
        .bytes();
    let shot = take(&archive).unwrap();
    assert_eq!(shot.paths(), [".", "a", "b", "unreadable c", "unreadable d", "e", "f"]);
    assert_eq!(shot.warnings(), ["unreadable c", "unreadable d"]);
    assert_eq!(shot.outcome.counts.skipped, 2);
    let out = extract(&shot.stream);
    assert!(!out.path().join("out/c").exists());
    assert_eq!(fs::read(out.path().join("out/e")).unwrap(), b"one");
}

#[test]
fn the_caller_hears_of_progress_and_can_stop() {
    let archive = Made::new()
        .file("a", &noise(200_000, 1))
        .file("b", &noise(200_000, 2))
        .bytes();
    let store = Store::default();
    let reported = Cell::new(crate::CaptureProgress::default());
    let asked = Cell::new(0);
    for limit in [u32::MAX, 20, 2] {
        let mut packer = crate::testing::packer(&store, None, &HashSet::new());
        let mut contents = ContentsWriter::new(Vec::new(), ARTEFACT).unwrap();
        asked.set(0);
        let mut watch = Watch {
            progress: &mut |progress| reported.set(progress),
            stop: &|| {
                asked.set(asked.get() + 1);
                asked.get() > limit
            },
        };
        let result = capture_archive(&archive[..], None, &mut packer, &mut contents, &mut watch);
        if limit == u32::MAX {
            assert_eq!(result.unwrap().counts.files, 2);
            assert_eq!((reported.get().bytes, reported.get().files), (packer.size() - 1024, 3));
        } else {
            assert!(matches!(result, Err(CaptureError::Stopped)));
        }
    }
}
