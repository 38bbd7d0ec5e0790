//! A full disk. It is a small file system in a mount namespace of a separate process, where no other process sees it.
//! That needs root, or the right to mount.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::Write as _;
use std::process::Command;

use common::{Bed, LOCAL, WEEK, expired};
use holdfast_fault::Retryable as _;
use holdfast_format::ObjectKey;
use holdfast_janitor::{Action, ApplyError};

const INNER: &str = "HOLDFAST_TEST_SMALL_DISK";

#[test]
fn space_can_be_freed_on_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=2m tmpfs "$1" && TMPDIR=$1 exec "$2" --exact within_a_small_disk"#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
    command
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .env(INNER, "1");
    let output = command.output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Does nothing by itself. The test above runs it in a process of its own.
#[tokio::test]
async fn within_a_small_disk() {
    if std::env::var_os(INNER).is_none() {
        return;
    }
    let bed = Bed::new(WEEK).await;
    let (first, _) = bed.whole(&[1, 2, 3, 4], &[]).await;
    bed.pass(9);
    let (second, _) = bed.whole(&[5], &[]).await;
    fill(&bed);
    let full = bed.clean(LOCAL).await;
    assert!(
        full.done.is_empty(),
        "there is nothing yet that may go without a tombstone"
    );
    assert!(
        matches!(&full.failed, Some(error @ ApplyError::Step { .. }) if !error.retry().is_later()),
        "{:?}",
        full.failed
    );
    empty(&bed);
    assert_eq!(expired(&bed.cleaned(LOCAL).await), [first]);

    bed.pass(9);
    bed.whole(&[6], &[]).await;
    fill(&bed);
    let cleaned = bed.clean(LOCAL).await;
    assert!(cleaned.failed.is_none(), "{:?}", cleaned.failed);
    assert_eq!(expired(&cleaned.plan), [second]);
    let position = |wanted: &dyn Fn(&Action) -> bool| cleaned.done.iter().position(wanted).unwrap();
    let pack =
        position(&|step| matches!(step, Action::Delete { object, .. } if matches!(object.key, ObjectKey::Pack(_))));
    let tombstone = position(&|step| matches!(step, Action::WriteTombstone { .. }));
    assert!(pack < tombstone, "the packs made room for it");
    assert_eq!(cleaned.done.len(), cleaned.plan.steps().len());
    bed.assert_whole(LOCAL).await;
}

fn fill(bed: &Bed) {
    let mut file = std::fs::File::create(bed.dir.path().join("filler")).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
}

fn empty(bed: &Bed) {
    std::fs::remove_file(bed.dir.path().join("filler")).unwrap();
}
