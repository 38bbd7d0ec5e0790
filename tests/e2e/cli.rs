//! The contract of the command line: exit codes, refusals, and reports of faults.

use std::fs;
use std::path::Path;
use std::process::Command;

use holdfast_tests::output::code;
use holdfast_tests::tree::{self, Shape};
use holdfast_tests::{Result, Sandbox, ensure, tools};
use toml::{Table, Value};

fn small_tree(dir: &Path) -> Result<std::path::PathBuf> {
    let path = dir.join("uploads");
    tree::generate(
        &path,
        1,
        Shape {
            files: 5,
            largest: 10_000,
            odd: false,
        },
    )?;
    Ok(path)
}

#[test]
fn init_refuses_to_overwrite() -> Result<()> {
    let sandbox = Sandbox::builder().build()?;
    let before = fs::read(sandbox.config_file())?;
    sandbox.run(&["init"])?.expect(code::REFUSED)?;
    assert_eq!(fs::read(sandbox.config_file())?, before);
    Ok(())
}

#[test]
fn bad_usage_is_code_2() -> Result<()> {
    let sandbox = Sandbox::builder().build()?;
    let commands: [&[&str]; 5] = [
        &["frobnicate"],
        &["run", "--backup-type", "everything"],
        &["run", "--source", "no-such-source"],
        &["restore", "database", "main/shop"],
        &["--config", "/no/such/file.toml", "list"],
    ];
    for command in commands {
        sandbox.run(command)?.expect(code::USAGE)?;
    }
    sandbox.run(&["--help"])?.good()?;
    sandbox.run(&["--version"])?.good()?;
    Ok(())
}

#[test]
fn config_check_reports_all_faults_together_and_no_secret() -> Result<()> {
    let files = tempfile::tempdir()?;
    let uploads = small_tree(files.path())?;
    let sandbox = Sandbox::builder().directory("uploads", &uploads).build()?;
    sandbox.run(&["config", "check"])?.good()?;
    sandbox.edit_config(|table| {
        let mut server = Table::new();
        server.insert("name".into(), "main".into());
        server.insert("url".into(), "mysql://backup:do-not-print-me@db/x".into());
        server.insert("lock_timeout".into(), "soon".into());
        table.insert("postgres".into(), Value::Array(vec![server.into()]));
        table.insert("retentoin".into(), Table::new().into());
        if let Some(Value::Table(staging)) = table.get_mut("staging") {
            staging.insert("max_bytes".into(), "1KiB".into());
        }
    })?;
    let output = sandbox.run(&["config", "check"])?.expect(code::USAGE)?;
    let output = output
        .says("url")?
        .says("lock_timeout")?
        .says("retentoin")?
        .says("max_bytes")?
        .says("holdfast.toml")?;
    output.keeps_quiet_about("do-not-print-me")?;
    // Every other command says the same before it does anything.
    sandbox.run(&["run"])?.expect(code::USAGE)?.says("lock_timeout")?;
    Ok(())
}

#[test]
fn config_show_prints_what_is_in_force_without_secrets() -> Result<()> {
    let mut sandbox = Sandbox::builder().postgres_at("main", 1).build()?;
    sandbox.set_env("HOLDFAST__WORKERS__SEAL", "7");
    let output = sandbox.run(&["config", "show"])?.good()?.says("seal = 7")?;
    output.keeps_quiet_about(holdfast_tests::postgres::PASSWORD)?;
    Ok(())
}

#[test]
fn doctor_finds_what_is_wrong_with_keys() -> Result<()> {
    let files = tempfile::tempdir()?;
    let uploads = small_tree(files.path())?;
    let sandbox = Sandbox::builder().directory("uploads", &uploads).build()?;
    sandbox.run(&["doctor"])?.good()?;
    let json = sandbox.run(&["doctor", "--json"])?.good()?.json()?;
    ensure!(json.is_object() || json.is_array(), "doctor --json printed {json}");

    // The secret key of another deployment.
    let other = Sandbox::builder().build()?;
    let key = |sandbox: &Sandbox| -> Result<String> {
        let name = sandbox.config()?["verifier"]["secret_keys"][0]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        Ok(sandbox.dir().join(name).display().to_string())
    };
    let own = key(&sandbox)?;
    let foreign = key(&other)?;
    let set_key = |path: &str| {
        sandbox.edit_config(|table| {
            if let Some(Value::Table(verifier)) = table.get_mut("verifier") {
                verifier.insert("secret_keys".into(), Value::Array(vec![path.into()]));
            }
        })
    };
    set_key(&foreign)?;
    let wrong = sandbox.run(&["doctor"])?;
    ensure!(
        wrong.status.code() != Some(code::GOOD),
        "a wrong secret key is no matter to doctor"
    );
    sandbox.run(&["run", "--verify"])?;
    let objects = sandbox.objects(&sandbox.repository())?;
    ensure!(
        !objects.keys().any(|key| key.starts_with("packs/")),
        "captured before the keys were checked"
    );

    set_key("/no/such/key.asc")?;
    let missing = sandbox.run(&["doctor"])?.says("/no/such/key.asc")?;
    ensure!(
        missing.status.code() != Some(code::GOOD),
        "a missing secret key is no matter to doctor"
    );
    set_key(&own)?;
    sandbox.run(&["run", "--verify"])?.good()?;
    Ok(())
}

/// Makes a certificate with GnuPG in a home of its own, and exports it to `path`.
fn gnupg_key(home: &Path, path: &Path, expires: &str) -> Result<()> {
    let gpg = |arguments: &[&str]| {
        let mut command = Command::new("gpg");
        command
            .env("GNUPGHOME", home)
            .args(["--batch", "--quiet", "--passphrase", ""])
            .args(arguments);
        tools::text_of(&mut command)
    };
    gpg(&[
        "--quick-generate-key",
        "backup@example.org",
        "rsa2048",
        "sign,cert",
        expires,
    ])?;
    let list = gpg(&["--with-colons", "--list-keys"])?;
    let fingerprint = list.lines().find_map(|line| line.strip_prefix("fpr:::::::::"));
    let fingerprint = fingerprint.unwrap_or_default().trim_end_matches(':').to_owned();
    gpg(&["--quick-add-key", &fingerprint, "rsa2048", "encrypt", expires])?;
    let mut export = Command::new("gpg");
    export
        .env("GNUPGHOME", home)
        .args(["--batch", "--armor", "--export"])
        .arg("--output")
        .arg(path);
    tools::text_of(&mut export)?;
    tools::text_of(
        Command::new("gpgconf")
            .arg("--homedir")
            .arg(home)
            .args(["--kill", "all"]),
    )?;
    Ok(())
}

#[test]
fn an_expired_recipient_is_found_before_any_capture() -> Result<()> {
    let files = tempfile::tempdir()?;
    let uploads = small_tree(files.path())?;
    let sandbox = Sandbox::builder().directory("uploads", &uploads).build()?;
    let home = tempfile::Builder::new().prefix("hf-gpg-").tempdir()?;
    let key = sandbox.path("short-lived.asc");
    gnupg_key(home.path(), &key, "seconds=1")?;
    let made = std::time::Instant::now();
    holdfast_tests::wait_until("the key expires", std::time::Duration::from_secs(10), || {
        Ok(made.elapsed() > std::time::Duration::from_secs(2))
    })?;
    sandbox.edit_config(|table| {
        if let Some(Value::Array(recipients)) = table["encryption"].get_mut("recipients") {
            recipients.push("short-lived.asc".into());
        }
    })?;
    for command in [&["config", "check"][..], &["doctor"], &["run"]] {
        let output = sandbox.run(command)?.says("short-lived.asc")?;
        ensure!(
            output.status.code() != Some(code::GOOD),
            "{} takes an expired key",
            output.command
        );
    }
    let objects = sandbox.objects(&sandbox.repository())?;
    ensure!(
        !objects.keys().any(|key| key.starts_with("packs/")),
        "captured with an expired key"
    );
    Ok(())
}

#[test]
fn a_nats_server_that_is_not_there_is_code_3() -> Result<()> {
    let files = tempfile::tempdir()?;
    let uploads = small_tree(files.path())?;
    let sandbox = Sandbox::builder()
        .directory("uploads", &uploads)
        .nats_at("nats://127.0.0.1:1")
        .section("nats", "connect_timeout = \"2s\"")?
        .build()?;
    sandbox.run(&["run"])?.expect(code::NO_ANSWER)?.says("127.0.0.1:1")?;
    Ok(())
}

#[test]
fn a_missing_nats_server_program_is_said_with_what_to_do() -> Result<()> {
    let files = tempfile::tempdir()?;
    let uploads = small_tree(files.path())?;
    let sandbox = Sandbox::builder().directory("uploads", &uploads).build()?;
    sandbox.edit_config(|table| {
        if let Some(Value::Table(nats)) = table.get_mut("nats") {
            nats.insert("server_binary".into(), "/no/such/nats-server".into());
        }
    })?;
    let output = sandbox.run(&["run"])?.says("/no/such/nats-server")?;
    ensure!(output.status.code() != Some(code::GOOD), "it ran without nats-server");
    Ok(())
}

#[test]
fn keys_are_generated_listed_and_checked() -> Result<()> {
    let sandbox = Sandbox::builder().build()?;
    sandbox.run(&["keys", "list"])?.good()?;
    sandbox.run(&["keys", "check"])?.good()?;
    Ok(())
}
