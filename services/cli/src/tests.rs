//! The command line as a contract: help, and what `config check` says.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::ffi::OsString;
use std::path::Path;

use super::{Exit, command, run};

fn words(words: &[&str]) -> Vec<OsString> {
    std::iter::once("holdfast")
        .chain(words.iter().copied())
        .map(OsString::from)
        .collect()
}

#[test]
fn the_definition_is_sound() {
    command().debug_assert();
}

/// The help of every command, one golden file each.
#[test]
fn help() {
    let mut root = command();
    root.build();
    golden(&root, "holdfast");
}

fn golden(command: &clap::Command, path: &str) {
    let help = command.clone().render_long_help().to_string();
    // Lines that hold nothing but the indent of an empty description.
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(path.replace(' ', "-"), help.join("\n"));
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        golden(sub, &format!("{path} {}", sub.get_name()));
    }
}

#[test]
fn usage_is_told_by_the_exit_code() {
    for (line, exit) in [
        (vec!["--version"], Exit::Good),
        (vec!["--help"], Exit::Good),
        (vec![], Exit::Usage),
        (vec!["unknown"], Exit::Usage),
        (vec!["run", "--verify=deep"], Exit::Usage),
        (vec!["run", "--timeout", "2"], Exit::Usage),
        (vec!["run", "--source", "No Name"], Exit::Usage),
        (vec!["hold", "not-a-run"], Exit::Usage),
        (vec!["show", "../x"], Exit::Usage),
        (vec!["verify", "--latest", "--all"], Exit::Usage),
        (vec!["restore", "files", "uploads", "--to", "x"], Exit::Usage),
        (
            vec!["restore", "volume", "uploads", "--repository", "x", "--to", "y"],
            Exit::Usage,
        ),
        (vec!["list", "--config", "/nowhere/holdfast.toml"], Exit::Usage),
        (vec!["init", "--config", "x"], Exit::Usage),
    ] {
        assert_eq!(run(words(&line)), exit, "{line:?}");
    }
}

#[test]
fn level_may_follow_verify_and_may_not() {
    let parse = |line: &[&str]| command().try_get_matches_from(words(line)).is_ok();
    assert!(parse(&["run", "--verify", "--cleanup"]) && parse(&["run", "--verify=integrity"]));
    assert!(
        !parse(&["run", "--verify", "integrity"]),
        "a word of its own is no level"
    );
}

#[test]
fn init_makes_all_or_nothing_and_never_overwrites() {
    let dir = tempfile::tempdir().unwrap();
    let there = |name: &str| dir.path().join(name).exists();
    let at = dir.path().to_str().unwrap();
    let bad = words(&["init", "--dir", at, "--recipient", "/nowhere/key.asc"]);
    assert_eq!(run(bad), Exit::Usage);
    // A repository that cannot be made: its place is a file.
    std::fs::write(dir.path().join("file"), "").unwrap();
    let repository = format!("{at}/file/repository");
    assert_ne!(
        run(words(&["init", "--dir", at, "--repository", &repository])),
        Exit::Good
    );
    assert!(!there("holdfast.toml") && !there("keys") && !there("repository"));

    assert_eq!(run(words(&["init", "--dir", at])), Exit::Good);
    assert!(there("holdfast.toml") && there("repository/repository.pgp") && there("repository/restore.py"));
    let before = contents(dir.path());
    assert_eq!(run(words(&["init", "--dir", at])), Exit::Refused);
    assert_eq!(contents(dir.path()), before);
    // Another configuration over the same repository.
    let other = dir.path().join("other");
    let repository = format!("{at}/repository");
    let again = words(&["init", "--dir", other.to_str().unwrap(), "--repository", &repository]);
    assert_eq!(run(again), Exit::Refused);
    assert!(!other.exists());
    assert_eq!(contents(dir.path()), before);
}

/// The files below a folder with their modes and bytes.
fn contents(dir: &Path) -> Vec<(String, u32, Vec<u8>)> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            let mode = path.metadata().unwrap().permissions().mode();
            all.push((path.display().to_string(), mode, std::fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
fn keys_that_are_missing_or_locked_are_found_before_anything_is_captured() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("holdfast.toml");
    let config = config.to_str().unwrap();
    assert_eq!(run(words(&["init", "--dir", dir.path().to_str().unwrap()])), Exit::Good);
    assert_eq!(run(words(&["keys", "check", "--config", config])), Exit::Good);
    std::fs::rename(dir.path().join("keys/backup.sec.asc"), dir.path().join("away")).unwrap();
    assert_eq!(
        run(words(&["run", "--config", config, "--verify=decrypt"])),
        Exit::Usage
    );
    assert_eq!(run(words(&["keys", "check", "--config", config])), Exit::Usage);
    std::fs::rename(dir.path().join("away"), dir.path().join("keys/backup.sec.asc")).unwrap();
    std::fs::remove_file(dir.path().join("keys/reader.sec.asc")).unwrap();
    assert_eq!(run(words(&["run", "--config", config])), Exit::Usage);
    // What was sealed can still be listed with the backup key, as long as the owner's public key is there.
    assert_eq!(
        run(words(&["verify", "--config", config, "--level", "integrity"])),
        Exit::Failures
    );
}

#[test]
fn config_check_tells_every_fault() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("holdfast.toml");
    let text = r#"
[repository]
url = "repository"
[encryption]
recipients = ["missing.asc"]
owner = "no-owner.asc"
reader_key = "no-key.asc"
[[postgres]]
name = "Main DB"
url = "mysql://db"
[[schedule]]
name = "nightly"
cron = "0 2 * *"
sources = ["uplaods"]
[[directory]]
name = "uploads"
path = "/srv/uploads"
[retention.s4]
daily = "soon"
"#;
    std::fs::write(&file, text).unwrap();
    let report = |path: &Path| {
        let told = crate::commands::config::checked(Some(path));
        told.replace(dir.path().to_str().unwrap(), "DIR")
    };
    insta::assert_snapshot!("config-check-sections", report(&file));
    // With these out of the way, what only opening files and reading schedules can tell.
    let mended = text.replace("Main DB", "main").replace("mysql://", "postgres://a@");
    let mended = mended
        .replace("uplaods", "uploads")
        .replace("s4", "local")
        .replace("soon", "7d");
    std::fs::write(&file, mended).unwrap();
    std::fs::write(dir.path().join("no-key.asc"), "hello").unwrap();
    insta::assert_snapshot!("config-check-files", report(&file));
}
