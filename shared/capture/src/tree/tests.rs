#![allow(clippy::unwrap_used)]
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path as FsPath, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use holdfast_fault::{Retry, Retryable as _};
use holdfast_format::{Content, ContentsReader};
use rustix::fs::{FileType, XattrFlags, lsetxattr, mkdirat, mknodat};

use super::*;
use crate::testing::{ARTEFACT, Shot, Store, noise, shoot, shoot_archive, try_shoot};

mod archive;
mod faults;
mod links;
mod random;

fn spec(root: &FsPath) -> TreeSpec {
    TreeSpec::new(vec![Root::directory(root)], &[], false).unwrap()
}

/// Waits until a parent that starts now is trusted with all that was written until now.
fn settle() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(60) {
        std::thread::yield_now();
    }
}

fn entry(shot: &Shot, path: &str) -> holdfast_format::Entry {
    let found = shot.lines().into_iter().find_map(|line| match line {
        Content::Entry(entry) if entry.path.display() == path => Some(entry),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("{path} is not among {:?}", shot.paths()))
}

/// Extracts a stream with GNU tar.
fn extract(stream: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("archive.tar");
    fs::write(&archive, stream).unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    let output = Command::new("tar")
        .args([
            "--xattrs",
            "--xattrs-include=*",
            "--same-owner",
            "--warning=no-timestamp",
            "-xpf",
        ])
        .arg(&archive)
        .arg("-C")
        .arg(&out)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
    dir
}

/// Describes all that an extraction must bring back, by path. Names of one file share its group.
fn describe(root: &FsPath) -> BTreeMap<Vec<u8>, String> {
    let mut out = BTreeMap::new();
    let mut first = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let full = root.join(&path);
        let meta = fs::symlink_metadata(&full).unwrap();
        let kind = meta.file_type();
        if kind.is_socket() {
            continue;
        }
        let mut text = format!(
            "{:o} {}:{} {}.{}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        if kind.is_dir() {
            // In one order everywhere: the first name of a hard link is told by it.
            let mut children: Vec<_> = fs::read_dir(&full)
                .unwrap()
                .map(|e| path.join(e.unwrap().file_name()))
                .collect();
            children.sort_by(|a, b| b.cmp(a));
            todo.extend(children);
        } else if kind.is_symlink() {
            text += &format!(" -> {:?}", fs::read_link(&full).unwrap());
        } else if kind.is_file() {
            let data = blake3::hash(&fs::read(&full).unwrap());
            let group = first.entry(meta.ino()).or_insert(path.clone()).clone();
            text += &format!(" {} bytes {data} {} links", meta.len(), meta.nlink());
            // Which name is met first depends on the order here, which is the same for both sides.
            text += &format!(" as {group:?}");
        } else {
            text += &format!(" device {}", meta.rdev());
        }
        text += &format!(" {:?}", attributes(&full));
        out.insert(path.into_os_string().into_encoded_bytes(), text);
    }
    out
}

fn attributes(path: &FsPath) -> holdfast_format::pax::Xattrs {
    let root = openat(CWD, "/", OFlags::PATH, Mode::empty()).unwrap();
    let name = CString::new(&path.as_os_str().as_bytes()[1..]).unwrap();
    XattrReader::new()
        .read(meta::Of::Name(root.as_fd(), &name))
        .unwrap()
        .xattrs
}

fn set_xattr(path: &FsPath, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn node(path: &FsPath, kind: FileType, dev: u64) {
    mknodat(CWD, path, kind, Mode::RUSR, dev).unwrap();
}

/// A tree with one of everything.
fn varied(root: &FsPath) {
    fs::create_dir_all(root.join("dir/sub")).unwrap();
    fs::write(root.join("dir/sub/small"), b"hello").unwrap();
    fs::write(root.join("dir/large"), noise(300_000, 1)).unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join("dir-x"), b"sorts after what is in dir").unwrap();
    fs::write(root.join(OsStr::from_bytes(b"b\xff\xfe")), b"not UTF-8").unwrap();
    fs::write(root.join("new\nline"), b"newline").unwrap();
    fs::write(root.join("é"), b"not ASCII").unwrap();
    fs::write(root.join("n".repeat(255)), b"long").unwrap();
    fs::create_dir_all(root.join("p".repeat(60)).join("q".repeat(60))).unwrap();
    fs::write(root.join("p".repeat(60)).join("q".repeat(60)).join("f"), b"split").unwrap();
    symlink("../anywhere/\u{e9}", root.join("link")).unwrap();
    symlink(OsStr::from_bytes(&[b't'; 300]), root.join("long-link")).unwrap();
    symlink(OsStr::from_bytes(b"\xff\n"), root.join("odd-link")).unwrap();
    fs::hard_link(root.join("dir/large"), root.join("zz-hard")).unwrap();
    fs::hard_link(root.join("dir/large"), root.join("dir/aa-hard")).unwrap();
    node(&root.join("fifo"), FileType::Fifo, 0);
    node(&root.join("null"), FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    node(
        &root.join("loop"),
        FileType::BlockDevice,
        rustix::fs::makedev(7, 300_000),
    );
    std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let setuid = fs::Permissions::from_mode(0o6751);
    fs::set_permissions(root.join("empty"), setuid).unwrap();
    std::os::unix::fs::lchown(root.join("link"), Some(3_000_000), Some(77)).unwrap();
    std::os::unix::fs::lchown(root.join("dir/sub"), Some(5), Some(3_000_000)).unwrap();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    set_xattr(&root.join("dir/sub/small"), "security.capability", &capability);
    set_xattr(&root.join("dir/sub/small"), "user.odd=name%", b"line\nline\0");
    set_xattr(&root.join("dir"), "user.dir", &noise(900, 5));
    set_xattr(&root.join("link"), "trusted.link", b"1");
    set_xattr(&root.join("null"), "trusted.device", b"2");
    let old = fs::File::options().write(true).open(root.join("dir-x")).unwrap();
    let before_1970 = std::time::UNIX_EPOCH - Duration::new(1000, 250_000_000);
    old.set_modified(before_1970).unwrap();
}

#[test]
fn everything_comes_back_through_gnu_tar() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::default();
    varied(root.path());
    let shot = shoot(&store, &spec(root.path()), None);
    assert_eq!(shot.warnings(), ["socket socket"]);
    let paths = shot.paths();
    assert_eq!(paths[..5], [".", "b��", "dir", "dir/aa-hard", "dir/large"]);
    assert!(paths.contains(&"new\\nline".to_owned()));
    let counts = shot.outcome.counts;
    assert_eq!(
        (counts.files, counts.directories, counts.other, counts.skipped),
        (11, 5, 6, 1)
    );
    assert_eq!(entry(&shot, "dir/large").link.unwrap().display(), "dir/aa-hard");
    assert_eq!(
        entry(&shot, "dir/sub/small").extents[0].id.map(|_| ()),
        Some(()),
        "headers with attributes have an id"
    );
    assert_eq!(entry(&shot, "empty").extents[0].id, None);
    let out = extract(&shot.stream);
    let expected = describe(root.path());
    let found = describe(&out.path().join("out"));
    for (path, text) in &expected {
        assert_eq!(found.get(path), Some(text), "{}", path.escape_ascii());
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn what_stands_is_not_read_and_costs_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::default();
    varied(root.path());
    settle();
    let first = shoot(&store, &spec(root.path()), None);
    assert_eq!(first.outcome.counts.unread, 0);
    let second = shoot(&store, &spec(root.path()), Some(&first));
    // Hard links hold no data, and are not counted as unread.
    assert_eq!(second.outcome.counts.unread, 9);
    assert_eq!(second.stream, first.stream);
    assert_eq!((second.packed.new.bytes, second.packed.new.packs), (0, 0));
    assert_eq!(second.packed.digest, first.packed.digest);
    let third = shoot(&store, &spec(root.path()), Some(&second));
    assert_eq!(third.contents, second.contents);

    // Only what was touched is read.
    fs::write(root.path().join("dir/sub/small"), b"HELLO").unwrap();
    let fourth = shoot(&store, &spec(root.path()), Some(&third));
    assert_eq!(fourth.outcome.counts.unread, 8);
    assert!(fourth.packed.new.bytes < 3000, "{:?}", fourth.packed.new);
    assert_eq!(fourth.stream, shoot(&store, &spec(root.path()), None).stream);
}

#[test]
fn a_parent_is_trusted_only_with_what_had_settled() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::default();
    fs::write(root.path().join("f"), noise(10_000, 1)).unwrap();
    settle();
    let mut first = shoot(&store, &spec(root.path()), None);
    assert_eq!(shoot(&store, &spec(root.path()), Some(&first)).outcome.counts.unread, 1);
    let ctime = entry(&first, "f").ctime;
    first.manifest.captured.started =
        jiff::Timestamp::new(ctime.seconds, ctime.nanoseconds.try_into().unwrap()).unwrap();
    let again = shoot(&store, &spec(root.path()), Some(&first));
    assert_eq!(
        again.outcome.counts.unread, 0,
        "it could have been written again in the same tick"
    );
    assert_eq!(again.stream, first.stream);
}

#[test]
fn headers_of_another_layout_and_bad_packs_are_stored_anew() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::default();
    fs::write(root.path().join("f"), noise(10_000, 1)).unwrap();
    settle();
    let mut first = shoot(&store, &spec(root.path()), None);
    first.manifest.captured.tools.clear();
    let second = shoot(&store, &spec(root.path()), Some(&first));
    assert_eq!(second.stream, first.stream);
    assert_eq!(second.outcome.counts.unread, 1);
    assert!(
        (1024..4096).contains(&second.packed.new.bytes),
        "{:?}",
        second.packed.new
    );

    let bad = HashSet::from([first.packed.packs[0].id]);
    let third = try_shoot(&store, &spec(root.path()), Some(&first), &bad).unwrap();
    assert_eq!(third.stream, first.stream);
    assert_eq!(third.outcome.counts.unread, 0);
    assert!(
        third
            .packed
            .packs
            .iter()
            .all(|p| p.stored.is_none() && !bad.contains(&p.id))
    );
}

#[test]
fn a_sparse_file_of_8_tib_takes_kilobytes() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::default();
    let file = fs::File::create(root.path().join("big")).unwrap();
    file.set_len(8 << 40).unwrap();
    let at = |file: &fs::File, offset: u64, bytes: &[u8]| {
        std::os::unix::fs::FileExt::write_all_at(file, bytes, offset).unwrap();
    };
    at(&file, 5 << 40, &noise(10_000, 1));
    let odd = fs::File::create(root.path().join("odd")).unwrap();
    odd.set_len((1 << 30) + 700).unwrap();
    at(&odd, 100_000, &noise(100_000, 2));
    let hollow = fs::File::create(root.path().join("only-a-hole")).unwrap();
    hollow.set_len(1 << 40).unwrap();
    settle();
    let first = shoot(&store, &spec(root.path()), None);
    assert!(first.stream.len() < 300_000, "{}", first.stream.len());
    assert_eq!(entry(&first, "big").size, 8 << 40);
    let second = shoot(&store, &spec(root.path()), Some(&first));
    assert_eq!(second.outcome.counts.unread, 3);
    assert_eq!((&second.stream, second.packed.new.bytes), (&first.stream, 0));

    let out = extract(&first.stream);
    for name in ["big", "odd", "only-a-hole"] {
        let a = root.path().join(name);
        let b = out.path().join("out").join(name);
        let old = fs::metadata(&a).unwrap();
        let new = fs::metadata(&b).unwrap();
        assert_eq!((old.len(), old.mtime_nsec()), (new.len(), new.mtime_nsec()));
        assert!(new.blocks() < 1000, "restored sparse");
        for offset in [5 << 40, 100_000, (1 << 30) - 100, 0] {
            let read = |path: &FsPath| {
                let mut buffer = vec![0; 120_000];
                let file = fs::File::open(path).unwrap();
                let n = std::os::unix::fs::FileExt::read_at(&file, &mut buffer, offset).unwrap();
                buffer.truncate(n);
                buffer
            };
            assert!(read(&a) == read(&b), "{name} at {offset}");
        }
    }
}

#[test]
fn depth_does_not_matter() {
    const DEPTH: usize = 5000;
    let root = tempfile::tempdir().unwrap();
    let store = Store::default();
    let mut dir = openat(CWD, root.path(), walk::OPEN_DIR, Mode::empty()).unwrap();
    for _ in 0..DEPTH {
        mkdirat(&dir, c"directory", Mode::RWXU).unwrap();
        mknodat(&dir, c"z", FileType::RegularFile, Mode::RUSR, 0).unwrap();
        dir = openat(&dir, c"directory", walk::OPEN_DIR, Mode::empty()).unwrap();
    }
    settle();
    let first = shoot(&store, &spec(root.path()), None);
    let counts = first.outcome.counts;
    assert_eq!(
        (counts.directories, counts.files, counts.skipped),
        (DEPTH as u64 + 1, DEPTH as u64, 0)
    );
    let second = shoot(&store, &spec(root.path()), Some(&first));
    assert_eq!(second.packed.new.bytes, 0);
    let mut archive = tar::Archive::new(&first.stream[..]);
    assert_eq!(archive.entries().unwrap().count(), 2 * DEPTH + 1);
    // Not by this process: few programs can remove it.
    assert!(
        Command::new("rm")
            .arg("-rf")
            .arg(root.path())
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_directory_that_is_a_file_is_refused_for_good() {
    let base = tempfile::tempdir().unwrap();
    let store = Store::default();
    let file = base.path().join("file");
    fs::write(&file, b"one file").unwrap();
    let link = base.path().join("link");
    symlink("file", &link).unwrap();
    for root in [file, link] {
        let error = try_shoot(&store, &spec(&root), None, &HashSet::new()).err().unwrap();
        assert!(matches!(error, CaptureError::NoDirectory { .. }), "{error}");
        assert_eq!(error.retry(), Retry::Never);
        assert!(error.to_string().contains("[system].paths"), "{error}");
    }
}

#[test]
fn links_and_fifos_with_several_names_are_hard_links() {
    let base = tempfile::tempdir().unwrap();
    let store = Store::default();
    let at = |name: &str| base.path().join(name);
    symlink("nowhere", at("a-link")).unwrap();
    fs::hard_link(at("a-link"), at("b-link")).unwrap();
    mknodat(rustix::fs::CWD, at("c-fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    fs::hard_link(at("c-fifo"), at("d-fifo")).unwrap();
    let shot = shoot(&store, &spec(base.path()), None);
    for (name, first) in [("b-link", "a-link"), ("d-fifo", "c-fifo")] {
        let found = entry(&shot, name);
        assert_eq!(found.kind, EntryKind::Hardlink, "{name}");
        assert_eq!(found.link.unwrap().display(), first);
    }
    let out = extract(&shot.stream);
    let inode = |name: &str| fs::symlink_metadata(out.path().join("out").join(name)).unwrap().ino();
    assert_eq!(inode("a-link"), inode("b-link"));
    assert_eq!(inode("c-fifo"), inode("d-fifo"));
}

#[test]
fn roots_are_files_directories_and_links_to_them() {
    let base = tempfile::tempdir().unwrap();
    let store = Store::default();
    let at = |name: &str| base.path().join(name);
    fs::create_dir_all(at("etc/sub")).unwrap();
    fs::write(at("etc/sub/a.tmp"), b"").unwrap();
    fs::write(at("etc/sub/kept"), b"").unwrap();
    fs::write(at("single"), b"one file").unwrap();
    symlink("etc", at("alias")).unwrap();
    let root = |name: &str, as_path: &str| Root {
        path: at(name),
        as_path: as_path.into(),
    };
    let roots = vec![root("single", "srv/single"), root("alias", "alias"), root("etc", "etc")];
    let exclude = ["*.tmp".to_owned(), "/alias/sub".to_owned()];
    let spec = TreeSpec::new(roots, &exclude, false).unwrap();
    let shot = shoot(&store, &spec, None);
    assert_eq!(shot.paths(), ["alias", "etc", "etc/sub", "etc/sub/kept", "srv/single"]);
    let out = extract(&shot.stream);
    assert_eq!(fs::read(out.path().join("out/srv/single")).unwrap(), b"one file");

    for missing in [at("nowhere"), PathBuf::from("/proc/self/fd/does-not-exist")] {
        let spec = TreeSpec::new(vec![Root::system(&missing)], &[], false).unwrap();
        let result = try_shoot(&store, &spec, None, &HashSet::new());
        assert!(matches!(result.err(), Some(CaptureError::Root { .. })));
    }
}

#[test]
fn excluded_names_cost_nothing_in_the_parent_either() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::default();
    for name in ["a", "b", "c"] {
        fs::write(root.path().join(name), noise(5000, 1)).unwrap();
    }
    fs::hard_link(root.path().join("a"), root.path().join("d")).unwrap();
    settle();
    let first = shoot(&store, &spec(root.path()), None);
    let narrow = TreeSpec::new(vec![Root::directory(root.path())], &["a".to_owned()], false).unwrap();
    let second = shoot(&store, &narrow, Some(&first));
    assert_eq!(second.paths(), [".", "b", "c", "d"]);
    assert_eq!(
        entry(&second, "d").kind,
        EntryKind::File,
        "its other name is not in this artefact"
    );
    assert_eq!(second.stream, shoot(&store, &narrow, None).stream);
}

#[test]
fn other_file_systems_are_passed_over_if_asked() {
    let store = Store::default();
    let dev = FsPath::new("/dev");
    let device = fs::metadata(dev).unwrap().dev();
    let mut mounts: Vec<String> = fs::read_dir(dev)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| fs::symlink_metadata(p).is_ok_and(|m| m.dev() != device))
        .map(|p| format!("excluded-mount {}", p.file_name().unwrap().to_string_lossy()))
        .collect();
    mounts.sort();
    let spec = TreeSpec::new(vec![Root::directory(dev)], &[], true).unwrap();
    let shot = shoot(&store, &spec, None);
    let skipped: Vec<String> = shot
        .paths()
        .into_iter()
        .filter(|p| p.starts_with("excluded-mount"))
        .collect();
    assert_eq!(skipped, mounts);
    assert!(shot.warnings().iter().all(|w| !w.starts_with("excluded")));
    assert_eq!(entry(&shot, "null").kind, EntryKind::Char);
}
