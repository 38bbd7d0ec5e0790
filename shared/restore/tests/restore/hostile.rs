//! Contents that want out.

use std::fs;

use holdfast_format::{ArtefactKind, EntryKind};
use holdfast_restore::{FilesOptions, Selection};
use tempfile::TempDir;

use super::files::restore;
use crate::common::archive::{Spec, tree};
use crate::common::{Draft, Repo};

/// Restores into a directory beside a canary, and looks that all else is as before.
fn attack(specs: &[Spec]) -> (TempDir, Vec<String>) {
    let repo = Repo::new();
    let id = tree(&repo, specs);
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("canary"), "alive").unwrap();
    fs::create_dir(outside.path().join("target")).unwrap();
    let target = outside.path().join("target");
    let report = restore(&repo, id, &Selection::all(), &target, FilesOptions::default());
    assert_eq!(fs::read(outside.path().join("canary")).unwrap(), b"alive");
    let names: Vec<_> = fs::read_dir(outside.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let lost = report
        .problems
        .iter()
        .filter(|p| p.lost)
        .map(|p| p.path.clone())
        .collect();
    (outside, lost)
}

#[test]
fn paths_that_lead_out_are_refused() {
    let bad = [
        "../evil",
        "/tmp/evil",
        "a/../../evil",
        "a//b",
        "./a",
        "a/./b",
        "a/",
        "",
        "..",
        "a/..",
        "nul\0l",
    ];
    let mut specs = vec![Spec::dir("."), Spec::file("good", b"good")];
    specs.extend(bad.iter().map(|path| Spec::file(path, b"evil")));
    specs.extend(bad.iter().map(Spec::dir));
    specs.push(Spec::file("x".repeat(256), b"too long"));
    let (outside, lost) = attack(&specs);
    assert_eq!(lost.len(), 2 * bad.len() + 1, "{lost:?}");
    let left: Vec<_> = fs::read_dir(outside.path().join("target"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["good"]);
}

#[test]
fn links_are_no_way_out() {
    let specs = [
        Spec::dir("."),
        // A link, then what should go through it.
        Spec::link(EntryKind::Symlink, "up", ".."),
        Spec::file("up/evil", b"evil"),
        Spec::link(EntryKind::Symlink, "canary-link", "../canary"),
        Spec::file("canary-link", b"evil"),
        Spec::link(EntryKind::Symlink, "dir", ".."),
        Spec::dir("dir"),
        Spec::dir("dir/evil"),
        // Hard links to what is outside, and to a link that leads there.
        Spec::link(EntryKind::Hardlink, "hard", "../canary"),
        Spec::link(EntryKind::Hardlink, "hard-absolute", "/etc/passwd"),
        Spec::link(EntryKind::Hardlink, "hard-through", "esc/canary"),
        Spec::link(EntryKind::Symlink, "esc", ".."),
        Spec::link(EntryKind::Symlink, "to-canary", "../canary"),
        Spec::link(EntryKind::Hardlink, "hard-to-link", "to-canary"),
        Spec::link(EntryKind::Symlink, "empty", ""),
    ];
    let (outside, mut lost) = attack(&specs);
    let target = outside.path().join("target");
    lost.sort();
    assert_eq!(
        lost,
        [
            "canary-link",
            "dir",
            "empty",
            "hard",
            "hard-absolute",
            "hard-through",
            "up"
        ]
    );
    assert!(
        fs::symlink_metadata(target.join("up")).unwrap().is_dir(),
        "what has entries below it is a directory"
    );
    assert!(fs::symlink_metadata(target.join("hard-to-link")).unwrap().is_symlink());
    assert_eq!(fs::read(target.join("up/evil")).unwrap(), b"evil");
}

#[test]
fn entries_that_are_there_twice_are_told() {
    let specs = [
        Spec::dir("."),
        Spec::file("a", b"first"),
        Spec::file("a", b"second"),
        Spec::dir("a"),
        Spec::new(EntryKind::Fifo, "a"),
    ];
    let (outside, lost) = attack(&specs);
    assert_eq!(lost.len(), 3, "{lost:?}");
    assert!(outside.path().join("target/a").is_dir());
}

#[test]
fn headers_and_contents_that_disagree_write_nothing_wrong() {
    let repo = Repo::new();
    let mut draft = Draft::new(&repo, 48 << 10, 10_000);
    // The headers speak of a sparse file of another size, or of none; the contents of another size than there is.
    let plain = Spec::file("plain", b"1234");
    let sparse = Spec {
        data: vec![1; 512],
        sparse: Some((vec![(1 << 40, 512)], (1 << 40) + 512)),
        ..Spec::new(EntryKind::File, "sparse")
    };
    let mut entry = sparse.entry();
    entry.size = 1 << 20;
    draft.entry(entry, &sparse.header(), &sparse.stored());
    let mut entry = plain.entry();
    entry.size = 1 << 50;
    draft.entry(entry, &plain.header(), &plain.stored());
    let reaches_out = Spec {
        sparse: Some((vec![(1 << 30, 512)], 1 << 20)),
        ..sparse.clone()
    };
    draft.add(&Spec {
        path: b"out".to_vec(),
        ..reaches_out
    });
    let mut entry = Spec::file("short", b"1234").entry();
    entry.size = 600;
    draft.entry(entry, &plain.header(), b"1234");
    let id = draft.close_tar(ArtefactKind::Directory, "x");
    let target = TempDir::new().unwrap();
    let report = restore(&repo, id, &Selection::all(), target.path(), FilesOptions::default());
    assert_eq!(report.lost, 4, "{report:?}");
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
}
