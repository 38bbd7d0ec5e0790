//! Backups that were really captured and read back, and in which a byte flips: retention never makes that worse.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Bed, LOCAL, WEEK, expired, has_refused};
use holdfast_format::{ArtefactId, Class, ObjectKey, PackId, RunId};
use holdfast_tests::random::Random;

/// Makes a daily run whose artefact takes several packs, reads it back, and finds it good.
async fn proven(bed: &Bed, seed: u64) -> (RunId, ArtefactId) {
    let mut bytes = vec![0; 34 << 20];
    Random::new(seed).fill(&mut bytes);
    let run = bed.begin(Class::Daily, |_| {}).await;
    (run, bed.proven(run, &bytes).await)
}

async fn packs(bed: &Bed, artefact: ArtefactId) -> Vec<PackId> {
    let sealed = bed.repository.manifest(artefact).await.unwrap().unwrap();
    sealed.manifest.packs.iter().map(|pack| pack.id).collect()
}

/// Cleans until everything that may go is gone: runs, then after the grace their packs, then their tombstones.
async fn clean_past_all_graces(bed: &Bed) {
    for _ in 0..3 {
        let applied = bed.clean(LOCAL).await;
        assert!(applied.failed.is_none(), "{:?}", applied.failed);
        bed.pass(2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_backup_of_a_source_stays_with_all_its_packs_when_it_is_found_damaged() {
    let bed = Bed::new(WEEK).await;
    let (_, artefact) = proven(&bed, 1).await;
    let packs = packs(&bed, artefact).await;
    assert!(packs.len() >= 2, "{packs:?}");
    bed.damage(LOCAL, &ObjectKey::Pack(packs[0]));
    assert!(!bed.read_back(artefact).await);
    assert!(bed.has(LOCAL, &ObjectKey::Damaged(packs[0])));
    bed.pass(40);
    let before = bed.keys(LOCAL).await;
    clean_past_all_graces(&bed).await;
    assert_eq!(bed.keys(LOCAL).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_newest_one_lets_no_older_one_go_until_a_newer_one_is_proven() {
    let bed = Bed::new(WEEK).await;
    let (first, a) = proven(&bed, 1).await;
    bed.pass(1);
    let (second, b) = proven(&bed, 2).await;
    bed.pass(40);
    let of_first = packs(&bed, a).await;
    let of_second = packs(&bed, b).await;
    bed.damage(LOCAL, &ObjectKey::Pack(of_second[0]));
    assert!(!bed.read_back(b).await);
    let before = bed.keys(LOCAL).await;
    clean_past_all_graces(&bed).await;
    assert_eq!(bed.keys(LOCAL).await, before);
    let plan = bed.plan(LOCAL).await;
    assert!(has_refused(&plan, &first.to_string()) && has_refused(&plan, &second.to_string()));

    let (third, _) = proven(&bed, 3).await;
    bed.pass(1);
    assert_eq!(expired(&bed.plan(LOCAL).await), [first, second]);
    clean_past_all_graces(&bed).await;
    let left = bed.keys(LOCAL).await;
    for gone in of_first.into_iter().chain(of_second) {
        assert!(!bed.has(LOCAL, &ObjectKey::Pack(gone)), "{gone} of {left:?}");
    }
    assert!(bed.has(LOCAL, &ObjectKey::RestorePoint(third)));
    bed.assert_whole(LOCAL).await;
}
