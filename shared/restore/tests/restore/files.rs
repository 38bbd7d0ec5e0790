use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Instant;

use holdfast_format::{ArtefactId, ArtefactKind, EntryKind};
use holdfast_restore::{
    FilesError, FilesOptions, FilesReport, Limits, Progress, Selection, compare_files, restore_files,
};
use tempfile::TempDir;

use crate::common::archive::{Spec, everything, tree};
use crate::common::{Draft, Repo, noise, pack_key};

pub(crate) fn restore(
    repo: &Repo,
    id: ArtefactId,
    select: &Selection,
    to: &Path,
    options: FilesOptions,
) -> FilesReport {
    restore_files(repo.open(id).origin(), select, to, options, &Progress::default()).unwrap()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn everything_comes_back_as_it_was() {
    let repo = Repo::new();
    let specs = everything();
    let id = tree(&repo, &specs);
    let target = TempDir::new().unwrap();
    let to = target.path().join("new/directory");
    let report = restore(&repo, id, &Selection::all(), &to, FilesOptions::default());
    assert_eq!(report.problems, []);
    assert_eq!(
        (report.selected.files, report.selected.directories, report.lost),
        (7, 4, 0)
    );
    assert!(is_root(), "these tests make owners and devices, and want root");
    for spec in &specs {
        same(&to, spec);
    }
    let sparse = fs::metadata(to.join("sparse")).unwrap();
    assert!(
        sparse.blocks() * 512 < 100_000,
        "holes stay holes: {} blocks",
        sparse.blocks()
    );
    assert_eq!(
        fs::metadata(to.join("a/hard")).unwrap().ino(),
        fs::metadata(to.join("a/big")).unwrap().ino()
    );
    let artefact = repo.open(id);
    let compare = || compare_files(artefact.origin(), &to, Limits::default(), &Progress::default()).unwrap();
    assert_eq!(compare(), []);
    // And the comparison notices.
    for (path, change) in [("a/big", 150_000), ("sparse", (1 << 20) + 100), ("a/exact", 511)] {
        let mut bytes = fs::read(to.join(path)).unwrap();
        bytes[change] ^= 1;
        fs::write(to.join(path), &bytes).unwrap();
    }
    fs::remove_file(to.join("b/c/deep")).unwrap();
    fs::remove_file(to.join("b/second-link")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", to.join("b/second-link")).unwrap();
    let found: Vec<String> = compare().into_iter().map(|d| d.path).collect();
    assert_eq!(found, ["a/big", "a/exact", "b/c/deep", "b/second-link", "sparse"]);
}

/// Compares what stands at a path with what should.
pub(crate) fn same(root: &Path, spec: &Spec) {
    use std::os::unix::ffi::OsStrExt;
    let path = root.join(std::ffi::OsStr::from_bytes(&spec.path));
    let meta = fs::symlink_metadata(&path).unwrap();
    let kind = meta.file_type();
    if spec.kind == EntryKind::Hardlink {
        return;
    }
    let is = match spec.kind {
        EntryKind::File => kind.is_file(),
        EntryKind::Dir => kind.is_dir(),
        EntryKind::Symlink => kind.is_symlink(),
        EntryKind::Fifo => kind.is_fifo(),
        EntryKind::Char => kind.is_char_device() && meta.rdev() == rustix::fs::makedev(spec.device.0, spec.device.1),
        EntryKind::Block | EntryKind::Hardlink => false,
    };
    assert!(is, "{path:?} is {kind:?}");
    assert_eq!((meta.uid(), meta.gid()), spec.owner, "{path:?}");
    assert_eq!(meta.mtime(), spec.mtime.seconds, "{path:?}");
    assert_eq!(meta.mtime_nsec(), i64::from(spec.mtime.nanoseconds), "{path:?}");
    if spec.kind != EntryKind::Symlink {
        assert_eq!(meta.mode() & 0o7777, spec.mode, "{path:?}");
    } else {
        assert_eq!(fs::read_link(&path).unwrap().as_os_str().as_bytes(), spec.link);
    }
    for (name, value) in &spec.xattrs {
        let name = std::ffi::OsStr::from_bytes(name);
        assert_eq!(xattr::get(&path, name).unwrap().as_ref(), Some(value), "{path:?}");
    }
    if spec.kind == EntryKind::File && spec.sparse.is_none() {
        assert!(fs::read(&path).unwrap() == spec.data, "{path:?}");
    }
    if let Some((segments, size)) = &spec.sparse {
        let mut expected = vec![0; usize::try_from(*size).unwrap()];
        let mut at = 0;
        for (offset, length) in segments {
            let offset = usize::try_from(*offset).unwrap();
            let length = usize::try_from(*length).unwrap();
            expected[offset..offset + length].copy_from_slice(&spec.data[at..at + length]);
            at += length;
        }
        assert!(fs::read(&path).unwrap() == expected, "{path:?}");
    }
}

#[test]
fn headers_and_data_may_lie_in_any_packs() {
    // As after many incremental captures: data in old packs, headers in new ones; files that share a chunk.
    let repo = Repo::new();
    let mut draft = Draft::new(&repo, 20_000, 7_000);
    let specs: Vec<Spec> = (0..30)
        .map(|n| Spec::file(format!("f{n:02}"), noise(3_000 * (n % 7) + 100, n as u64)).xattr("user.n", &[n as u8]))
        .collect();
    let mut data = Vec::new();
    for spec in specs.iter().rev() {
        let mut bytes = spec.data.clone();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        data.push(draft.data(&bytes));
    }
    let (id, _) = draft.rearranged(&specs, data);
    let target = TempDir::new().unwrap();
    let report = restore(&repo, id, &Selection::all(), target.path(), FilesOptions::default());
    assert_eq!(report.problems, []);
    for spec in &specs {
        same(target.path(), spec);
    }
}

impl Draft<'_> {
    /// Entries whose data was put into packs before, last file first.
    fn rearranged(mut self, specs: &[Spec], mut data: Vec<Vec<holdfast_format::Extent>>) -> (ArtefactId, usize) {
        self.restart();
        for spec in specs {
            let mut entry = spec.entry();
            entry.extents = vec![self.extent(&spec.header(), false)];
            let data = data.pop().unwrap();
            self.reuse(&data);
            entry.extents.extend(data);
            self.line(holdfast_format::Content::Entry(entry));
        }
        let size = self.stream.len();
        (self.close_tar(ArtefactKind::Directory, "uploads"), size)
    }
}

#[test]
fn a_selection_brings_its_directories_and_the_data_of_its_links() {
    let repo = Repo::new();
    let id = tree(&repo, &everything());
    let target = TempDir::new().unwrap();
    let select = Selection::of(&["a/hard", "b/c"]);
    let report = restore(&repo, id, &select, target.path(), FilesOptions::default());
    assert_eq!(report.problems, []);
    assert_eq!(fs::read(target.path().join("a/hard")).unwrap(), noise(200_000, 1));
    assert_eq!(fs::read(target.path().join("b/c/deep")).unwrap(), b"deep");
    assert!(!target.path().join("a/big").exists() && !target.path().join("b/fifo").exists());
    assert_eq!(fs::metadata(target.path().join("a")).unwrap().mode() & 0o7777, 0o2775);
    let none = Selection::of(&["nowhere"]);
    let other = TempDir::new().unwrap();
    let options = FilesOptions::default();
    let error = restore_files(
        repo.open(id).origin(),
        &none,
        other.path(),
        options,
        &Progress::default(),
    )
    .unwrap_err();
    assert!(matches!(error, FilesError::Stream(_)), "{error}");
}

#[test]
fn a_used_directory_is_refused_and_a_dry_run_touches_nothing() {
    let repo = Repo::new();
    let id = tree(&repo, &everything());
    let target = TempDir::new().unwrap();
    let options = FilesOptions {
        dry_run: true,
        ..FilesOptions::default()
    };
    let missing = target.path().join("missing");
    let report = restore(&repo, id, &Selection::all(), &missing, options);
    assert_eq!(report.packs, repo.open(id).manifest().packs.len() as u64);
    assert!(report.sealed_bytes > 0 && !missing.exists());

    fs::create_dir(target.path().join("lost+found")).unwrap();
    restore(
        &repo,
        id,
        &Selection::of(&["a/empty"]),
        target.path(),
        FilesOptions::default(),
    );
    let error = restore_files(
        repo.open(id).origin(),
        &Selection::all(),
        target.path(),
        FilesOptions::default(),
        &Progress::default(),
    )
    .unwrap_err();
    assert!(error.is_refusal(), "{error}");
}

#[test]
fn overwriting_replaces_files_and_never_writes_through_links() {
    let repo = Repo::new();
    let id = tree(&repo, &everything());
    let target = TempDir::new().unwrap();
    let outside = TempDir::new().unwrap();
    let canary = outside.path().join("canary");
    fs::write(&canary, "alive").unwrap();
    fs::create_dir_all(target.path().join("a")).unwrap();
    fs::write(target.path().join("kept"), "kept").unwrap();
    fs::hard_link(&canary, target.path().join("a/exact")).unwrap();
    std::os::unix::fs::symlink(&canary, target.path().join("a/big")).unwrap();
    std::os::unix::fs::symlink(outside.path(), target.path().join("b")).unwrap();
    let options = FilesOptions {
        overwrite: true,
        ..FilesOptions::default()
    };
    let report = restore(&repo, id, &Selection::all(), target.path(), options);
    assert_eq!(fs::read(&canary).unwrap(), b"alive");
    assert_eq!(fs::metadata(&canary).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(fs::read(target.path().join("a/big")).unwrap(), noise(200_000, 1));
    assert_eq!(fs::read(target.path().join("a/exact")).unwrap(), noise(512, 2));
    assert_eq!(fs::read(target.path().join("kept")).unwrap(), b"kept");
    // What was to come below the link is told, and nothing else.
    assert!(
        report.lost > 0 && report.problems.iter().all(|p| p.path.starts_with('b')),
        "{report:?}"
    );
}

#[test]
fn a_damaged_pack_costs_only_the_files_in_it() {
    let repo = Repo::new();
    let mut specs = vec![Spec::dir(".")];
    specs.extend((0..20).map(|n| Spec::file(format!("f{n:02}"), noise(20_000, n))));
    specs.push(Spec {
        data: noise(512, 50),
        sparse: Some((vec![(512, 512)], 1 << 20)),
        ..Spec::new(EntryKind::File, "sparse")
    });
    let id = tree(&repo, &specs);
    let artefact = repo.open(id);
    let gone = pack_key(&artefact, 3);
    let last = pack_key(&artefact, artefact.manifest().packs.len() - 1);
    std::fs::remove_file(repo.path(&gone)).unwrap();
    repo.flip(&last);
    let target = TempDir::new().unwrap();
    let report = restore(&repo, id, &Selection::all(), target.path(), FilesOptions::default());
    assert!(report.lost >= 3 && report.lost < 10, "{report:?}");
    let lost: Vec<&str> = report
        .problems
        .iter()
        .filter(|p| p.lost)
        .map(|p| p.path.as_str())
        .collect();
    assert!(lost.contains(&"sparse"), "{lost:?}");
    for problem in &report.problems {
        assert!(
            [&gone, &last].contains(&problem.object.as_ref().unwrap()),
            "{problem:?}"
        );
    }
    for spec in specs.iter().filter(|spec| spec.kind == EntryKind::File) {
        let name = String::from_utf8(spec.path.clone()).unwrap();
        let path = target.path().join(&name);
        if lost.contains(&name.as_str()) {
            assert!(!path.exists(), "{name}: a part must not pass for the whole");
        } else {
            assert!(fs::read(&path).unwrap() == spec.data, "{name}");
        }
    }
}

#[test]
fn overwriting_keeps_the_old_file_until_the_new_one_is_whole() {
    let repo = Repo::new();
    let specs = [
        Spec::dir("."),
        Spec::file("lost", noise(20_000, 1)),
        Spec::link(EntryKind::Hardlink, "other", "lost"),
    ];
    let id = tree(&repo, &specs);
    let artefact = repo.open(id);
    fs::remove_file(repo.path(&pack_key(&artefact, artefact.manifest().packs.len() - 1))).unwrap();
    let target = TempDir::new().unwrap();
    for name in ["lost", "other"] {
        fs::write(target.path().join(name), name).unwrap();
    }
    let options = FilesOptions {
        overwrite: true,
        ..FilesOptions::default()
    };
    let report = restore(&repo, id, &Selection::all(), target.path(), options);
    assert!(report.lost >= 1, "{report:?}");
    assert_eq!(fs::read(target.path().join("lost")).unwrap(), b"lost");
    assert_eq!(fs::read(target.path().join("other")).unwrap(), b"other");
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 2, "no part stays");
}

#[test]
fn hard_links_lead_to_what_was_restored_and_to_nothing_else() {
    let repo = Repo::new();
    let hard = |path: &str, to: &str| Spec::link(EntryKind::Hardlink, path, to);
    let specs = [
        Spec::dir("."),
        Spec::file("a", b"new"),
        Spec::dir("dir"),
        hard("good", "a"),
        hard("of-a-link", "good"),
        hard("to-a-directory", "dir"),
        hard("to-itself", "to-itself"),
        hard("to-nothing", "old"),
    ];
    let id = tree(&repo, &specs);
    let target = TempDir::new().unwrap();
    for name in ["a", "old", "to-itself", "to-nothing"] {
        fs::write(target.path().join(name), "old").unwrap();
    }
    let options = FilesOptions {
        overwrite: true,
        ..FilesOptions::default()
    };
    let report = restore(&repo, id, &Selection::all(), target.path(), options);
    let lost: Vec<&str> = report.problems.iter().map(|p| p.path.as_str()).collect();
    assert_eq!(lost, ["to-a-directory", "to-itself", "to-nothing"]);
    assert!(
        report
            .problems
            .iter()
            .all(|p| p.lost && p.problem.contains("was not restored"))
    );
    let meta = |name: &str| fs::metadata(target.path().join(name)).unwrap();
    for name in ["good", "of-a-link"] {
        assert_eq!(meta(name).ino(), meta("a").ino());
    }
    for name in ["old", "to-itself", "to-nothing"] {
        assert_eq!(fs::read(target.path().join(name)).unwrap(), b"old");
        assert_eq!(meta(name).nlink(), 1);
    }
}

#[test]
fn overwriting_twice_leaves_the_same_and_no_parts() {
    let repo = Repo::new();
    let id = tree(&repo, &everything());
    let target = TempDir::new().unwrap();
    let options = FilesOptions {
        overwrite: true,
        ..FilesOptions::default()
    };
    for _ in 0..2 {
        let report = restore(&repo, id, &Selection::all(), target.path(), options);
        assert_eq!(report.problems, []);
        for spec in &everything() {
            same(target.path(), spec);
        }
        for dir in [".", "a", "b"] {
            for entry in fs::read_dir(target.path().join(dir)).unwrap() {
                let name = entry.unwrap().file_name();
                assert!(!name.to_string_lossy().starts_with(".holdfast-restore-"), "{name:?}");
            }
        }
    }
}

#[test]
fn directories_without_an_entry_are_open_to_all_and_those_there_keep_their_modes() {
    let repo = Repo::new();
    let id = tree(
        &repo,
        &[Spec::file("etc/made/file", b"x"), Spec::file("srv/file", b"x")],
    );
    let target = TempDir::new().unwrap();
    fs::create_dir(target.path().join("srv")).unwrap();
    fs::set_permissions(target.path().join("srv"), fs::Permissions::from_mode(0o710)).unwrap();
    let options = FilesOptions {
        overwrite: true,
        ..FilesOptions::default()
    };
    let report = restore(&repo, id, &Selection::all(), target.path(), options);
    assert_eq!(report.problems, []);
    for (dir, mode) in [("etc", 0o755), ("etc/made", 0o755), ("srv", 0o710)] {
        let meta = fs::metadata(target.path().join(dir)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, mode, "{dir}");
    }
}

#[test]
fn without_owners_no_rights_are_lent() {
    let repo = Repo::new();
    let id = tree(&repo, &everything());
    let target = TempDir::new().unwrap();
    let options = FilesOptions {
        owners: false,
        ..FilesOptions::default()
    };
    restore(&repo, id, &Selection::all(), target.path(), options);
    let meta = fs::metadata(target.path().join("a/setuid")).unwrap();
    assert_eq!(
        (meta.mode() & 0o7777, meta.uid()),
        (0o755, rustix::process::geteuid().as_raw())
    );
}

#[test]
fn deep_trees_and_long_names() {
    let repo = Repo::new();
    let mut specs = vec![Spec::dir(".")];
    let mut path = Vec::new();
    for _ in 0..1500 {
        path.extend_from_slice(b"dir/");
        specs.push(Spec::dir(&path[..path.len() - 1]));
    }
    path.extend_from_slice(&[b'x'; 255]);
    specs.push(Spec::file(&path, b"bottom"));
    let id = tree(&repo, &specs);
    let target = TempDir::new().unwrap();
    let report = restore(&repo, id, &Selection::all(), target.path(), FilesOptions::default());
    assert_eq!(report.problems, []);
    let artefact = repo.open(id);
    let differences = compare_files(
        artefact.origin(),
        target.path(),
        Limits::default(),
        &Progress::default(),
    )
    .unwrap();
    assert_eq!(differences, []);
}

/// Run by hand, in a release build: `cargo test --release -p holdfast-restore many_small -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn many_small_files() {
    let repo = Repo::new();
    let mut draft = Draft::new(&repo, 16 << 20, 1 << 20);
    draft.add(&Spec::dir("."));
    let count: u64 = std::env::var("FILES").map_or(100_000, |count| count.parse().unwrap());
    for n in 0..count {
        if n % 100 == 0 {
            draft.add(&Spec::dir(format!("d{:04}", n / 100)));
        }
        let half = noise(10_000, n);
        draft.add(&Spec::file(
            format!("d{:04}/f{n:06}", n / 100),
            [&half[..], &vec![7; 30_000]].concat(),
        ));
    }
    let stream = std::mem::take(&mut draft.stream);
    let id = draft.close_tar(ArtefactKind::Directory, "many");
    let target = TempDir::new().unwrap();
    let start = Instant::now();
    let report = restore(&repo, id, &Selection::all(), target.path(), FilesOptions::default());
    println!("restored {:?} in {:?}", report.selected, start.elapsed());
    let other = TempDir::new().unwrap();
    fs::write(other.path().join("tar"), &stream).unwrap();
    let start = Instant::now();
    let status = std::process::Command::new("tar")
        .args(["-xf", "tar"])
        .current_dir(other.path())
        .status()
        .unwrap();
    println!("tar x, plain: {:?} {status}", start.elapsed());
}
