//! The janitor dies after any of its steps: nothing that stays is harmed, and the next janitor reaches the same end.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::Bed;
use holdfast_fault::Retryable as _;
use holdfast_format::{Class, Damaged, ObjectKey, PackId};
use holdfast_janitor::{Action, ApplyError};
use holdfast_telemetry::clock::Clock as _;
use holdfast_telemetry::failpoint::{self, Action as Fault};

const LOCAL: &str = "local";
const RULES: &str = "[retention.local]\ndaily = \"7d\"\nmonthly = \"30d\"\n[janitor]\nmax_delete_percent = 100";

/// Lets one test run at a time, since failpoints belong to the whole process.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Makes a place whose next cleaning has steps of every kind.
async fn busy() -> Bed {
    let bed = Bed::new(RULES).await;
    bed.whole(&[1, 2], &[]).await;
    let (_, torn) = bed.whole(&[8, 9], &[]).await;
    bed.pass(1);
    let monthly = bed.begin(Class::Monthly, |_| {}).await;
    bed.seal(monthly, &[3, 4]).await;
    bed.record(monthly, false).await;
    bed.pass(9);
    bed.whole(&[5], &[]).await;
    // Gives up the first two, and dies when the second is half deleted.
    let faulty = failpoint::set_nth("janitor.mid_apply", Fault::Error, 3);
    assert!(bed.clean(LOCAL).await.failed.is_some());
    drop(faulty);
    bed.cleaned(LOCAL).await;
    bed.pass(2);
    bed.whole(&[1, 6], &[]).await;
    bed.pass(20);
    // Dies between the tombstone and the deletions.
    let faulty = failpoint::set("janitor.after_tombstone", Fault::Error);
    assert!(matches!(bed.clean(LOCAL).await.failed, Some(ApplyError::Injected(_))));
    drop(faulty);
    bed.pass(2);
    let pack = PackId::from_bytes([9; 32]);
    let at = bed.clock.now();
    let problem = "torn".to_owned();
    bed.write(
        ObjectKey::Damaged(pack),
        &Damaged {
            pack,
            at,
            artefact: torn,
            problem,
        },
    )
    .await;
    bed.whole(&[7, 6, 2], &[]).await;
    bed.assert_whole(LOCAL).await;
    bed
}

#[tokio::test]
async fn it_may_die_after_every_step() {
    let _alone = ALONE.lock().await;
    let bed = busy().await;
    let untouched = bed.copy().await;
    let whole = untouched.clean(LOCAL).await;
    assert!(whole.failed.is_none(), "{:?}", whole.failed);
    untouched.assert_whole(LOCAL).await;
    let steps = whole.done.len();
    let plan = &whole.plan;
    let kinds = [
        plan.spare.len(),
        plan.finish.len(),
        plan.expire.len(),
        plan.delete_packs.len(),
        plan.forget.len(),
    ];
    assert!(kinds.iter().all(|kind| *kind > 0), "{}", plan.lines().join("\n"));
    untouched.pass(3);
    untouched.cleaned(LOCAL).await;
    let want = untouched.keys(LOCAL).await;

    for nth in 1..=steps {
        let bed = bed.copy().await;
        let fault = failpoint::set_nth("janitor.mid_apply", Fault::Error, nth as u64);
        let killed = bed.clean(LOCAL).await;
        drop(fault);
        assert!(
            matches!(killed.failed, Some(ApplyError::Injected(_))),
            "step {nth}: {:?}",
            killed.failed
        );
        assert_eq!(killed.done.len(), nth);
        bed.assert_whole(LOCAL).await;
        let resumed = bed.cleaned(LOCAL).await;
        assert!(!resumed.blocked, "step {nth}: {:?}", resumed.refused);
        bed.pass(3);
        bed.cleaned(LOCAL).await;
        assert_eq!(bed.keys(LOCAL).await, want, "killed after step {nth}");
    }
}

#[tokio::test]
async fn what_changed_since_the_plan_stops_it() {
    let _alone = ALONE.lock().await;
    let bed = busy().await;
    let plan = bed.plan(LOCAL).await;
    let (pack, _) = plan.delete_packs[0];
    let run = plan.expire[0].run.run;
    let reached = bed.dir.path().join("go");
    let pause = failpoint::set_nth("janitor.mid_apply", Fault::Pause(reached.clone()), 1);
    let places = bed.places();
    let local = common::name(LOCAL);
    let cleaning = holdfast_janitor::apply_place(&places, &local, false, &|| false);
    let disturbing = async {
        let mut mark = reached.clone().into_os_string();
        mark.push(".reached");
        let mark = std::path::PathBuf::from(mark);
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        while !mark.exists() {
            assert!(tokio::time::Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
        // While the janitor is at its first step, a writer stores the pack again, and somebody holds the run.
        let file = std::fs::File::options()
            .append(true)
            .open(bed.file(LOCAL, &ObjectKey::Pack(pack)))
            .unwrap();
        file.set_modified(bed.clock.now().into()).unwrap();
        let at = bed.clock.now();
        let hold = holdfast_format::Hold {
            run,
            until: None,
            at,
            reason: None,
        };
        bed.write(ObjectKey::Hold(run), &hold).await;
        std::fs::write(&reached, "").unwrap();
    };
    let (applied, ()) = tokio::join!(cleaning, disturbing);
    drop(pause);
    let applied = applied.unwrap();
    assert!(
        matches!(&applied.failed, Some(error @ ApplyError::Changed { .. }) if error.retry().is_later()),
        "{:?}",
        applied.failed
    );
    assert!(
        !applied
            .done
            .iter()
            .any(|step| matches!(step, Action::WriteTombstone { run: r, .. } if *r == run))
    );
    let plan = bed.cleaned(LOCAL).await;
    assert!(!plan.expire.iter().any(|removal| removal.run.run == run));
    assert!(bed.has(LOCAL, &ObjectKey::Pack(pack)), "its condemnation is lifted");
    assert!(plan.spare.iter().any(|(spared, _)| *spared == pack));
}
