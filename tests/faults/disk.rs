//! Full and read-only disks. They are mounted in a mount namespace of the command, where no other process sees them.
//! That needs root, or the right to mount.

use std::path::Path;
use std::process::Command;

use holdfast_tests::output::{Output, code};
use holdfast_tests::tree::{self, Shape};
use holdfast_tests::{Result, Sandbox, ensure, tools};

use crate::support::{sync_failed, with_mounts};

/// Runs `holdfast` with a tmpfs of `size` mounted over `dir`. The tmpfs begins with the content of `dir`; its final
/// content is copied to `keep`.
fn with_small_disk(sandbox: &Sandbox, dir: &Path, size: &str, keep: &Path, arguments: &[&str]) -> Result<Output> {
    let script = r#"
        set -e
        dir=$1 size=$2 keep=$3 program=$4
        shift 4
        cp -a "$dir" "$keep.before"
        mount -t tmpfs -o "size=$size" tmpfs "$dir"
        cp -a "$keep.before/." "$dir"
        code=0
        "$program" "$@" || code=$?
        cp -a "$dir" "$keep"
        exit "$code"
    "#;
    let inner = sandbox.command(arguments);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
    command
        .arg(dir)
        .arg(size)
        .arg(keep)
        .arg(inner.get_program())
        .args(arguments);
    command.current_dir(sandbox.dir()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    sandbox.run_command(command)
}

fn setup() -> Result<(tempfile::TempDir, Sandbox)> {
    let mut mount = Command::new("unshare");
    mount.args([
        "--mount",
        "--propagation",
        "private",
        "mount",
        "-t",
        "tmpfs",
        "tmpfs",
        "/mnt",
    ]);
    tools::text_of(&mut mount)?;
    let files = tempfile::tempdir()?;
    let uploads = files.path().join("uploads");
    tree::generate(
        &uploads,
        1,
        Shape {
            files: 150,
            ..Shape::default()
        },
    )?;
    let sandbox = Sandbox::builder().directory("uploads", &uploads).build()?;
    Ok((files, sandbox))
}

#[test]
fn a_full_repository_disk_is_said_and_earlier_backups_are_whole() -> Result<()> {
    let (files, sandbox) = setup()?;
    let uploads = files.path().join("uploads");
    sandbox.run(&["run"])?.good()?;
    let used: u64 = sandbox.objects(&sandbox.repository())?.values().sum();
    tree::generate(
        &uploads.join("more"),
        2,
        Shape {
            files: 150,
            ..Shape::default()
        },
    )?;
    let keep = files.path().join("kept");
    let size = format!("{}k", used / 1024 + 2048);
    let output = with_small_disk(
        &sandbox,
        &sandbox.repository(),
        &size,
        &keep,
        &["run", "--timeout", "40s"],
    )?;
    output.expect(code::FAILURES)?.says("space")?;

    // The content of the full disk is a valid repository.
    std::fs::remove_dir_all(sandbox.repository())?;
    std::fs::rename(&keep, sandbox.repository())?;
    assert_eq!(
        sandbox.artefacts()?.len(),
        1,
        "a capture without its packs was believed"
    );
    sandbox.run(&["verify", "--all"])?.good()?;
    sandbox.run(&["run", "--verify"])?.good()?;
    Ok(())
}

#[test]
fn a_full_staging_disk_is_waited_for_or_said() -> Result<()> {
    let (files, sandbox) = setup()?;
    let keep = files.path().join("kept");
    let output = with_small_disk(&sandbox, sandbox.staging(), "20m", &keep, &["run", "--timeout", "40s"])?;
    match output.status.code() {
        Some(code::GOOD) => drop(sandbox.run(&["verify", "--all"])?.good()?),
        _ => drop(output.expect(code::FAILURES)?.says("space")?),
    }
    ensure!(
        std::fs::read_dir(&keep)?.all(|entry| entry.is_ok_and(|e| e.file_name() == ".lock")),
        "plaintext was left in the full staging folder"
    );
    Ok(())
}

#[test]
fn a_target_folder_that_is_read_only_fails_the_step_and_a_later_sync_makes_up_for_it() -> Result<()> {
    // Even root may not write to a file system that is mounted read-only.
    const READ_ONLY: &str = "mount --bind \"$1\" \"$1\"\nmount -o remount,bind,ro \"$1\"";
    let files = tempfile::tempdir()?;
    let uploads = files.path().join("uploads");
    let shape = Shape {
        files: 40,
        ..Shape::default()
    };
    tree::generate(&uploads, 1, shape)?;
    let sandbox = Sandbox::builder()
        .directory("uploads", &uploads)
        .target_directory("offsite")
        .build()?;
    sandbox.run(&["run", "--sync-offsite"])?.good()?;
    let target = sandbox.target("offsite");
    let before = sandbox.objects(&target)?;
    tree::edit(&uploads, 10, 1)?;
    let read_only = |arguments: &[&str]| with_mounts(&sandbox, READ_ONLY, &[&target], arguments);
    let output = read_only(&["run", "--sync-offsite", "--json"])?.expect(code::FAILURES)?;
    sync_failed(&output, "offsite", &["Read-only file system"])?;
    read_only(&["sync"])?.expect(code::FAILURES)?.says("offsite")?;
    read_only(&["doctor"])?.expect(code::FAILURES)?.says("target offsite")?;

    assert_eq!(sandbox.objects(&target)?, before);
    assert_eq!(sandbox.artefacts()?.len(), 2);
    for place in ["local", "offsite"] {
        sandbox
            .run(&["verify", "--all", "--level", "decrypt", "--place", place])?
            .good()?;
    }
    sandbox.run(&["sync"])?.good()?;
    let to = sandbox.path("restored");
    let to_text = to.display().to_string();
    sandbox
        .run(&["restore", "volume", "uploads", "--to", &to_text, "--place", "offsite"])?
        .good()?;
    tree::compare(&uploads, &to)
}
