//! Files with several names, some of which come, go or lead elsewhere while they are captured.

use super::*;
use crate::tree::test_hooks::Moment;

/// A tree where `a`, `b` and `c` are one file with this content.
fn three_names(content: &[u8]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a"), content).unwrap();
    fs::hard_link(root.path().join("a"), root.path().join("b")).unwrap();
    fs::hard_link(root.path().join("a"), root.path().join("c")).unwrap();
    root
}

/// Captures a tree, and does something once, before anything is known of its name `b`.
fn shoot_before_b(store: &Store, root: &FsPath, parent: Option<&Shot>, act: impl Fn(&FsPath) + 'static) -> Shot {
    let dir = root.to_owned();
    let mut done = false;
    test_hooks::set(move |now, path| {
        if now == Moment::Named && path == b"b" && !done {
            done = true;
            act(&dir);
        }
    });
    let shot = shoot(store, &spec(root), parent);
    test_hooks::set(|_, _| {});
    shot
}

/// Makes `b` and `c` names of a new file, which looks like the old one wherever a program has a say, and has its number.
fn replace(root: &FsPath, content: &[u8]) {
    let old = fs::metadata(root.join("a")).unwrap();
    for name in ["a", "b", "c"] {
        fs::remove_file(root.join(name)).unwrap();
    }
    // It does not get the number by itself, so that it is the same on every file system.
    let other = fs::File::create(root.join("z")).unwrap();
    fs::write(root.join("b"), content).unwrap();
    let file = fs::File::options().write(true).open(root.join("b")).unwrap();
    file.set_modified(old.modified().unwrap()).unwrap();
    file.set_permissions(old.permissions()).unwrap();
    for name in ["c", "d"] {
        fs::hard_link(root.join("b"), root.join(name)).unwrap();
    }
    let new = fs::metadata(root.join("b")).unwrap();
    assert_eq!(
        (old.len(), old.nlink(), old.mode()),
        (new.len(), new.nlink(), new.mode())
    );
    drop(other);
    test_hooks::renumber(new.ino(), old.ino());
}

fn content(shot: &Shot, name: &str) -> Vec<u8> {
    fs::read(extract(&shot.stream).path().join("out").join(name)).unwrap()
}

#[test]
fn a_new_file_with_the_number_of_an_old_one_keeps_its_own_bytes() {
    let root = three_names(b"the old one");
    let store = Store::default();
    settle();
    let shot = shoot_before_b(&store, root.path(), None, |root| replace(root, b"another one"));
    let kinds = ["a", "b", "c"].map(|name| entry(&shot, name).kind);
    assert_eq!(kinds, [EntryKind::File, EntryKind::File, EntryKind::Hardlink]);
    assert_eq!(entry(&shot, "c").link.unwrap().display(), "b");
    assert_eq!(content(&shot, "a"), b"the old one");
    assert_eq!(content(&shot, "b"), b"another one");
    assert_eq!(content(&shot, "c"), b"another one");
}

#[test]
fn so_it_does_if_the_old_one_stands_as_the_parent_tells() {
    let root = three_names(b"the old one");
    let store = Store::default();
    settle();
    let first = shoot(&store, &spec(root.path()), None);
    let shot = shoot_before_b(&store, root.path(), Some(&first), |root| replace(root, b"another one"));
    assert_eq!(shot.outcome.counts.unread, 1, "a");
    assert_eq!(entry(&shot, "b").kind, EntryKind::File);
    assert_eq!(content(&shot, "a"), b"the old one");
    assert_eq!(content(&shot, "c"), b"another one");
    // Nor does the next capture take the new one for the old one.
    settle();
    let next = shoot(&store, &spec(root.path()), Some(&first));
    assert_eq!(content(&next, "b"), b"another one");
    assert_eq!(next.stream, shoot(&Store::default(), &spec(root.path()), None).stream);
}

#[test]
fn names_that_come_or_go_and_writes_between_cost_another_reading_and_no_byte() {
    type Act = fn(&FsPath);
    let cases: [(Act, &[u8]); 4] = [
        (|root| fs::remove_file(root.join("a")).unwrap(), b"content"),
        (
            |root| fs::hard_link(root.join("a"), root.join("d")).unwrap(),
            b"content",
        ),
        (
            |root| fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o600)).unwrap(),
            b"content",
        ),
        (|root| fs::write(root.join("a"), b"CONTENT").unwrap(), b"CONTENT"),
    ];
    for (act, after) in cases {
        let root = three_names(b"content");
        let store = Store::default();
        settle();
        let shot = shoot_before_b(&store, root.path(), None, act);
        assert_eq!(shot.warnings(), Vec::<String>::new());
        assert_eq!(entry(&shot, "b").kind, EntryKind::File);
        assert_eq!(entry(&shot, "c").link.unwrap().display(), "b", "all agrees again");
        assert_eq!(content(&shot, "a"), b"content");
        assert_eq!(content(&shot, "c"), after);
    }
}

#[test]
fn names_that_stay_are_one_file_however_young() {
    let root = tempfile::tempdir().unwrap();
    for n in 0..100 {
        let at = |name: &str| root.path().join(format!("{n}-{name}"));
        fs::write(at("a"), [n; 10]).unwrap();
        fs::hard_link(at("a"), at("b")).unwrap();
    }
    let shot = shoot(&Store::default(), &spec(root.path()), None);
    for n in 0..100 {
        assert_eq!(entry(&shot, &format!("{n}-b")).kind, EntryKind::Hardlink, "{n}");
    }
}

#[test]
fn a_special_file_with_the_number_of_another_is_one_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    symlink("nowhere", at("a")).unwrap();
    fs::hard_link(at("a"), at("b")).unwrap();
    fs::hard_link(at("a"), at("c")).unwrap();
    settle();
    let shot = shoot_before_b(&Store::default(), root.path(), None, |root| {
        let at = |name: &str| root.join(name);
        let old = fs::symlink_metadata(at("a")).unwrap().ino();
        fs::remove_file(at("b")).unwrap();
        fs::remove_file(at("c")).unwrap();
        symlink("NOWHERE", at("b")).unwrap();
        fs::hard_link(at("b"), at("c")).unwrap();
        fs::hard_link(at("b"), at("d")).unwrap();
        test_hooks::renumber(fs::symlink_metadata(at("b")).unwrap().ino(), old);
    });
    assert_eq!(entry(&shot, "b").link.unwrap().display(), "NOWHERE");
    assert_eq!(entry(&shot, "c").link.unwrap().display(), "b");
}

#[test]
fn attributes_of_another_file_are_not_put_to_what_the_parent_tells() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::default();
    let file = root.path().join("f");
    fs::write(&file, b"one").unwrap();
    set_xattr(&file, "user.x", b"1");
    settle();
    let first = shoot(&store, &spec(root.path()), None);
    for attributed in [true, false] {
        let file = file.clone();
        let mut done = false;
        test_hooks::set(move |now, path| {
            if now == Moment::Seen && path == b"f" && !done {
                done = true;
                fs::write(file.with_file_name("new"), b"two").unwrap();
                if attributed {
                    set_xattr(&file.with_file_name("new"), "user.x", b"2");
                }
                fs::rename(file.with_file_name("new"), &file).unwrap();
            }
        });
        let shot = shoot(&store, &spec(root.path()), Some(&first));
        test_hooks::set(|_, _| {});
        let out = extract(&shot.stream);
        assert_eq!(fs::read(out.path().join("out/f")).unwrap(), b"two");
        let found = attributes(&out.path().join("out/f"));
        let expected = attributed.then(|| (b"user.x".to_vec(), b"2".to_vec()));
        assert_eq!(found, Vec::from_iter(expected));
        // As it was.
        fs::remove_file(root.path().join("f")).unwrap();
        fs::write(root.path().join("f"), b"one").unwrap();
    }
}
