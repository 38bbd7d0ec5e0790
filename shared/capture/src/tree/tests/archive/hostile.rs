//! Archives that are cut, broken, or made to do harm.

use std::io::{self, Read};

use holdfast_fault::{Retry, Retryable as _};
use proptest::prelude::*;

use super::*;

#[test]
fn archives_that_no_walk_brings_are_refused() {
    use tar::EntryType as T;
    let cases = [
        ("empty", Made::empty(), "holds nothing"),
        ("no root", Made::empty().file("./a", b""), "does not begin"),
        ("a root that is a file", Made::empty().file("./", b""), "empty parts"),
        (
            "a file with a slash",
            Made::new().file("./a/", b""),
            "a directory's name",
        ),
        ("up", Made::new().file("./../a", b""), "leads out"),
        ("up within", Made::new().dir("a").file("./a/../../b", b""), "leads out"),
        ("absolute", Made::new().file("/etc/passwd", b""), "absolute"),
        ("empty parts", Made::new().dir("a").file("./a//b", b""), "empty parts"),
        ("order", Made::new().file("b", b"").file("a", b""), "out of order"),
        (
            "order of parts",
            Made::new().dir("a").file("a-b", b"").file("a/b", b""),
            "out of order",
        ),
        ("twice", Made::new().file("./a", b"").file("a", b""), "twice"),
        ("a second root", Made::new().dir("./"), "twice"),
        (
            "late",
            Made::new().file("a", b"").file("b", b"").file("a", b""),
            "out of order",
        ),
        ("no directory", Made::new().file("a/b", b""), "does not come before"),
        (
            "below a file",
            Made::new().file("a", b"").file("a/b", b""),
            "does not come before",
        ),
        (
            "below a link",
            Made::new().add(T::Symlink, "a", "/etc", b"").file("a/b", b""),
            "does not come before",
        ),
        ("a link to nothing", Made::new().link("b", "a"), "hard link"),
        ("a link to itself", Made::new().link("b", "b"), "hard link"),
        (
            "a link to a directory",
            Made::new().dir("a").link("b", "a"),
            "hard link",
        ),
        (
            "a link to a link",
            Made::new().file("a", b"").link("b", "a").link("c", "b"),
            "hard link",
        ),
        ("a link out", Made::new().link("b", "../../etc/passwd"), "hard link"),
        (
            "a link from the root",
            Made::new().link("b", "/etc/passwd"),
            "hard link",
        ),
        ("a link to come", Made::new().link("a", "b").file("b", b""), "hard link"),
        (
            "a symbolic link to nothing",
            Made::new().add(T::Symlink, "a", "", b""),
            "symbolic link",
        ),
        (
            "a link with data",
            Made::new().file("a", b"").add(T::Link, "b", "a", b"x"),
            "no file",
        ),
        (
            "a directory with data",
            Made::new().add(T::Directory, "b", "", b"x"),
            "no file",
        ),
        ("GNU sparse", Made::new().add(T::GNUSparse, "a", "", b""), "sparse"),
        (
            "PAX sparse",
            Made::new().pax(&[("GNU.sparse.major", b"1")]).file("a", b""),
            "sparse",
        ),
        (
            "a global header",
            Made::new().add(T::XGlobalHeader, "g", "", b""),
            "for all entries",
        ),
        (
            "an unknown type",
            Made::new().add(T::new(b'V'), "a", "", b""),
            "unknown type",
        ),
        (
            "headers of nothing",
            Made::new().pax(&[("path", b"a")]),
            "nothing behind",
        ),
        (
            "a negative size",
            Made::new().pax(&[("size", b"-1")]).file("a", b""),
            "no such number",
        ),
        (
            "a broken record",
            Made::new().add(T::XHeader, "x", "", b"9 path=a\n\n"),
            "broken",
        ),
        (
            "names without end",
            Made::new().add(T::GNULongName, "x", "", &vec![b'a'; 5 << 20]),
            "too long",
        ),
    ];
    for (name, made, word) in cases {
        let error = take(&made.bytes()).err().unwrap_or_else(|| panic!("{name} was taken"));
        assert!(matches!(error, CaptureError::Archive { .. }), "{name}: {error}");
        assert!(error.to_string().contains(word), "{name}: {error}");
        assert_eq!(error.retry(), Retry::Never, "{name}");
    }
    let mut broken = Made::new().file("a", b"").bytes();
    broken[512] ^= 1;
    assert!(take(&broken).err().unwrap().to_string().contains("no header block"));
    let shot = take(&Made::new().bytes()).unwrap();
    assert_eq!(shot.paths(), ["."]);
}

#[test]
fn an_archive_is_read_to_its_very_end() {
    let whole = Made::new().file("./a", &noise(30_000, 1)).bytes();
    let end = whole.len() - 1024;
    for length in (0..whole.len())
        .step_by(511)
        .chain([end, end + 512, end + 1023, end - 1])
    {
        let error = take(&whole[..length])
            .err()
            .unwrap_or_else(|| panic!("{length} bytes were taken"));
        assert!(
            matches!(error, CaptureError::ArchiveCut(at) if at == length as u64),
            "{length}: {error}"
        );
        assert_eq!(error.retry(), Retry::Later);
    }
    let with = |more: &[u8]| [&whole[..], more].concat();
    for zeros in [0, 1, 512, 9000] {
        assert!(take(&with(&vec![0; zeros])).is_ok(), "{zeros}");
    }
    for more in [with(b"x"), with(&whole), [&whole[..end + 512], &whole].concat()] {
        let error = take(&more).err().unwrap();
        assert!(error.to_string().contains("behind a block of zeros"), "{error}");
    }

    // A reader that fails only where it should have ended.
    struct Late<'a>(&'a [u8]);
    impl Read for Late<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("the engine is gone")),
                n => Ok(n),
            }
        }
    }
    let error = shoot_archive(&Store::default(), Late(&whole), None).err().unwrap();
    assert!(matches!(error, CaptureError::Stream(_)), "{error}");
}

/// Sets checksums, so that changes come through to what is behind them.
fn seal(archive: &mut [u8]) {
    for block in archive.as_chunks_mut::<512>().0 {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096), sealed in any::<bool>()) {
        let mut bytes = bytes;
        if sealed {
            seal(&mut bytes);
        }
        let _ = take(&bytes);
    }

    #[test]
    fn no_change_makes_it_panic(changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..6)) {
        let mut archive = Made::new()
            .dir("a")
            .pax(&[("path", b"a/b"), ("mtime", b"1.5"), ("SCHILY.xattr.user.a", b"1")])
            .file("x", b"data")
            .add(tar::EntryType::GNULongName, "x", "", b"a/c\0")
            .link("x", "a/b")
            .add(tar::EntryType::Char, "null", "", b"")
            .bytes();
        let length = archive.len();
        for (at, value) in changes {
            // Most in headers: all but two blocks are.
            archive[usize::from(at) % length] = value;
        }
        for block in archive.as_chunks_mut::<512>().0 {
            if block[257..262] == *b"ustar" {
                seal(block);
            }
        }
        let _ = take(&archive);
    }
}
