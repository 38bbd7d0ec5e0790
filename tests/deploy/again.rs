//! `setup` on a real engine, killed after each thing that it makes; and the files that go into the build of an image.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use holdfast_tests::{Result, ensure, tools};

use crate::setup::Deployment;

/// The name of a further deployment on the same engine.
const PROJECT: &str = "again";

/// Stands in for `docker`. Each command that changes something is carried out once, and then its caller is killed. The
/// command that makes the repository is killed itself, too, at an unknown moment.
const KILLER: &str = r#"#!/bin/bash
case "$1 $2" in
"run --rm" | "volume create")
    if ! grep --quiet --line-regexp --fixed-strings -- "$*" "$DONE"; then
        printf '%s\n' "$*" >>"$DONE"
        case "$*" in
        *" init "*) timeout --signal=KILL 0.7 REAL "$@" ;;
        *) REAL "$@" ;;
        esac
        kill -KILL $PPID
        exit 1
    fi
    ;;
esac
exec REAL "$@"
"#;

pub(crate) fn a_setup_that_was_killed_is_finished_by_the_next(deployment: &Deployment) -> Result<()> {
    let clone = deployment.path(PROJECT);
    fs::create_dir(&clone)?;
    for name in ["deploy", "compose.yaml"] {
        let from = deployment.path(name);
        tools::text_of(Command::new("cp").arg("-a").arg(from).arg(&clone))?;
    }
    let bin = clone.join("bin");
    fs::create_dir(&bin)?;
    let done = clone.join("done");
    fs::write(&done, "")?;
    let real = tools::text_of(Command::new("sh").args(["-c", "command -v docker"]))?;
    let killer = bin.join("docker");
    fs::write(&killer, KILLER.replace("REAL", real.trim()))?;
    fs::set_permissions(&killer, fs::Permissions::from_mode(0o755))?;

    let path = format!("{}:{}", bin.display(), std::env::var("PATH")?);
    let setup = || {
        let mut command = deployment.command(clone.join("deploy/compose/setup"));
        command.env("COMPOSE_PROJECT_NAME", PROJECT).current_dir(&clone);
        command
    };
    let mut kills = 0;
    while !setup().env("PATH", &path).env("DONE", &done).status()?.success() {
        kills += 1;
        ensure!(kills < 20, "it gets nowhere: {}", fs::read_to_string(&done)?);
    }
    ensure!(kills >= 5, "it was killed {kills} times only");
    let said = tools::text_of(&mut setup())?;
    ensure!(said.contains("Nothing had to be changed"), "{said}");
    check_keys(&clone.join("secrets/keys"))?;
    let repository = deployment.engine.volume_folder(&format!("{PROJECT}_repository"));
    for name in ["repository.pgp", "roster/1", "RESTORE.md", "restore.py"] {
        ensure!(repository.join(name).is_file(), "the repository lacks {name}");
    }

    // A missing repository may be on a disk that is not mounted, so `setup` does not make another one by itself.
    fs::remove_file(repository.join("repository.pgp"))?;
    fs::remove_dir_all(repository.join("roster"))?;
    tools::text_of(&mut setup())?;
    ensure!(
        !repository.join("repository.pgp").exists(),
        "there is another repository"
    );
    // Nor without the owner, whose secret key is taken away after the first setup.
    let owner = clone.join("secrets/keys/owner.sec.asc");
    let away = clone.join("owner.away");
    fs::rename(&owner, &away)?;
    let refused = setup().arg("--new-repository").output()?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        !refused.status.success() && said.contains("bring owner.sec.asc"),
        "{said}"
    );
    fs::rename(&away, &owner)?;
    tools::text_of(setup().arg("--new-repository"))?;
    ensure!(repository.join("repository.pgp").exists(), "there is no new repository");
    Ok(())
}

/// A second host's `setup` makes keys of its own and a request; it makes no key of the owner, and no repository.
pub(crate) fn a_host_that_joins_makes_its_own_keys_alone(deployment: &Deployment) -> Result<()> {
    let clone = deployment.path("second");
    fs::create_dir(&clone)?;
    for name in ["deploy", "compose.yaml"] {
        let from = deployment.path(name);
        tools::text_of(Command::new("cp").arg("-a").arg(from).arg(&clone))?;
    }
    let setup = |arguments: &[&str]| {
        let mut command = deployment.command(clone.join("deploy/compose/setup"));
        command
            .env("COMPOSE_PROJECT_NAME", "second")
            .env("HOLDFAST_SITE", "host-b");
        command.args(arguments).current_dir(&clone).output()
    };
    let first = setup(&["--join"])?;
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    ensure!(
        first.status.code() == Some(1) && said.contains("lacks owner.pub.asc reader.sec.asc backup.pub.asc"),
        "{said}"
    );
    let keys = clone.join("secrets/keys");
    let request = keys.join("join-host-b.json");
    for name in ["owner.sec.asc", "owner.pub.asc", "reader.sec.asc"] {
        ensure!(!keys.join(name).exists(), "{name} was made");
    }
    let here = deployment.path("secrets/keys");
    for name in ["owner.pub.asc", "reader.sec.asc", "backup.pub.asc"] {
        fs::copy(here.join(name), keys.join(name))?;
    }
    let made = fs::read(&request)?;
    // Once it has joined, that need not be said again.
    let again = setup(&[])?;
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    ensure!(
        again.status.success() && said.contains("keys admit /keys/join-host-b.json"),
        "{said}"
    );
    ensure!(fs::read(&request)? == made, "the request is another one");
    let repository = deployment.engine.volume_folder("second_repository");
    ensure!(!repository.join("repository.pgp").exists(), "it made a repository");

    fs::copy(&request, here.join("join-host-b.json"))?;
    deployment.run("keys", &["admit", "/keys/join-host-b.json"])?;
    let listed = deployment.run("keys", &["list"])?;
    ensure!(listed.contains("host-b"), "{listed}");
    fs::remove_file(here.join("join-host-b.json"))?;
    Ok(())
}

fn check_keys(keys: &Path) -> Result<()> {
    let names = [
        "owner",
        "reader",
        "backup",
        "producer",
        "scheduler",
        "verifier",
        "syncer",
        "janitor",
        "operator",
    ];
    for name in names {
        for part in ["pub", "sec", "rev"] {
            let text = fs::read_to_string(keys.join(format!("{name}.{part}.asc")))?;
            ensure!(text.trim_end().ends_with("-----"), "{name}.{part}.asc is cut off");
        }
    }
    let left = fs::read_dir(keys)?.count();
    ensure!(left == 3 * names.len(), "{left} files in {}", keys.display());
    Ok(())
}

/// Checks the files that a build gets from a clone in which secrets and plaintext lie about.
pub(crate) fn an_image_is_built_without_secrets(deployment: &Deployment) -> Result<()> {
    let context = deployment.path("context");
    let litter = [
        "secrets/key",
        "restore/plain",
        "keys/key",
        "state/host",
        ".env",
        "tests/.tests/some",
        "Cargo.toml",
    ];
    for path in litter.map(|path| context.join(path)) {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, "x")?;
    }
    fs::copy(tools::root().join(".dockerignore"), context.join(".dockerignore"))?;
    fs::write(context.join("Dockerfile"), "FROM holdfast-test:base\nCOPY . /context\n")?;
    let image = "holdfast-test:context";
    deployment.build(image, &["--file", "Dockerfile"], &context)?;
    let found = deployment
        .engine
        .docker(["run", "--rm", image, "find", "/context", "-type", "f"])?;
    assert_eq!(found, "/context/Cargo.toml");
    Ok(())
}
