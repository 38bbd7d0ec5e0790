#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;
use std::time::Instant;

use super::*;

#[test]
fn settings_are_read() {
    let set = parse(" a.b=abort@3; c=error;d = sleep:500ms ;e=pause:/tmp/x@y;f=pause:/tmp/z@2;").unwrap();
    let shown: Vec<_> = set
        .iter()
        .map(|(name, point)| (name.as_str(), point.action.clone(), point.nth))
        .collect();
    assert_eq!(
        shown,
        [
            ("a.b", Action::Abort, Some(3)),
            ("c", Action::Error, None),
            ("d", Action::Sleep(Duration::from_millis(500)), None),
            ("e", Action::Pause("/tmp/x@y".into()), None),
            ("f", Action::Pause("/tmp/z".into()), Some(2)),
        ]
    );
    assert!(parse("").unwrap().is_empty());
    for text in [
        "a",
        "a=",
        "=error",
        "a=fail",
        "a=error@0",
        "a=error@x",
        "a=sleep",
        "a=sleep:5",
        "a=pause:",
        "a=abort:1",
    ] {
        let error = parse(text).expect_err(text);
        assert!(
            error
                .to_string()
                .starts_with(&format!("`{text}` is not a fail point: write ")),
            "{error}"
        );
    }
}

#[test]
fn a_point_acts_until_its_guard_is_dropped() {
    assert_eq!(hit("test.guard"), Ok(()));
    let guard = set("test.guard", Action::Error);
    assert_eq!(
        hit("test.guard").unwrap_err().to_string(),
        "fail point test.guard was hit"
    );
    assert_eq!(hit("test.other"), Ok(()));
    let second = set_nth("test.guard", Action::Error, 2);
    drop(guard);
    let outcomes: Vec<bool> = (0..4).map(|_| hit("test.guard").is_err()).collect();
    assert_eq!(outcomes, [false, true, false, false]);
    drop(second);
    assert_eq!(hit("test.guard"), Ok(()));
    assert_eq!((hits("test.guard"), hits("test.never")), (7, 0));
}

#[tokio::test]
async fn points_wait() {
    let time = Duration::from_millis(30);
    let _guard = set("test.sleep", Action::Sleep(time));
    let started = Instant::now();
    hit("test.sleep").unwrap();
    hit_async("test.sleep").await.unwrap();
    assert!(started.elapsed() >= time * 2);

    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("go");
    let reached = dir.path().join("go.reached");
    let _guard = set("test.pause", Action::Pause(file.clone()));
    let paused = tokio::spawn(hit_async("test.pause"));
    tokio::time::timeout(Duration::from_secs(10), async {
        while !reached.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the point must be reached");
    assert!(!paused.is_finished());
    std::fs::write(&file, "").unwrap();
    tokio::time::timeout(Duration::from_secs(10), paused)
        .await
        .expect("the point must go on")
        .unwrap()
        .unwrap();
    assert_eq!(hit("test.pause"), Ok(()));
}

/// Runs the test below in a process of its own, with fail points from the environment.
fn in_a_process(points: &str) -> std::process::ExitStatus {
    let this = std::env::current_exe().unwrap();
    let arguments = [
        "--exact",
        "failpoint::tests::passes_the_point_three_times",
        "--test-threads=1",
    ];
    Command::new(this)
        .args(arguments)
        .env(VARIABLE, points)
        .output()
        .unwrap()
        .status
}

#[test]
fn passes_the_point_three_times() {
    for _ in 0..3 {
        hit("test.process").unwrap();
    }
}

#[test]
fn the_environment_sets_points_of_a_process() {
    use std::os::unix::process::ExitStatusExt as _;
    const SIGABRT: i32 = 6;
    assert!(in_a_process("").success());
    assert!(in_a_process("test.process=abort@4").success());
    assert_eq!(in_a_process("test.process=abort@3").signal(), Some(SIGABRT));
    assert_eq!(in_a_process("test.process=error@2").code(), Some(101));
    assert_eq!(in_a_process("test.process=misspelt").signal(), Some(SIGABRT));
}
