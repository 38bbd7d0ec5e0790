use holdfast_fault::Retryable as _;
use holdfast_format::{ArtefactKind, Digest, Level, ObjectKey};
use holdfast_restore::{CheckError, CheckOptions, CheckReport, Previous, Progress, check};
use holdfast_sealing::SecretKeys;

use crate::common::archive::{Spec, everything, tree};
use crate::common::{Draft, Repo, Ring, noise, pack_key};

/// A key that no pack is sealed to.
const STRANGER: &str = "0123456789ABCDEF0123456789ABCDEF01234567";

fn run(repo: &Repo, id: holdfast_format::ArtefactId, level: Level) -> CheckReport {
    let options = CheckOptions::default();
    check(repo.open(id).origin(), level, options, &Progress::default()).unwrap()
}

#[test]
fn what_was_captured_is_good_at_every_level() {
    let repo = Repo::new();
    let id = tree(&repo, &everything());
    for level in [Level::Integrity, Level::Decrypt] {
        let report = run(&repo, id, level);
        assert_eq!(report.findings, []);
        assert!(report.is_good() && report.recipients_proven);
        let sealed: u64 = repo.open(id).manifest().packs.iter().map(|p| p.size).sum();
        assert_eq!(report.bytes_read, sealed, "each pack is read once");
    }
}

#[test]
fn every_damaged_object_is_named() {
    let repo = Repo::new();
    let id = tree(&repo, &[Spec::dir("."), Spec::file("x", noise(300_000, 3))]);
    let artefact = repo.open(id);
    let flipped = pack_key(&artefact, 0);
    let cut = pack_key(&artefact, 2);
    let gone = pack_key(&artefact, 3);
    repo.flip(&flipped);
    let bytes = std::fs::read(repo.path(&cut)).unwrap();
    crate::common::overwrite(&repo.path(&cut), &bytes[..100]);
    std::fs::remove_file(repo.path(&gone)).unwrap();
    for level in [Level::Integrity, Level::Decrypt] {
        let report = run(&repo, id, level);
        let mut expected = vec![flipped.clone(), cut.clone(), gone.clone()];
        expected.sort();
        let found: Vec<ObjectKey> = report.findings.iter().map(|f| f.object.clone()).collect();
        assert_eq!(found, expected);
        assert!(report.is_damaged() && !report.recipients_proven);
        let missing = report.findings.iter().find(|f| f.object == gone).unwrap();
        assert!(missing.problem.contains("missing"), "{}", missing.problem);
    }
}

#[test]
fn what_only_decrypting_shows_is_found() {
    let repo = Repo::new();
    let mut digest = Draft::new(&repo, 48 << 10, 10_000);
    digest.add(&Spec::dir("."));
    digest.adjust = |manifest| manifest.captured.stream.digest = Digest::from_bytes([7; 32]);
    let digest = digest.close_tar(ArtefactKind::Directory, "digest");
    assert!(run(&repo, digest, Level::Integrity).is_good());
    let report = run(&repo, digest, Level::Decrypt);
    assert_eq!(report.findings[0].object, ObjectKey::Contents(digest));

    // Headers that tell another story than the contents.
    let mut headers = Draft::new(&repo, 48 << 10, 10_000);
    let told = Spec::file("told", b"1234");
    let shown = Spec::file("shown", b"1234");
    headers.entry(told.entry(), &shown.header(), &told.stored());
    let headers = headers.close_tar(ArtefactKind::Directory, "headers");
    let report = run(&repo, headers, Level::Decrypt);
    assert!(report.findings[0].problem.contains("do not agree"), "{report:?}");

    // A chunk under an id that is not its own, as a bad producer may plant it.
    let mut chunk = Draft::new(&repo, 48 << 10, 10_000);
    let mut extents = chunk.data(b"planted");
    extents[0].id = Some(repo.key().chunk_id(b"honest"));
    chunk.line(holdfast_format::Content::Data(extents));
    let chunk = chunk.store(ArtefactKind::Globals, "chunk", Vec::new());
    assert!(run(&repo, chunk, Level::Integrity).is_good());
    let report = run(&repo, chunk, Level::Decrypt);
    assert!(report.findings[0].problem.contains("chunk id"), "{report:?}");

    // Extents beyond their packs show at once.
    let mut beyond = Draft::new(&repo, 48 << 10, 10_000);
    let mut extents = beyond.data(b"short");
    extents[0].length = 500;
    beyond.line(holdfast_format::Content::Data(extents));
    let beyond = beyond.store(ArtefactKind::Globals, "beyond", Vec::new());
    for level in [Level::Integrity, Level::Decrypt] {
        assert!(run(&repo, beyond, level).findings[0].problem.contains("reach beyond"));
    }
}

#[test]
fn without_the_key_nothing_is_called_damaged() {
    let repo = Repo::new();
    let id = tree(&repo, &[Spec::dir(".")]);
    let other = SecretKeys::from_bytes(Ring::new().backup.secret_armored.as_bytes(), None).unwrap();
    let artefact = repo.open_with(id, other);
    let report = check(
        artefact.origin(),
        Level::Decrypt,
        CheckOptions::default(),
        &Progress::default(),
    )
    .unwrap();
    assert!(!report.is_good() && !report.is_damaged());
    assert!(
        report.findings[0].problem.contains("needs the secret key"),
        "{report:?}"
    );
}

#[test]
fn damage_is_told_among_packs_that_only_could_not_be_judged() {
    let repo = Repo::new();
    let id = tree(&repo, &[Spec::dir("."), Spec::file("x", noise(300_000, 3))]);
    let other = SecretKeys::from_bytes(Ring::new().backup.secret_armored.as_bytes(), None).unwrap();
    let artefact = repo.open_with(id, other);
    let flipped = pack_key(&artefact, 2);
    repo.flip(&flipped);
    let options = CheckOptions::default();
    let report = check(artefact.origin(), Level::Decrypt, options, &Progress::default()).unwrap();
    assert!(report.is_damaged() && !report.is_good());
    assert_eq!(
        (report.damaged, report.total),
        (1, artefact.manifest().packs.len() as u64)
    );
    let damaged: Vec<_> = report.findings.iter().filter(|found| found.damage).collect();
    assert_eq!(damaged.len(), 1);
    assert_eq!(damaged[0].object, flipped);
}

#[test]
fn a_pack_that_a_reader_of_the_manifest_cannot_open_and_a_forked_chain_are_found() {
    let repo = Repo::new();
    let mut draft = Draft::new(&repo, 48 << 10, 10_000);
    draft.add(&Spec::dir("."));
    draft.adjust = |manifest| {
        manifest.captured.readers.push(STRANGER.to_owned());
        manifest.captured.previous = Some(holdfast_format::Predecessor {
            artefact: holdfast_format::ArtefactId::from_bytes([9; 16]),
            sha256: Digest::from_bytes([1; 32]),
        });
    };
    let id = draft.close_tar(ArtefactKind::Directory, "x");
    let options = CheckOptions {
        previous: Previous::Found(Digest::from_bytes([2; 32])),
        ..CheckOptions::default()
    };
    let artefact = repo.open(id);
    let report = check(artefact.origin(), Level::Integrity, options, &Progress::default()).unwrap();
    let problems: String = report.findings.iter().map(|f| f.problem.clone()).collect();
    assert!(
        problems.contains(STRANGER)
            && !problems.contains(&repo.recipients.readers()[0])
            && problems.contains("rolled back"),
        "{problems}"
    );
    assert!(!report.recipients_proven);
}

#[test]
fn a_stopped_check_gives_no_result() {
    let repo = Repo::new();
    let id = tree(&repo, &everything());
    let progress = Progress::default();
    progress.stop();
    let error = check(
        repo.open(id).origin(),
        Level::Decrypt,
        CheckOptions::default(),
        &progress,
    )
    .unwrap_err();
    assert!(matches!(error, CheckError::Stopped) && error.retry().is_later());
}
