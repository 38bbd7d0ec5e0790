//! Uploads: unpacked by GNU tar in the place of a Docker engine.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use holdfast_fault::Retryable as _;
use holdfast_format::{ArtefactId, ArtefactKind, EntryKind, ObjectKey};
use holdfast_restore::{Limits, Progress, Selection, StreamError, Streamed, compare_files, write_upload};
use tempfile::TempDir;

use super::files::same;
use crate::common::archive::{Spec, everything, tree};
use crate::common::{Draft, Repo, noise, pack_key};

const PREFIX: &[u8] = b"holdfast/";

fn upload(
    repo: &Repo,
    id: ArtefactId,
    select: &Selection,
    prefix: &[u8],
) -> (Vec<u8>, Result<Streamed, StreamError>, Progress) {
    let mut out = Vec::new();
    let progress = Progress::default();
    let artefact = repo.open(id);
    let result = write_upload(
        artefact.origin(),
        select,
        prefix,
        Limits::default(),
        &progress,
        &mut out,
    );
    (out, result, progress)
}

fn upload_all(repo: &Repo, id: ArtefactId) -> Vec<u8> {
    let (out, result, progress) = upload(repo, id, &Selection::all(), PREFIX);
    assert_eq!(result.unwrap().size, out.len() as u64);
    assert_eq!(progress.done(), repo.open(id).manifest().captured.stream.size);
    out
}

/// Unpacks an archive. Its names lead into `holdfast`.
fn unpack(archive: &[u8]) -> TempDir {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("archive.tar");
    let out = dir.path().join("out");
    fs::write(&file, archive).unwrap();
    fs::create_dir(&out).unwrap();
    let output = Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--same-owner", "-xpf"])
        .arg(&file)
        .arg("-C")
        .arg(&out)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
    dir
}

/// Names as GNU tar reads them.
fn names(archive: &[u8]) -> Vec<String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(archive).unwrap();
    let output = Command::new("tar")
        .args(["--quoting-style=escape", "-tf"])
        .arg(file.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(ToOwned::to_owned).collect()
}

/// One of everything, and names that need records.
fn specs() -> Vec<Spec> {
    let mut specs = everything();
    let long = "n".repeat(200);
    let deep = format!("{long}/{long}");
    specs.extend([
        Spec::dir(&long).mode(0o700),
        Spec::dir(&deep).xattr("user.deep", b"\n\0="),
        Spec::file(format!("{deep}/f"), b"long"),
        Spec::link(EntryKind::Hardlink, format!("{deep}/g"), format!("{deep}/f")),
        Spec::link(EntryKind::Symlink, format!("{deep}/h"), "t".repeat(300)),
        Spec::dir(b"\xc3\xa9"),
        Spec::file(b"\xc3\xa9/\xfe", b"not UTF-8"),
        Spec::link(EntryKind::Hardlink, b"\xff", b"\xc3\xa9/\xfe"),
    ]);
    specs.sort_by(|a, b| a.entry().path.compare(&b.entry().path));
    specs
}

#[test]
fn everything_is_unpacked_below_the_prefix() {
    let repo = Repo::new();
    let specs = specs();
    let id = tree(&repo, &specs);
    let archive = upload_all(&repo, id);
    assert!(names(&archive).iter().all(|name| name.starts_with("holdfast/")));
    let dir = unpack(&archive);
    let out = dir.path().join("out");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
    let root = out.join("holdfast");
    for spec in &specs {
        same(&root, spec);
    }
    let inode = |path: &Path| fs::symlink_metadata(root.join(path)).unwrap().ino();
    for spec in specs.iter().filter(|spec| spec.kind == EntryKind::Hardlink) {
        let entry = spec.entry();
        let path = |path: &holdfast_format::Path| {
            use std::os::unix::ffi::OsStrExt;
            std::path::PathBuf::from(std::ffi::OsStr::from_bytes(&path.0))
        };
        assert_eq!(
            inode(&path(&entry.path)),
            inode(&path(&entry.link.unwrap())),
            "{}",
            entry.path.display()
        );
    }
    assert!(fs::metadata(root.join("sparse")).unwrap().blocks() * 512 < 100_000);
    // Nothing is there beside it, and nothing is another one.
    let artefact = repo.open(id);
    let found = compare_files(artefact.origin(), &root, Limits::default(), &Progress::default()).unwrap();
    assert_eq!(found, []);
}

#[test]
fn any_prefix_will_do() {
    let repo = Repo::new();
    let id = tree(&repo, &[Spec::dir("."), Spec::dir("a"), Spec::file("a/b", b"b")]);
    let long = format!("{}/", "p".repeat(150));
    for (prefix, root, below) in [
        ("", "./", ""),
        ("x", "x/", "x"),
        ("a/b/", "a/b/", "a/b/"),
        (&long, &long, &long),
    ] {
        let (out, result, _) = upload(&repo, id, &Selection::all(), prefix.as_bytes());
        result.unwrap();
        assert_eq!(
            names(&out),
            [root.to_owned(), format!("{below}a/"), format!("{below}a/b")]
        );
    }
}

#[test]
fn a_selected_link_to_what_is_not_selected_is_a_file() {
    let repo = Repo::new();
    let data = noise(30_000, 3);
    let id = tree(
        &repo,
        &[
            Spec::dir("."),
            Spec::dir("a"),
            Spec::file("a/first", &data).mode(0o640),
            Spec::dir("b").mode(0o711),
            Spec::file("b/other", b"other"),
            Spec::link(EntryKind::Hardlink, "b/second", "a/first"),
            Spec::link(EntryKind::Hardlink, "b/third", "a/first"),
        ],
    );
    let (out, result, _) = upload(&repo, id, &Selection::of(&["b"]), PREFIX);
    result.unwrap();
    let dir = unpack(&out);
    let root = dir.path().join("out/holdfast");
    assert!(!root.join("a").exists());
    assert!(fs::read(root.join("b/second")).unwrap() == data);
    let meta = |name: &str| fs::metadata(root.join(name)).unwrap();
    assert_eq!(meta("b/second").ino(), meta("b/third").ino());
    assert_eq!(
        (meta("b/second").mode() & 0o777, meta("b").mode() & 0o777),
        (0o640, 0o711)
    );
    let (_, result, _) = upload(&repo, id, &Selection::of(&["b", "c"]), PREFIX);
    assert_eq!(result.unwrap_err().to_string(), "the artefact holds nothing at c");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let repo = Repo::new();
    let file = |path: &str| Spec::file(path, b"evil");
    let hard = |path: &str, to: &str| Spec::link(EntryKind::Hardlink, path, to);
    let cases = [
        (vec![file("../evil")], "leads out"),
        (vec![file("/evil")], "absolute"),
        (vec![file("a//b")], "empty parts"),
        (vec![file(".")], "root is no directory"),
        (vec![hard("a", "../evil")], "leads out"),
        (vec![hard("a", "/evil")], "leads out"),
        (vec![hard("b", "a")], "does not come before"),
        (vec![hard("b", "b")], "does not come before"),
        (vec![hard("a", "b"), file("b")], "does not come before"),
        (vec![Spec::dir("a"), hard("b", "a")], "does not come before"),
        (vec![file("b"), file("a")], "out of order"),
        (
            vec![file("a"), Spec::link(EntryKind::Symlink, "a", "/etc")],
            "out of order",
        ),
        (
            vec![Spec::link(EntryKind::Symlink, "a", "/etc"), file("a/b")],
            "no directory",
        ),
    ];
    for (specs, word) in cases {
        let specs = [&[Spec::dir(".")][..], &specs].concat();
        let id = tree(&repo, &specs);
        let (out, result, _) = upload(&repo, id, &Selection::all(), PREFIX);
        let error = result.unwrap_err();
        assert!(error.to_string().contains(word), "{word}: {error}");
        assert!(matches!(error, StreamError::Entry { .. }));
        assert_eq!(error.damaged(), Some(&ObjectKey::Contents(id)));
        assert!(!out.windows(4).any(|w| w == b"evil"), "{word}");
    }
    let mut draft = Draft::new(&repo, 48 << 10, 10_000);
    let told = Spec::file("a", b"");
    let made = Spec::file("b", b"");
    draft.entry(told.entry(), &made.header(), b"");
    let id = draft.close_tar(ArtefactKind::Directory, "uploads");
    let (_, result, _) = upload(&repo, id, &Selection::all(), PREFIX);
    let error = result.unwrap_err();
    assert!(error.to_string().contains("do not agree with the contents"), "{error}");
    assert_eq!(error.damaged(), Some(&pack_key(&repo.open(id), 0)));
}

#[test]
fn damage_is_named_and_the_end_is_held_back() {
    let repo = Repo::new();
    let id = tree(&repo, &everything());
    let whole = upload_all(&repo, id);
    let artefact = repo.open(id);
    let last = pack_key(&artefact, artefact.manifest().packs.len() - 1);
    repo.flip(&last);
    let (out, result, _) = upload(&repo, id, &Selection::all(), PREFIX);
    assert_eq!(result.unwrap_err().damaged(), Some(&last));
    assert!(out.len() < whole.len() && whole.starts_with(&out));

    let mut draft = Draft::new(&repo, 48 << 10, 10_000);
    draft.add(&Spec::dir("."));
    draft.adjust = |manifest| manifest.captured.stream.digest = holdfast_format::Digest::from_bytes([7; 32]);
    let id = draft.close_tar(ArtefactKind::Directory, "uploads");
    let (out, result, _) = upload(&repo, id, &Selection::all(), PREFIX);
    assert!(matches!(result, Err(StreamError::Digest { .. })));
    assert!(
        out.iter().rev().take(512).any(|b| *b != 0),
        "without its closing blocks"
    );
}

#[test]
fn only_files_are_uploaded() {
    let repo = Repo::new();
    let mut draft = Draft::new(&repo, 30_000, 4_000);
    draft.dump(b"text");
    let id = draft.store(ArtefactKind::Globals, "globals", Vec::new());
    let (out, result, _) = upload(&repo, id, &Selection::all(), PREFIX);
    let error = result.unwrap_err();
    assert!(error.to_string().contains("not files"), "{error}");
    assert_eq!((out.len(), error.damaged(), error.retry().is_later()), (0, None, false));
}
