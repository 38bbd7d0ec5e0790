//! Full disks. A small file system is mounted in a mount namespace of the command's own, where nobody else sees it: this
//! needs root, or the right to mount.

use std::path::Path;
use std::process::Command;

use holdfast_tests::output::{Output, code};
use holdfast_tests::tree::{self, Shape};
use holdfast_tests::{Result, Sandbox, ensure, tools};

/// Runs `holdfast` with a tmpfs of `size` over `dir`, which begins with what `dir` holds; and gives what it left there to
/// `keep`.
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

    // What the full disk held is a repository in good order.
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
