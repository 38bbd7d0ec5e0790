#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::{Bulk, Shape, compare, edit, edit_bulk, generate, make_bulk};

fn tree(dir: &Path, seed: u64) {
    generate(
        dir,
        seed,
        Shape {
            files: 30,
            ..Shape::default()
        },
    )
    .unwrap();
}

#[test]
fn the_same_seed_gives_the_same_tree_and_another_another() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| dir.path().join(name));
    tree(&a, 1);
    tree(&b, 1);
    tree(&c, 2);
    compare(&a, &b).unwrap();
    assert!(compare(&a, &c).is_err());
}

#[test]
fn a_copy_by_tar_is_equal_and_every_change_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let a = dir.path().join("a");
    let b = dir.path().join("b");
    tree(&a, 3);
    fs::create_dir(&b).unwrap();
    let copied = Command::new("sh")
        .args(["-ec", "tar -C \"$0\" --posix --xattrs --sparse -cf - . 2>/dev/null | tar -C \"$1\" --xattrs --numeric-owner -xpf -"])
        .args([&a, &b])
        .status()
        .unwrap();
    assert!(copied.success());
    compare(&a, &b).unwrap();

    let differs = |what: &str| {
        let text = compare(&a, &b).unwrap_err().to_string();
        assert!(text.contains(what), "{what:?} is not in {text}");
    };
    fs::remove_file(b.join("odd/links/two")).unwrap();
    fs::write(b.join("odd/links/two"), "one file with three names\n").unwrap();
    differs("hard link");
    xattr::remove(b.join("odd/with attributes"), "user.empty").unwrap();
    differs("extended attributes");
    fs::write(b.join("too many"), "").unwrap();
    differs("too many");
    OpenOptions::new()
        .append(true)
        .open(b.join("odd/time epoch"))
        .unwrap()
        .write_all(b"x")
        .unwrap();
    differs("size");
}

#[test]
fn an_edit_changes_as_many_files_as_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let a = dir.path().join("a");
    let b = dir.path().join("b");
    tree(&a, 4);
    tree(&b, 4);
    let edited = edit(&b, 7, 9).unwrap();
    assert_eq!(edited.len(), 7);
    let text = compare(&a, &b).unwrap_err().to_string();
    for path in edited {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(text.contains(name), "{name} is not in {text}");
    }
}

#[test]
fn a_bulk_tree_has_the_asked_size() {
    let dir = tempfile::tempdir().unwrap();
    let a = dir.path().join("a");
    let b = dir.path().join("b");
    let bulk = Bulk {
        files: 500,
        bytes: 3 << 20,
        seed: 1,
    };
    make_bulk(&a, bulk).unwrap();
    make_bulk(&b, bulk).unwrap();
    edit_bulk(&b, bulk, 20, 1).unwrap();
    let sizes: Vec<u64> = walk(&a);
    assert_eq!(sizes.len(), 500);
    let total: u64 = sizes.iter().sum();
    assert!((3 << 20) - total < 500, "{total}");
    assert!(compare(&a, &b).is_err());
}

fn walk(dir: &Path) -> Vec<u64> {
    let mut sizes = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            sizes.extend(walk(&entry.path()));
        } else {
            sizes.push(meta.len());
        }
    }
    sizes
}
