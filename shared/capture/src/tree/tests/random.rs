//! Random trees and random edits.

use std::cell::RefCell;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::testing::shoot_precopied;
use crate::tree::test_hooks::Moment;

#[derive(Clone, Debug)]
enum Edit {
    Write(usize, u64, usize),
    Append(usize, u64),
    Dir(usize),
    Remove(usize),
    Rename(usize, usize),
    Link(usize, usize),
    Symlink(usize, usize),
    Mode(usize, u32),
    Owner(usize, u32),
    Attribute(usize, u64, usize),
    Fifo(usize),
    Sparse(usize, u64),
    Touch(usize, i64, u32),
    /// All names of a file go, and a new file takes these: on many file systems with its number.
    Replace(usize, usize, u64),
}

/// Paths collide on purpose, and sort otherwise as bytes than as components.
const PATHS: [&[u8]; 14] = [
    b"a",
    b"a/b",
    b"a/b/c",
    b"a/b/\xff",
    b"a-b",
    b"a.b",
    b"b",
    b"b/long-name",
    b"b/\n",
    b"c",
    b"c/d",
    b"c/d/e",
    b"c/d/f",
    b"\xc3\xa9",
];

fn edit() -> impl Strategy<Value = Edit> {
    let p = 0..PATHS.len();
    prop_oneof![
        4 => (p.clone(), any::<u64>(), prop_oneof![0usize..100, 4000usize..5000, 0usize..60_000]).prop_map(|(p, s, n)| Edit::Write(p, s, n)),
        1 => (p.clone(), any::<u64>()).prop_map(|(p, s)| Edit::Append(p, s)),
        3 => p.clone().prop_map(Edit::Dir),
        1 => p.clone().prop_map(Edit::Remove),
        1 => (p.clone(), p.clone()).prop_map(|(a, b)| Edit::Rename(a, b)),
        2 => (p.clone(), p.clone()).prop_map(|(a, b)| Edit::Link(a, b)),
        1 => (p.clone(), p.clone()).prop_map(|(a, b)| Edit::Symlink(a, b)),
        1 => (p.clone(), 0u32..0o10000).prop_map(|(p, m)| Edit::Mode(p, m | 0o700)),
        1 => (p.clone(), 0u32..4_000_000).prop_map(|(p, o)| Edit::Owner(p, o)),
        1 => (p.clone(), any::<u64>(), 0usize..900).prop_map(|(p, s, n)| Edit::Attribute(p, s, n)),
        1 => p.clone().prop_map(Edit::Fifo),
        1 => (p.clone(), any::<u64>()).prop_map(|(p, s)| Edit::Sparse(p, s)),
        2 => (p.clone(), p.clone(), any::<u64>()).prop_map(|(a, b, s)| Edit::Replace(a, b, s)),
        1 => (p, -5_000_000_000i64..5_000_000_000, 0u32..1_000_000_000).prop_map(|(p, s, n)| Edit::Touch(p, s, n)),
    ]
}

/// Applies an edit. One that does not fit the tree has no effect.
fn apply(root: &FsPath, edit: &Edit) {
    let at = |p: usize| root.join(OsStr::from_bytes(PATHS[p]));
    let is_file = |p: usize| fs::symlink_metadata(at(p)).is_ok_and(|m| m.is_file());
    let is_plain = |p: usize| fs::symlink_metadata(at(p)).map_or(true, |m| m.is_file());
    let exists = |p: usize| fs::symlink_metadata(at(p)).is_ok();
    let _ = match *edit {
        Edit::Write(p, seed, size) if is_plain(p) => fs::write(at(p), noise(size, seed)),
        Edit::Append(p, seed) if is_file(p) => {
            let mut data = fs::read(at(p)).unwrap();
            data.extend_from_slice(&noise(700, seed));
            fs::write(at(p), data)
        }
        Edit::Dir(p) => fs::create_dir(at(p)),
        Edit::Remove(p) => fs::remove_file(at(p)).or_else(|_| fs::remove_dir_all(at(p))),
        Edit::Rename(a, b) => fs::rename(at(a), at(b)),
        Edit::Link(a, b) if is_file(a) => fs::hard_link(at(a), at(b)),
        Edit::Symlink(a, b) => symlink(OsStr::from_bytes(PATHS[a]), at(b)),
        Edit::Mode(p, mode) if is_file(p) => fs::set_permissions(at(p), fs::Permissions::from_mode(mode)),
        Edit::Owner(p, owner) if exists(p) => std::os::unix::fs::lchown(at(p), Some(owner), Some(owner / 2)),
        Edit::Attribute(p, seed, size) if is_file(p) => {
            set_xattr(&at(p), "user.x", &noise(size, seed));
            Ok(())
        }
        Edit::Fifo(p) if !exists(p) => {
            let _ = mknodat(CWD, at(p), FileType::Fifo, Mode::RUSR, 0);
            Ok(())
        }
        Edit::Sparse(p, seed) if is_plain(p) => fs::File::create(at(p)).and_then(|file| {
            file.set_len(200_000 + seed % 1_000_000)?;
            std::os::unix::fs::FileExt::write_all_at(&file, &noise(3000, seed), seed % 150_000)
        }),
        Edit::Touch(p, seconds, ns) if is_file(p) => fs::File::open(at(p)).and_then(|file| {
            let whole = Duration::from_secs(seconds.unsigned_abs());
            let epoch = std::time::UNIX_EPOCH;
            let base = if seconds < 0 { epoch - whole } else { epoch + whole };
            file.set_modified(base + Duration::from_nanos(u64::from(ns)))
        }),
        Edit::Replace(a, b, seed) if is_file(a) => {
            let inode = fs::symlink_metadata(at(a)).unwrap().ino();
            for p in 0..PATHS.len() {
                if fs::symlink_metadata(at(p)).is_ok_and(|m| m.ino() == inode) {
                    fs::remove_file(at(p)).unwrap();
                }
            }
            fs::write(at(a), noise(3000, seed)).and_then(|()| fs::hard_link(at(a), at(b)))
        }
        _ => Ok(()),
    };
}

/// Paths that no edit makes directories of, mostly.
const PLAIN: [usize; 5] = [4, 5, 6, 9, 13];

/// One file under all plain names.
fn link_plain(root: &FsPath) {
    apply(root, &Edit::Write(PLAIN[0], 1, 3000));
    PLAIN[1..].iter().for_each(|p| apply(root, &Edit::Link(PLAIN[0], *p)));
}

/// Edits, each with how many moments of a capture come before it.
fn disturbances() -> impl Strategy<Value = Vec<(usize, Edit)>> {
    let plain = || proptest::sample::select(&PLAIN[..]);
    let replace = (plain(), plain(), any::<u64>()).prop_map(|(a, b, s)| Edit::Replace(a, b, s));
    let link = (plain(), plain()).prop_map(|(a, b)| Edit::Link(a, b));
    proptest::collection::vec((1usize..8, prop_oneof![2 => edit(), 2 => replace, 1 => link]), 1..30)
}

/// The contents that each path has held since the capture came to it, as hashes.
type Held = BTreeMap<usize, HashSet<blake3::Hash>>;

fn note(root: &FsPath, held: &mut Held) {
    for (p, path) in PATHS.iter().enumerate() {
        let file = root.join(OsStr::from_bytes(path));
        if fs::symlink_metadata(&file).is_ok_and(|m| m.is_file()) {
            held.entry(p)
                .or_default()
                .insert(blake3::hash(&fs::read(&file).unwrap()));
        }
    }
}

/// Captures a tree, and makes one edit after as many moments of the capture as stand before it. Returns what was at each
/// path from when the capture came to it.
fn shoot_disturbed(store: &Store, root: &FsPath, parent: Option<&Shot>, edits: Vec<(usize, Edit)>) -> (Shot, Held) {
    let held = Rc::new(RefCell::new(Held::new()));
    let noted = held.clone();
    let dir = root.to_owned();
    let mut edits = edits.into_iter().peekable();
    let mut moments = 0;
    test_hooks::set(move |moment, path| {
        if let (Moment::Named, Some(p)) = (moment, PATHS.iter().position(|known| *known == path)) {
            noted.borrow_mut().remove(&p);
            note(&dir, &mut noted.borrow_mut());
        }
        moments += 1;
        while let Some((_, edit)) = edits.next_if(|(after, _)| *after <= moments) {
            moments = 0;
            // A capture goes on in a directory that is moved, under its old name: nobody could tell what was there.
            let moves_directory =
                matches!(edit, Edit::Rename(from, _) if dir.join(OsStr::from_bytes(PATHS[from])).is_dir());
            if !moves_directory {
                apply(&dir, &edit);
            }
            note(&dir, &mut noted.borrow_mut());
        }
    });
    let shot = shoot(store, &spec(root), parent);
    test_hooks::set(|_, _| {});
    let held = held.take();
    (shot, held)
}

/// Every regular file of a capture holds what was under its name while it was captured, unless it is told to have changed
/// meanwhile.
fn assert_held(shot: &Shot, held: &Held) {
    let out = extract(&shot.stream);
    let lines = shot.lines();
    let entries: BTreeMap<&Path, _> = lines
        .iter()
        .filter_map(|line| match line {
            Content::Entry(entry) => Some((&entry.path, entry)),
            _ => None,
        })
        .collect();
    for (path, entry) in &entries {
        // A symbolic link has a target as well, which is none of these names.
        let first = entry.link.as_ref().filter(|_| entry.kind == EntryKind::Hardlink);
        let read = first.map_or(*entry, |first| entries.get(first).unwrap_or(entry));
        let file = out.path().join("out").join(OsStr::from_bytes(&path.0));
        if read.kind == EntryKind::File && !read.changed {
            let p = PATHS.iter().position(|known| *known == path.0).unwrap();
            let hash = blake3::hash(&fs::read(&file).unwrap());
            assert!(held[&p].contains(&hash), "{} holds what was not there", path.display());
        }
    }
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    proptest::collection::vec(edit(), 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_chain_of_captures_gives_what_fresh_ones_give(rounds in proptest::collection::vec(edits(), 2..4)) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::default();
        let mut parent: Option<Shot> = None;
        for round in &rounds {
            for edit in round {
                apply(root.path(), edit);
            }
            settle();
            let shot = shoot(&store, &spec(root.path()), parent.as_ref());
            let fresh = shoot(&Store::default(), &spec(root.path()), None);
            prop_assert!(shot.stream == fresh.stream, "{:?} {:?}", shot.paths(), shot.warnings());
            prop_assert_eq!(shot.outcome.counts.files, fresh.outcome.counts.files);
            prop_assert_eq!(shot.outcome.warnings.total, 0);
            let unchanged = shoot(&store, &spec(root.path()), Some(&shot));
            prop_assert!(unchanged.stream == fresh.stream);
            let thin = shot.manifest.packs.iter().any(|p| !p.is_dense());
            prop_assert!(thin || unchanged.packed.new.bytes == 0);
            // Lines stand in the order that the next capture relies on.
            let lines = shot.lines();
            let paths: Vec<&Path> = lines.iter().filter_map(|l| match l {
                Content::Entry(e) => Some(&e.path),
                _ => None,
            }).collect();
            prop_assert!(paths.windows(2).all(|w| w[0].compare(w[1]).is_lt()));
            let out = extract(&shot.stream);
            prop_assert_eq!(describe(root.path()), describe(&out.path().join("out")));
            parent = Some(shot);
        }
    }
    #[test]
    fn what_changes_after_a_pre_copy_is_read(before in edits(), parent in edits(), after in edits()) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::default();
        let edit = |edits: &[Edit]| edits.iter().for_each(|edit| apply(root.path(), edit));
        edit(&before);
        settle();
        let spec = spec(root.path());
        let first = shoot(&store, &spec, None);
        edit(&parent);
        settle();
        let shot = shoot_precopied(&store, &spec, Some(&first), || edit(&after));
        let fresh = shoot(&Store::default(), &spec, None);
        prop_assert!(shot.stream == fresh.stream, "{:?} {:?}", shot.paths(), shot.warnings());
        // What it says serves as a parent, whose packs may be thin.
        settle();
        prop_assert!(shoot(&store, &spec, Some(&shot)).stream == fresh.stream);
        // Only what stands in the parent counts as unread, and nothing is stored twice.
        let quiet = shoot_precopied(&store, &spec, Some(&shot), || ());
        let plain = shoot(&store, &spec, Some(&shot));
        let thin = shot.manifest.packs.iter().any(|p| !p.is_dense());
        prop_assert!(thin || quiet.outcome.counts.unread == plain.outcome.counts.unread);
        prop_assert!(quiet.outcome.counts.unread <= plain.outcome.counts.unread);
        prop_assert_eq!(quiet.packed.new.bytes, plain.packed.new.bytes);
    }

    #[test]
    fn what_is_edited_while_it_is_captured_holds_no_other_files_bytes(
        before in edits(), during in disturbances(), again in disturbances(),
    ) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::default();
        link_plain(root.path());
        before.iter().take(5).for_each(|edit| apply(root.path(), edit));
        settle();
        let (first, held) = shoot_disturbed(&store, root.path(), None, during);
        assert_held(&first, &held);
        settle();
        let (second, held) = shoot_disturbed(&store, root.path(), Some(&first), again);
        assert_held(&second, &held);
        // What was torn is mended by the next capture.
        settle();
        let third = shoot(&store, &spec(root.path()), Some(&second));
        prop_assert!(third.stream == shoot(&Store::default(), &spec(root.path()), None).stream);
    }
}
