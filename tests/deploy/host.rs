//! Files for a host without containers: units, a crontab, the rotation of logs. Tested as far as possible without such
//! a host.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use holdfast_tests::{Context, Result, ensure, tools};

#[test]
fn systemd_understands_its_units() -> Result<()> {
    let root = tempfile::tempdir()?;
    let units = root.path().join("etc/systemd/system");
    let bin = root.path().join("usr/local/bin");
    fs::create_dir_all(&units)?;
    fs::create_dir_all(&bin)?;
    program(&bin.join("holdfast"), "")?;
    fs::write(
        root.path().join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\nholdfast:x:999:999::/var/lib/holdfast:/usr/sbin/nologin\n",
    )?;
    for entry in fs::read_dir(tools::root().join("deploy/systemd"))? {
        let entry = entry?;
        fs::copy(entry.path(), units.join(entry.file_name()))?;
    }
    for unit in ["holdfast.service", "holdfast-run.service", "holdfast-run.timer"] {
        // The units of the system that they name do not exist in this root.
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(format!("--root={}", root.path().display()))
            .arg(unit)
            .output()
            .context("run systemd-analyze (Debian's package systemd)")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success() && said.is_empty(), "{unit}: {said}");
    }
    Ok(())
}

#[test]
fn logs_are_rotated_and_stay_private() -> Result<()> {
    let work = tempfile::tempdir()?;
    let logs = work.path().join("logs");
    fs::create_dir(&logs)?;
    fs::set_permissions(&logs, fs::Permissions::from_mode(0o700))?;
    fs::write(logs.join("run.log"), "a line\n")?;
    let rules = fs::read_to_string(tools::root().join("deploy/logrotate/holdfast"))?;
    let rules = rules.replace("/var/log/holdfast", &logs.display().to_string());
    let file = work.path().join("rules");
    fs::write(&file, rules)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    let rotate = |options: &[&str]| {
        let mut command = Command::new("logrotate");
        command
            .args(options)
            .arg("--state")
            .arg(work.path().join("state"))
            .arg(&file);
        tools::text_of(&mut command)
    };
    rotate(&["--debug"])?;
    rotate(&["--force"])?;
    assert_eq!(fs::read_to_string(logs.join("run.log.1"))?, "a line\n");
    let mode = fs::metadata(logs.join("run.log"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    Ok(())
}

#[test]
fn cron_sends_what_failed_and_nothing_else() -> Result<()> {
    let work = tempfile::tempdir()?;
    let logs = work.path().join("logs");
    let bin = work.path().join("bin");
    fs::create_dir(&logs)?;
    fs::create_dir(&bin)?;
    let table = fs::read_to_string(tools::root().join("deploy/cron/holdfast"))?;
    let lines: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    assert_eq!(lines.len(), 2);
    for line in lines {
        let mut fields = line.splitn(7, ' ');
        let user = fields.nth(5);
        let command = fields.next().context("a line without a command")?;
        assert_eq!(user, Some("root"));
        // Cron would end the command at a percent sign.
        ensure!(!command.contains('%'), "{command}");
        let command = command.replace("/var/log/holdfast", &logs.display().to_string());
        let mailed = || {
            let mut shell = Command::new("/bin/bash");
            shell.args(["-c", &command]).env_clear();
            tools::text_of(shell.env("PATH", format!("{}:/usr/bin:/bin", bin.display())))
        };
        program(&bin.join("holdfast"), "echo all is well")?;
        assert_eq!(mailed()?, "");
        program(&bin.join("holdfast"), "echo what is wrong; exit 1")?;
        let mail = mailed()?;
        ensure!(mail.contains("exit code 1") && mail.contains("what is wrong"), "{mail}");
    }
    Ok(())
}

fn program(path: &Path, script: &str) -> Result<()> {
    fs::write(path, format!("#!/bin/sh\n{script}\n"))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}
