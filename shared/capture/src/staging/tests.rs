#![allow(clippy::unwrap_used)]
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use holdfast_fault::{Retry, Retryable as _};
use holdfast_format::{
    Artefact, ArtefactKind, Captured, Content, ContentsReader, ContentsRef, Digest, PackId, PackRef, Warnings,
};

use super::*;

const ARTEFACT: ArtefactId = ArtefactId::from_bytes([1; 16]);
const FOREVER: Wait<'static> = Wait {
    stop: &|| false,
    deadline: None,
};

fn run() -> RunId {
    RunId::new(1_000, [1; 10])
}

fn pack(n: u8) -> PackId {
    PackId::from_bytes([n; 32])
}

fn receipt(plain: u32) -> Receipt {
    Receipt {
        size: 10,
        sha256: Digest::from_bytes([9; 32]),
        plain,
    }
}

fn open(max_bytes: u64) -> (tempfile::TempDir, Staging) {
    let dir = tempfile::tempdir().unwrap();
    let staging = Staging::open(&dir.path().join("staging"), max_bytes).unwrap();
    (dir, staging)
}

/// Waits for something that another thread brings about.
fn until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(20), "it did not come about");
        std::thread::yield_now();
    }
}

fn read(attempt: &Attempt, id: PackId) -> Option<Vec<u8>> {
    let mut bytes = b"of another pack".to_vec();
    attempt.read_pack_into(id, &mut bytes).unwrap().then_some(bytes)
}

#[test]
fn packs_become_receipts() {
    let (_dir, staging) = open(1 << 20);
    let attempt = staging.begin(run(), ARTEFACT).unwrap();
    attempt.put_pack(pack(1), b"one", &FOREVER).unwrap();
    attempt.put_pack(pack(2), b"second", &FOREVER).unwrap();
    // The encryptor opens the same folder on its own.
    let other = Staging::open(staging.dir(), 1 << 20).unwrap();
    let seen = other.latest(run(), ARTEFACT).unwrap().unwrap();
    assert_eq!(seen.number(), 1);
    assert_eq!(seen.unsealed().unwrap(), [pack(1), pack(2)]);
    assert_eq!(other.usage().unwrap(), 9);
    assert_eq!(read(&seen, pack(2)).unwrap(), b"second");
    seen.put_receipt(pack(2), &receipt(6)).unwrap();
    assert_eq!(attempt.receipt(pack(2)).unwrap(), Some(receipt(6)));
    assert_eq!(attempt.unsealed().unwrap(), [pack(1)]);
    assert_eq!(read(&seen, pack(2)), None);
    assert_eq!(staging.usage().unwrap(), 3);
    // A retried pack that is sealed already is not staged again.
    attempt.put_pack(pack(2), b"second", &FOREVER).unwrap();
    assert_eq!(read(&seen, pack(2)), None);
    assert_eq!(
        attempt.receipts().unwrap(),
        std::collections::HashMap::from([(pack(2), receipt(6))])
    );
}

#[test]
fn a_receipt_counts_even_if_its_writer_died_before_it_removed_the_pack() {
    let (_dir, staging) = open(1 << 20);
    let attempt = staging.begin(run(), ARTEFACT).unwrap();
    attempt.put_pack(pack(1), b"one", &FOREVER).unwrap();
    let path = staging.home(run(), ARTEFACT).join("1");
    let receipt = path.join("receipts").join(format!("{}.receipt", pack(1)));
    fs::write(&receipt, serde_json::to_vec(&self::receipt(3)).unwrap()).unwrap();
    assert!(attempt.unsealed().unwrap().is_empty());
    fs::write(&receipt, b"{").unwrap();
    assert!(matches!(attempt.receipt(pack(1)), Err(StagingError::Malformed { .. })));
}

#[test]
fn a_newer_attempt_voids_the_older_one() {
    let (_dir, staging) = open(1 << 20);
    let first = staging.begin(run(), ARTEFACT).unwrap();
    let mut contents = first.contents().unwrap();
    first.put_pack(pack(1), b"one", &FOREVER).unwrap();
    let second = staging.begin(run(), ARTEFACT).unwrap();
    assert_eq!((first.number(), second.number()), (1, 2));
    let error = first.put_pack(pack(2), b"two", &FOREVER).unwrap_err();
    assert!(matches!(error, StagingError::Superseded { attempt: 1, .. }));
    assert_eq!(error.retry(), Retry::Superseded);
    assert!(matches!(
        first.put_draft(&draft(vec![])),
        Err(StagingError::Superseded { .. })
    ));
    assert!(matches!(
        first.put_receipt(pack(1), &receipt(3)),
        Err(StagingError::Superseded { .. })
    ));
    contents.write(&Content::Table("t".to_owned(), 1)).unwrap();
    let (file, _) = contents.finish(vec![]).unwrap();
    assert!(file.finish().is_err());
    assert_eq!(staging.usage().unwrap(), 0);
    assert!(staging.attempt(run(), ARTEFACT, 1).unwrap().is_none());

    // Numbers begin again after all is gone; the folder does not.
    second.discard().unwrap();
    assert!(staging.list().unwrap().is_empty());
    assert!(!staging.dir().join(run().to_string()).exists());
    let third = staging.begin(run(), ARTEFACT).unwrap();
    assert_eq!(third.number(), 1);
    assert!(matches!(
        first.put_pack(pack(1), b"one", &FOREVER),
        Err(StagingError::Superseded { .. })
    ));
    first.discard().unwrap();
    assert!(third.is_current(), "who was superseded removes nothing");
}

#[test]
fn of_attempts_that_begin_at_once_one_lives() {
    let (_dir, staging) = open(1 << 20);
    for _ in 0..20 {
        let attempts: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| staging.begin(run(), ARTEFACT))).collect();
            workers.into_iter().map(|w| w.join().unwrap()).collect()
        });
        let alive: Vec<_> = attempts.iter().flatten().filter(|a| a.is_current()).collect();
        assert_eq!(alive.len(), 1);
        let latest = staging.latest(run(), ARTEFACT).unwrap().unwrap();
        assert_eq!(latest.number(), alive[0].number());
        assert!(attempts.iter().all(|a| !matches!(a, Err(StagingError::Io { .. }))));
    }
}

#[test]
fn a_full_folder_makes_captures_wait_for_the_encryptor() {
    const MAX: u64 = 100_000;
    let (_dir, staging) = open(MAX);
    let most = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let capture = |n: u8| {
        let artefact = ArtefactId::from_bytes([n; 16]);
        let attempt = staging.begin(run(), artefact).unwrap();
        for i in 0..15 {
            attempt.put_pack(pack(i), &[n; 40_000], &FOREVER).unwrap();
        }
        attempt
    };
    let seal = || {
        // Its own view of the folder, as if it were another process.
        let staging = Staging::open(staging.dir(), MAX).unwrap();
        while !done.load(Ordering::Relaxed) {
            most.fetch_max(staging.usage().unwrap(), Ordering::Relaxed);
            for staged in staging.list().unwrap() {
                let Some(attempt) = staging.latest(staged.run, staged.artefact).unwrap() else {
                    continue;
                };
                for id in attempt.unsealed().unwrap() {
                    if read(&attempt, id).is_some() {
                        attempt.put_receipt(id, &receipt(40_000)).unwrap();
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(seal);
        let captures: Vec<_> = (1..4).map(|n| scope.spawn(move || capture(n))).collect();
        for capture in captures {
            let attempt = capture.join().unwrap();
            until(|| attempt.unsealed().unwrap().is_empty());
            assert_eq!(attempt.receipts().unwrap().len(), 15);
        }
        done.store(true, Ordering::Relaxed);
    });
    let most = most.into_inner();
    // One pack for each capture that has none waiting may go beyond the bound.
    assert!(most <= MAX + 3 * 40_000, "{most}");
}

#[test]
fn who_has_nothing_waiting_may_always_stage_one() {
    let (_dir, staging) = open(1000);
    let other = ArtefactId::from_bytes([2; 16]);
    let last = ArtefactId::from_bytes([3; 16]);
    let full = staging.begin(run(), ARTEFACT).unwrap();
    full.put_pack(pack(1), &[1; 900], &FOREVER).unwrap();
    let next = staging.begin(run(), other).unwrap();
    next.put_pack(pack(2), &[2; 5000], &FOREVER).unwrap();

    let no_time = Wait {
        stop: &|| false,
        deadline: Some(Instant::now()),
    };
    let refused = next.put_pack(pack(3), &[3; 100], &no_time).unwrap_err();
    assert!(matches!(
        refused,
        StagingError::NoRoom {
            staged: 5900,
            max_bytes: 1000
        }
    ));
    let stop = Wait {
        stop: &|| true,
        deadline: None,
    };
    assert!(matches!(
        next.put_pack(pack(3), &[3; 100], &stop),
        Err(StagingError::Stopped)
    ));
    // A restart finds what is there.
    let again = Staging::open(staging.dir(), 1000).unwrap();
    assert_eq!(again.usage().unwrap(), 5900);
    let attempt = again.begin(run(), last).unwrap();
    attempt.put_pack(pack(4), b"x", &no_time).unwrap();
    next.put_receipt(pack(2), &receipt(5000)).unwrap();
    next.put_pack(pack(3), &[3; 1000], &no_time).unwrap();
}

#[test]
fn a_waiting_capture_that_is_superseded_ends() {
    let (_dir, staging) = open(10);
    let first = staging.begin(run(), ARTEFACT).unwrap();
    first.put_pack(pack(1), &[1; 20], &FOREVER).unwrap();
    let waits = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waiting = &waits;
        let ended = scope.spawn(move || {
            let stop = || {
                waiting.store(true, Ordering::Relaxed);
                false
            };
            let wait = Wait {
                stop: &stop,
                deadline: None,
            };
            first.put_pack(pack(2), &[1; 20], &wait)
        });
        until(|| waits.load(Ordering::Relaxed));
        staging.begin(run(), ARTEFACT).unwrap();
        assert!(matches!(ended.join().unwrap(), Err(StagingError::Superseded { .. })));
    });
}

#[test]
fn contents_and_draft_complete_an_attempt() {
    let (_dir, staging) = open(1 << 20);
    let attempt = staging.begin(run(), ARTEFACT).unwrap();
    assert!(attempt.draft().unwrap().is_none());
    assert!(attempt.read_contents().unwrap().is_none());
    let mut contents = attempt.contents().unwrap();
    for i in 0..1000 {
        contents.write(&Content::Table(format!("public.t{i}"), i)).unwrap();
    }
    let (file, plain) = contents.finish(vec![]).unwrap();
    assert!(attempt.read_contents().unwrap().is_none(), "not before it is whole");
    file.finish().unwrap();
    let mut text = String::new();
    attempt
        .read_contents()
        .unwrap()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text.len() as u64, plain);
    assert_eq!(ContentsReader::new(text.as_bytes(), ARTEFACT).unwrap().count(), 1001);

    attempt.put_pack(pack(1), b"four", &FOREVER).unwrap();
    attempt.put_receipt(pack(1), &receipt(4)).unwrap();
    let draft = draft(vec![
        DraftPack {
            id: pack(1),
            plain: 4,
            used: 3,
            stored: None,
        },
        DraftPack {
            id: pack(2),
            plain: 100,
            used: 60,
            stored: Some(parent_pack()),
        },
    ]);
    attempt.put_draft(&draft).unwrap();
    assert!(staging.list().unwrap()[0].complete);
    let read = attempt.draft().unwrap().unwrap();
    assert_eq!(read, draft);
    let contents = ContentsRef {
        size: 1,
        sha256: Digest::from_bytes([0; 32]),
        plain,
    };
    let manifest = read.clone().manifest(&attempt.receipts().unwrap(), contents).unwrap();
    let sealed = (manifest.packs[0].size, manifest.packs[0].used);
    assert_eq!(
        (sealed, manifest.packs[1].size, manifest.packs[1].used),
        ((10, 3), 77, 60)
    );
    let none = std::collections::HashMap::new();
    assert_eq!(read.clone().manifest(&none, contents), Err(MissingReceipt(pack(1))));
    let other = std::collections::HashMap::from([(pack(1), receipt(5))]);
    assert_eq!(read.manifest(&other, contents), Err(MissingReceipt(pack(1))));
}

#[test]
fn what_is_staged_is_listed_swept_and_private() {
    let (_dir, staging) = open(1 << 20);
    let newer = RunId::new(2_000, [2; 10]);
    let attempt = staging.begin(run(), ARTEFACT).unwrap();
    attempt.put_pack(pack(1), b"one", &FOREVER).unwrap();
    staging.begin(newer, ARTEFACT).unwrap();
    fs::write(staging.dir().join("foreign"), b"not ours").unwrap();
    let list = staging.list().unwrap();
    let seen: Vec<_> = list
        .iter()
        .map(|s| (s.run, s.attempt, s.bytes, s.unsealed, s.complete))
        .collect();
    assert_eq!(seen, [(run(), 1, 3, 1, false), (newer, 1, 0, 0, false)]);

    let home = staging.home(run(), ARTEFACT).join("1");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&home.join(format!("{}.pack", pack(1)))), 0o600);
    for dir in [staging.dir(), &home, &home.join("receipts"), home.parent().unwrap()] {
        assert_eq!(mode(dir), 0o700);
    }

    assert!(
        staging
            .sweep(list[0].touched - Duration::from_secs(1))
            .unwrap()
            .is_empty()
    );
    staging.remove(newer).unwrap();
    staging.remove(newer).unwrap();
    let swept = staging.sweep(SystemTime::now() + Duration::from_secs(1)).unwrap();
    assert_eq!(swept, list[..1]);
    assert!(staging.list().unwrap().is_empty());
    assert!(matches!(
        attempt.put_pack(pack(1), b"one", &FOREVER),
        Err(StagingError::Superseded { .. })
    ));
    // What a removal left when it was killed goes at the next start.
    fs::create_dir(staging.dir().join(".gone-1-1")).unwrap();
    fs::write(staging.dir().join(".gone-1-1/x.pack"), b"left").unwrap();
    assert_eq!(staging.usage().unwrap(), 4);
    let staging = Staging::open(staging.dir(), 1).unwrap();
    assert_eq!(staging.usage().unwrap(), 0);
    assert!(staging.dir().join("foreign").exists());
}

#[test]
fn a_full_filesystem_says_what_to_do() {
    let full = io::Error::from(rustix::io::Errno::NOSPC);
    let error = StagingError::from_io("write", Path::new("/s/x.pack"), 7, full);
    assert!(error.to_string().contains("make the tmpfs larger"), "{error}");
    assert_eq!(error.retry(), Retry::Later);
}

fn parent_pack() -> PackRef {
    PackRef {
        id: pack(2),
        size: 77,
        sha256: Digest::from_bytes([5; 32]),
        plain: 100,
        used: 99,
    }
}

fn draft(packs: Vec<DraftPack>) -> Draft {
    let artefact = Artefact {
        id: ARTEFACT,
        kind: ArtefactKind::Database,
        name: "shop".to_owned(),
    };
    Draft {
        captured: Captured {
            parent: Some(ARTEFACT),
            ..Captured::sample(&artefact, run())
        },
        warnings: Warnings::default(),
        packs,
        contents_plain: 100,
    }
}
