//! The tree changes while it is captured, or does not let itself be read.

use holdfast_fault::{Retry, Retryable as _};

use super::*;
use crate::tree::test_hooks::Moment;

/// Captures a tree with the file `f`, and does something at a moment of its capture.
fn when(moment: Moment, size: usize, act: impl Fn(&FsPath) + 'static) -> (tempfile::TempDir, Shot) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::default();
    fs::write(root.path().join("f"), noise(size, 1)).unwrap();
    fs::write(root.path().join("g"), b"after it").unwrap();
    let file = root.path().join("f");
    let mut done = false;
    test_hooks::set(move |now, path| {
        if now == moment && path == b"f" && !done {
            done = true;
            act(&file);
        }
    });
    let shot = shoot(&store, &spec(root.path()), None);
    test_hooks::set(|_, _| {});
    assert!(shot.paths().contains(&"g".to_owned()));
    tar_is_whole(&shot);
    (root, shot)
}

fn tar_is_whole(shot: &Shot) {
    let entries = shot.outcome.counts.files + shot.outcome.counts.directories + shot.outcome.counts.other;
    let mut archive = tar::Archive::new(&shot.stream[..]);
    assert_eq!(archive.entries().unwrap().count() as u64, entries);
}

#[test]
fn what_vanishes_or_becomes_something_else_is_skipped() {
    for moment in [Moment::Named, Moment::Seen] {
        let (_, shot) = when(moment, 10, |f| fs::remove_file(f).unwrap());
        assert_eq!(shot.warnings(), ["vanished f"]);
        assert_eq!(shot.paths(), [".", "vanished f", "g"]);
    }
    let (_, shot) = when(Moment::Seen, 10, |f| {
        fs::remove_file(f).unwrap();
        node(f, FileType::Fifo, 0);
    });
    assert_eq!(
        shot.warnings(),
        ["vanished f"],
        "and the fifo does not hang the capture"
    );
    let (_, shot) = when(Moment::Seen, 10, |f| {
        fs::remove_file(f).unwrap();
        symlink("g", f).unwrap();
    });
    assert_eq!(shot.warnings(), ["vanished f"], "links are not followed");
}

#[test]
fn a_file_replaced_by_another_is_the_other() {
    let (_, shot) = when(Moment::Seen, 10, |f| {
        fs::write(f.with_file_name("t"), noise(7000, 3)).unwrap();
        fs::rename(f.with_file_name("t"), f).unwrap();
    });
    assert_eq!(shot.warnings(), Vec::<String>::new());
    assert_eq!(entry(&shot, "f").size, 7000);
}

#[test]
fn a_file_removed_while_it_is_read_is_whole() {
    let (_, shot) = when(Moment::Opened, 10, |f| fs::remove_file(f).unwrap());
    assert_eq!(shot.warnings(), Vec::<String>::new());
    assert_eq!(entry(&shot, "f").size, 10);
}

#[test]
fn growing_and_shrinking_files_keep_their_first_size() {
    let append = |f: &FsPath| {
        use std::io::Write;
        let mut file = fs::File::options().append(true).open(f).unwrap();
        file.write_all(&noise(5000, 2)).unwrap();
    };
    let cut = |f: &FsPath| fs::File::options().write(true).open(f).unwrap().set_len(3).unwrap();
    for size in [1000, 200_000] {
        for (moment, grow) in [(Moment::Opened, true), (Moment::Opened, false), (Moment::Reading, true)] {
            if moment == Moment::Reading && size < 4096 {
                continue;
            }
            let (_root, shot) = when(moment, size, move |f| if grow { append(f) } else { cut(f) });
            assert_eq!(shot.warnings(), ["changed f"]);
            let f = entry(&shot, "f");
            assert_eq!((f.size, f.changed), (size as u64, true));
            let mut expected = noise(size, 1);
            if !grow {
                expected[3..].fill(0);
            }
            let out = extract(&shot.stream);
            assert!(fs::read(out.path().join("out/f")).unwrap() == expected);
        }
    }
}

#[test]
fn a_changed_file_is_read_again_next_time() {
    let (root, first) = when(Moment::Opened, 1000, |f| {
        let before = fs::metadata(f).unwrap().modified().unwrap();
        fs::write(f, noise(2000, 2)).unwrap();
        fs::File::options()
            .write(true)
            .open(f)
            .unwrap()
            .set_modified(before)
            .unwrap();
    });
    assert!(entry(&first, "f").changed);
    let store = Store::default();
    let second = shoot(&store, &spec(root.path()), None);
    let expected = noise(2000, 2);
    assert!(second.stream.windows(2000).any(|w| w == expected));
}

#[test]
fn what_cannot_be_read_is_skipped_and_what_is_short_is_filled() {
    // Attributes of the kernel: some are write-only even for root, and all say that they are 4096 bytes long.
    let sys = FsPath::new("/sys/bus/cpu");
    let shot = shoot(&Store::default(), &spec(sys), None);
    assert!(
        shot.warnings().contains(&"unreadable uevent".to_owned()),
        "{:?}",
        shot.warnings()
    );
    assert!(shot.warnings().contains(&"changed drivers_autoprobe".to_owned()));
    let entry = entry(&shot, "drivers_autoprobe");
    assert_eq!((entry.size, entry.changed), (4096, true));
    tar_is_whole(&shot);
}

#[test]
fn a_stop_and_a_full_staging_end_the_capture() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), b"x").unwrap();
    let key = crate::testing::key();
    let options = || crate::PackerOptions {
        params: crate::testing::params(),
        namer: key.pack_namer(holdfast_format::ArtefactId::from_bytes([9; 16]), "gnupg", &[]),
        key: key.clone(),
        parent: None,
        bad: HashSet::new(),
    };
    let mut contents = ContentsWriter::new(Vec::new(), ARTEFACT).unwrap();
    let mut watch = Watch {
        progress: &mut |_| {},
        stop: &|| true,
    };
    let mut packer = Packer::new(options(), Box::new(|_, pack| Ok(pack)));
    let result = capture_tree(&spec(root.path()), None, &mut packer, &mut contents, &mut watch);
    assert!(matches!(result, Err(CaptureError::Stopped)));

    let superseded = |_, _| {
        Err(crate::StagingError::Superseded {
            artefact: ARTEFACT,
            attempt: 1,
        })
    };
    let mut packer = Packer::new(options(), Box::new(superseded));
    packer.chunk(b"x").unwrap();
    let error = packer.finish().unwrap_err();
    assert_eq!(error.retry(), Retry::Superseded);
    // What was captured until then is no contents.
    let cut = contents.finish(vec![]).unwrap().0;
    assert_eq!(ContentsReader::new(&cut[..], ARTEFACT).unwrap().count(), 2);
}
