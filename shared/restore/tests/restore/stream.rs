use holdfast_fault::Retryable as _;
use holdfast_format::{ArtefactKind, ObjectKey};
use holdfast_restore::{Limits, PackFault, Progress, Selection, StreamError, Streamed, write_stream};
use holdfast_sealing::SecretKeys;

use crate::common::archive::{everything, tree};
use crate::common::{Draft, Repo, Ring, noise, pack_key};

fn read(repo: &Repo, id: holdfast_format::ArtefactId, limits: Limits) -> Result<(Vec<u8>, Streamed), StreamError> {
    let mut out = Vec::new();
    let artefact = repo.open(id);
    let written = write_stream(
        artefact.origin(),
        &Selection::all(),
        limits,
        &Progress::default(),
        &mut out,
    )?;
    Ok((out, written))
}

#[test]
fn a_stream_comes_back_byte_for_byte_however_little_memory_there_is() {
    let repo = Repo::new();
    let mut draft = Draft::new(&repo, 30_000, 4_000);
    let mut firsts = Vec::new();
    for seed in 0..20 {
        let extents = draft.data(&noise(25_000, seed));
        firsts.push(extents[0]);
        draft.line(holdfast_format::Content::Data(extents));
    }
    // Back and forth between all packs, as increments do.
    for _ in 0..3 {
        draft.again(&firsts);
    }
    let expected = draft.stream.clone();
    let id = draft.store(ArtefactKind::Globals, "globals", Vec::new());
    for (threads, cache) in [(1, 0), (1, 70_000), (4, 100_000), (2, 1 << 30)] {
        let (out, written) = read(&repo, id, Limits { threads, cache }).unwrap();
        assert_eq!(written.size, expected.len() as u64);
        assert!(out == expected, "{threads} threads, {cache} bytes");
    }
}

#[test]
fn a_selection_is_a_valid_tar() {
    let repo = Repo::new();
    let id = tree(&repo, &everything());
    let artefact = repo.open(id);
    let mut out = Vec::new();
    let select = Selection::of(&["a/exact", "b/c"]);
    write_stream(
        artefact.origin(),
        &select,
        Limits::default(),
        &Progress::default(),
        &mut out,
    )
    .unwrap();
    let mut archive = tar::Archive::new(&out[..]);
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names, ["./", "a/", "a/exact", "b/", "b/c/", "b/c/deep"]);
    let nothing = Selection::of(&["a/exact", "nowhere"]);
    let error = write_stream(
        artefact.origin(),
        &nothing,
        Limits::default(),
        &Progress::default(),
        &mut out,
    )
    .unwrap_err();
    assert_eq!(error.to_string(), "the artefact holds nothing at nowhere");
}

#[test]
fn damage_is_named_and_the_last_bytes_are_held_back() {
    let repo = Repo::new();
    let mut draft = Draft::new(&repo, 30_000, 4_000);
    draft.dump(&noise(100_000, 1));
    let id = draft.store(ArtefactKind::Globals, "globals", Vec::new());
    let artefact = repo.open(id);
    let last = pack_key(&artefact, artefact.manifest().packs.len() - 1);
    repo.flip(&last);
    let mut out = Vec::new();
    let mut run = || {
        let progress = Progress::default();
        out.clear();
        let error = write_stream(
            artefact.origin(),
            &Selection::all(),
            Limits::default(),
            &progress,
            &mut out,
        );
        (error.unwrap_err(), out.len())
    };
    let (error, written) = run();
    assert_eq!(error.damaged(), Some(&last));
    assert!(written > 0 && written < 100_000 && !error.retry().is_later());
    std::fs::remove_file(repo.path(&last)).unwrap();
    let (error, _) = run();
    assert!(
        matches!(&error, StreamError::Pack(e) if e.fault == PackFault::Missing),
        "{error}"
    );
    assert!(error.to_string().contains(&last.to_string()));
}

#[test]
fn a_stream_with_another_digest_is_never_given_out_whole() {
    let repo = Repo::new();
    let mut draft = Draft::new(&repo, 30_000, 4_000);
    draft.dump(&noise(10_000, 1));
    draft.adjust = |manifest| manifest.captured.stream.digest = holdfast_format::Digest::from_bytes([7; 32]);
    let id = draft.store(ArtefactKind::Globals, "globals", Vec::new());
    let artefact = repo.open(id);
    let mut out = Vec::new();
    let progress = Progress::default();
    let error = write_stream(
        artefact.origin(),
        &Selection::all(),
        Limits::default(),
        &progress,
        &mut out,
    )
    .unwrap_err();
    assert_eq!(error.damaged(), Some(&ObjectKey::Contents(id)));
    assert_eq!(out.len(), 8_000, "all but the last extent");
}

#[test]
fn a_missing_key_is_no_damage() {
    let repo = Repo::new();
    let mut draft = Draft::new(&repo, 30_000, 4_000);
    draft.dump(b"text");
    let id = draft.store(ArtefactKind::Globals, "globals", Vec::new());
    let other = SecretKeys::from_bytes(Ring::new().backup.secret_armored.as_bytes(), None).unwrap();
    let artefact = repo.open_with(id, other);
    let progress = Progress::default();
    let result = write_stream(
        artefact.origin(),
        &Selection::all(),
        Limits::default(),
        &progress,
        &mut Vec::new(),
    );
    let error = result.unwrap_err();
    assert!(
        matches!(&error, StreamError::Pack(e) if matches!(e.fault, PackFault::NoKey { .. })),
        "{error}"
    );
    assert_eq!(error.damaged(), None);
}
