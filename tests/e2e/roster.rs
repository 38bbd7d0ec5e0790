//! The owner's roster, as its users meet it: two files restore everything, nobody signs for another, and keys come and go.

use std::fs;
use std::path::Path;
use std::time::Duration;

use holdfast_tests::output::code;
use holdfast_tests::tree::{self, Scratch};
use holdfast_tests::{Context, Result, Sandbox, ensure, tools, wait_until};
use jiff::Timestamp;
use serde_json::Value;
use toml::Table;

use crate::keys::gpg;
use crate::lock_in::Script;

/// Makes a good backup of a tree. Returns the artefact's id.
fn back_up(sandbox: &Sandbox) -> Result<String> {
    sandbox.run(&["run", "--verify"])?.good()?;
    Ok(sandbox.artefact("uploads", "uploads")?.id)
}

fn sandbox_of(uploads: &Path) -> Result<(Sandbox, Script)> {
    let sandbox = Sandbox::builder().directory("uploads", uploads).build()?;
    // The script stands beside the objects from the beginning on.
    let script = Script::new(&sandbox, &sandbox.repository())?;
    Ok((sandbox, script))
}

/// Restores an artefact by `holdfast` and by `restore.py`, and compares.
fn both_restore(sandbox: &Sandbox, script: &Script, artefact: &str, uploads: &Path) -> Result<()> {
    let to = tempfile::tempdir()?;
    let by_holdfast = to.path().join("by holdfast");
    let text = by_holdfast.display().to_string();
    sandbox.run(&["restore", "volume", artefact, "--to", &text])?.good()?;
    tree::compare(uploads, &by_holdfast)?;
    let by_script = to.path().join("by script");
    let mut extract = script.run(&["extract", artefact, &by_script.display().to_string()]);
    tools::text_of(&mut extract)?;
    tree::compare(uploads, &by_script)
}

/// Checks that neither `holdfast` nor `restore.py` restores an artefact, and that both say why.
fn both_refuse(sandbox: &Sandbox, script: &Script, artefact: &str, why: &str) -> Result<()> {
    let to = sandbox.path("refused");
    let text = to.display().to_string();
    let restore = sandbox.run(&["restore", "volume", artefact, "--to", &text])?;
    restore.expect(code::FAILURES)?.says("intrusion")?.says(why)?;
    ensure!(!to.exists(), "something was restored");
    let output = script.run(&["extract", artefact, &text]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(code::REFUSED) && said.contains(why),
        "{said}"
    );
    ensure!(!to.exists(), "something was restored by the script");
    Ok(())
}

/// Signs a manifest anew with a key of the sandbox, at a time, as whoever has that key and may write to the place could do.
fn sign_anew(sandbox: &Sandbox, artefact: &str, key: &str, at: Timestamp) -> Result<()> {
    let home = tempfile::Builder::new().prefix("hf-gpg-").tempdir()?;
    let file = |name: &str| sandbox.path(&format!("keys/{name}.asc")).display().to_string();
    let manifest = sandbox.repository().join("artefacts").join(artefact).join("manifest");
    let manifest = manifest.to_str().context("the path is no text")?;
    let signer = file(&format!("{key}.sec"));
    // With the public keys of whoever may have signed it until now.
    let mut known = vec![file("backup.sec"), signer.clone()];
    for entry in fs::read_dir(sandbox.path("keys"))? {
        let path = entry?.path().display().to_string();
        known.extend(path.ends_with(".pub.asc").then_some(path));
    }
    let import: Vec<&str> = ["--import"]
        .into_iter()
        .chain(known.iter().map(String::as_str))
        .collect();
    gpg(home.path(), &import)?;
    let shown = gpg(home.path(), &["--with-colons", "--show-keys", &signer])?;
    let fingerprint = shown.lines().find_map(|line| line.strip_prefix("fpr:::::::::"));
    let fingerprint = fingerprint.context("the key has no fingerprint")?.trim_end_matches(':');
    let plain = sandbox.path("manifest.json");
    let plain = plain.to_str().context("the path is no text")?;
    gpg(home.path(), &["--yes", "--output", plain, "--decrypt", manifest])?;
    fs::remove_file(manifest)?;
    let time = format!("{}!", at.as_second());
    let backup = file("backup.pub");
    let reader = file("reader.pub");
    gpg(
        home.path(),
        &[
            "--faked-system-time",
            &time,
            "--trust-model",
            "always",
            "--compress-algo",
            "none",
            "--recipient-file",
            &backup,
            "--recipient-file",
            &reader,
            "--local-user",
            fingerprint,
            "--output",
            manifest,
            "--sign",
            "--encrypt",
            plain,
        ],
    )
    .map(drop)
}

/// Returns the keys of a role in the roster.
fn members(sandbox: &Sandbox, role: &str) -> Result<Vec<Value>> {
    let listed = sandbox.run(&["keys", "list", "--json"])?.good()?.json()?;
    let all = listed["roster"]["members"].as_array().context("there is no roster")?;
    Ok(all.iter().filter(|member| member["role"] == role).cloned().collect())
}

/// Waits until the clock shows a later second than it does now, and returns that second.
fn next_second() -> Result<Timestamp> {
    let now = Timestamp::now().as_second();
    wait_until("the next second", Duration::from_secs(10), || {
        Ok(Timestamp::now().as_second() > now)
    })?;
    Ok(Timestamp::from_second(Timestamp::now().as_second())?)
}

#[test]
fn two_files_restore_on_an_empty_machine() -> Result<()> {
    let uploads = Scratch::few(20)?;
    let sandbox = Sandbox::builder()
        .directory("uploads", &uploads)
        .target_directory("offsite")
        .build()?;
    sandbox.run(&["run", "--verify", "--sync-offsite"])?.good()?;
    let id = sandbox.artefact("uploads", "uploads")?.id;
    let machine = tempfile::tempdir()?;
    let there = |name: &str| machine.path().join(name);
    for file in ["backup.sec.asc", "owner.pub.asc"] {
        fs::copy(sandbox.path("keys").join(file), there(file))?;
    }
    fs::rename(sandbox.target("offsite"), there("copy"))?;
    for folder in ["keys", "state", "repository"] {
        fs::remove_dir_all(sandbox.path(folder))?;
    }
    fs::remove_file(sandbox.config_file())?;

    let text = |name: &str| there(name).display().to_string();
    let restore = |to: &str, more: &[&str]| {
        let copy = text("copy");
        let key = text("backup.sec.asc");
        let to = text(to);
        let words = [
            "restore",
            "volume",
            &id,
            "--repository",
            &copy,
            "--key",
            &key,
            "--to",
            &to,
        ];
        let mut command = sandbox.command(&[&words[..], more].concat());
        command.current_dir(machine.path());
        sandbox.run_command(command)
    };
    restore("by name", &["--owner", &text("owner.pub.asc")])?.good()?;
    tree::compare(&uploads, &there("by name"))?;
    // Beside the backup key it is found by itself.
    restore("beside", &[])?.good()?;
    tree::compare(&uploads, &there("beside"))?;

    let script = Script::with(
        machine.path(),
        &there("copy"),
        &there("backup.sec.asc"),
        &there("owner.pub.asc"),
    )?;
    tools::text_of(&mut script.run(&["extract", &id, &text("by script")]))?;
    tree::compare(&uploads, &there("by script"))?;

    fs::remove_file(there("owner.pub.asc"))?;
    restore("no owner", &[])?.expect(code::USAGE)?.says("--owner FILE")?;
    ensure!(
        !there("no owner").exists(),
        "something was restored without the owner's key"
    );
    Ok(())
}

#[test]
fn a_manifest_that_another_role_signed_restores_nothing() -> Result<()> {
    let uploads = Scratch::few(5)?;
    let (sandbox, script) = sandbox_of(&uploads)?;
    let id = back_up(&sandbox)?;
    let manifest = sandbox.repository().join("artefacts").join(&id).join("manifest");
    let genuine = fs::read(&manifest)?;
    for role in ["scheduler", "verifier", "syncer", "janitor", "operator"] {
        sign_anew(&sandbox, &id, role, Timestamp::now())?;
        both_refuse(&sandbox, &script, &id, &format!("a key of the role {role}"))?;
    }
    // The owner says whose records count, and makes none himself.
    sign_anew(&sandbox, &id, "owner", Timestamp::now())?;
    let restore = ["restore", "volume", &id, "--to", "refused"];
    sandbox.run(&restore)?.expect(code::FAILURES)?;
    let output = script.run(&["verify", &id]).output()?;
    assert_eq!(output.status.code(), Some(code::REFUSED));
    fs::remove_file(&manifest)?;
    fs::write(&manifest, genuine)?;
    both_restore(&sandbox, &script, &id, &uploads)
}

#[test]
fn a_rotated_key_leaves_old_and_new_backups_good() -> Result<()> {
    let uploads = Scratch::few(5)?;
    let sandbox = Sandbox::builder()
        .directory("uploads", &uploads)
        .target_directory("offsite")
        .build()?;
    let script = Script::new(&sandbox, &sandbox.repository())?;
    let old = back_up(&sandbox)?;
    // The owner's key is away, and comes back for this.
    let away = tempfile::tempdir()?;
    let owner = away.path().join("owner.sec.asc");
    fs::copy(sandbox.path("keys/owner.sec.asc"), &owner)?;
    fs::remove_file(sandbox.path("keys/owner.sec.asc"))?;
    sandbox
        .run(&["keys", "rotate", "producer"])?
        .expect(code::USAGE)?
        .says("--owner-key FILE")?;
    assert_eq!(members(&sandbox, "producer")?.len(), 1);
    let owner = owner.display().to_string();
    let rotate = ["keys", "rotate", "producer", "--owner-key", &owner];
    sandbox.run(&rotate)?.good()?.says("roster 2")?;
    // The target learns of it with the next copy.
    sandbox.run(&["sync"])?.good()?;
    let there = sandbox.target("offsite").join("roster/2");
    ensure!(there.exists(), "the target does not know the new roster");
    let keys = members(&sandbox, "producer")?;
    ensure!(
        keys.len() == 2 && keys[0]["until"].is_string() && keys[1]["until"].is_null(),
        "{keys:?}"
    );

    let new = back_up(&sandbox)?;
    both_restore(&sandbox, &script, &old, &uploads)?;
    both_restore(&sandbox, &script, &new, &uploads)?;
    sandbox
        .run(&["verify", "--all", "--level", "decrypt"])?
        .good()
        .map(drop)
}

#[test]
fn a_stolen_key_is_worth_nothing_and_what_it_signed_before_the_theft_counts_on() -> Result<()> {
    let uploads = Scratch::few(5)?;
    let (sandbox, script) = sandbox_of(&uploads)?;
    let old = back_up(&sandbox)?;
    fs::copy(
        sandbox.path("keys/producer.sec.asc"),
        sandbox.path("keys/stolen.sec.asc"),
    )?;
    let stolen = members(&sandbox, "producer")?[0]["fingerprint"]
        .as_str()
        .context("no fingerprint")?
        .to_owned();
    let theft = next_second()?;
    let since = theft.to_string();
    let in_future = (theft + jiff::SignedDuration::from_hours(1)).to_string();
    let revoke = |since: &str| sandbox.run(&["keys", "revoke", &stolen[..12], "--since", since]);
    revoke(&in_future)?.expect(code::USAGE)?.says("in the future")?;
    revoke(&since)?.good()?.says(&stolen)?.says("count on")?;
    revoke(&since)?.expect(code::USAGE)?.says("revoked already")?;
    both_restore(&sandbox, &script, &old, &uploads)?;

    sandbox
        .run(&["run"])?
        .expect(code::USAGE)?
        .says("no key of the role producer")?;
    sandbox.run(&["keys", "rotate", "producer"])?.good()?;
    let new = back_up(&sandbox)?;
    both_restore(&sandbox, &script, &old, &uploads)?;
    both_restore(&sandbox, &script, &new, &uploads)?;

    // The thief writes the time before the theft into what he signs.
    let before = Timestamp::from_second(theft.as_second() - 1)?;
    sign_anew(&sandbox, &old, "stolen", before)?;
    both_refuse(&sandbox, &script, &old, "revoked as stolen")?;
    let output = script.run(&["--accept-revoked", "verify", &old]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success() && said.contains("a thief may have made it"),
        "{said}"
    );
    both_restore(&sandbox, &script, &new, &uploads)
}

/// Writes the configuration of a second host with the same repository. Returns the file's path.
fn second_host(sandbox: &Sandbox, site: &str) -> Result<String> {
    let keys = "recipients = ['keys/backup.pub.asc']
        owner = 'keys/owner.pub.asc'
        reader_key = 'keys/reader.sec.asc'
        role_keys = 'keys'";
    let mut repository = Table::new();
    repository.insert("url".into(), sandbox.repository().display().to_string().into());
    let mut config = sandbox.config()?;
    config.remove("verifier");
    config.insert("site".into(), site.into());
    config.insert("state_dir".into(), "state".into());
    config.insert("repository".into(), repository.into());
    config.insert("encryption".into(), keys.parse::<Table>()?.into());
    config["directory"][0]["name"] = "second".into();
    let file = sandbox.path("second/holdfast.toml");
    fs::write(&file, toml::to_string(&config)?)?;
    Ok(file.display().to_string())
}

#[test]
fn a_host_joins_with_keys_of_its_own_that_the_owner_signs_in() -> Result<()> {
    let uploads = Scratch::few(5)?;
    let (sandbox, script) = sandbox_of(&uploads)?;
    let first = back_up(&sandbox)?;
    let join = ["keys", "join", "host-b", "--dir", "second/keys"];
    let roles = ["producer", "scheduler", "verifier", "syncer", "janitor"];
    let roles: Vec<&str> = roles.iter().flat_map(|role| ["--role", role]).collect();
    let join = [&join[..], &roles].concat();
    let said = sandbox.run(&join)?.good()?;
    for file in ["owner.pub.asc", "reader.sec.asc", "backup.pub.asc"] {
        fs::copy(sandbox.path("keys").join(file), sandbox.path("second/keys").join(file))?;
    }
    let config = second_host(&sandbox, "host-b")?;
    let run = ["run", "--verify=integrity", "--config", &config];
    // Nobody knows the keys yet.
    sandbox.run(&run)?.expect(code::USAGE)?.says("no key of the role")?;

    let request = "second/keys/join-host-b.json";
    sandbox.run(&["keys", "admit", request])?.good()?.says("host-b")?;
    let producers = members(&sandbox, "producer")?;
    let new = producers[1]["fingerprint"].as_str().context("no fingerprint")?;
    ensure!(producers[1]["sites"] == serde_json::json!(["host-b"]), "{producers:?}");
    said.says(new)?;
    sandbox
        .run(&["keys", "admit", request])?
        .expect(code::REFUSED)?
        .says("the site host-b has a key already")?;

    sandbox.run(&run)?.good()?;
    let second = sandbox.artefact("second", "second")?.id;
    both_restore(&sandbox, &script, &first, &uploads)?;
    both_restore(&sandbox, &script, &second, &uploads)?;
    // It speaks for its own site alone.
    second_host(&sandbox, "test")?;
    sandbox
        .run(&run)?
        .expect(code::USAGE)?
        .says("that counts at the site test")?;
    sandbox.run(&["run"])?.good()?;
    Ok(())
}
