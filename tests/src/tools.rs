//! The programs that tests need, and the places where they are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};

/// Returns the root folder of the repository.
#[must_use]
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// Returns the path of the `holdfast` program: `HOLDFAST_BIN`, else the one that was built beside this test.
///
/// # Errors
/// If the program has not been built.
pub fn holdfast() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("HOLDFAST_BIN") {
        let path = PathBuf::from(path);
        ensure!(
            path.is_file(),
            "HOLDFAST_BIN names {}, which is not a file",
            path.display()
        );
        return Ok(path);
    }
    let test = std::env::current_exe().context("find this test's own program")?;
    // The test is target/<profile>/deps/<test>, or target/<profile>/<program>.
    let beside = test
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("holdfast"))
        .find(|path| path.is_file());
    beside.with_context(|| {
        format!(
            "there is no `holdfast` program beside {}: run `cargo build -p holdfast-cli` first",
            test.display()
        )
    })
}

/// Returns the path of the `nats-server` program: `HOLDFAST_NATS_SERVER`, else the one that
/// `tests/tools/nats-server-path` finds or installs.
///
/// # Errors
/// If there is none.
pub fn nats_server() -> Result<PathBuf> {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = FOUND.get() {
        return Ok(path.clone());
    }
    let path = match std::env::var_os("HOLDFAST_NATS_SERVER") {
        Some(path) => PathBuf::from(path),
        None => {
            let script = root().join("tests/tools/nats-server-path");
            PathBuf::from(text_of(&mut Command::new(&script))?.trim())
        }
    };
    ensure!(path.is_file(), "{} is no nats-server program", path.display());
    Ok(FOUND.get_or_init(|| path).clone())
}

/// Returns the path of the script that starts an S3 server.
#[must_use]
pub fn s3_server() -> PathBuf {
    root().join("tests/tools/s3-server")
}

/// Returns the folder of PostgreSQL's programs: `HOLDFAST_PG_BIN`, else that of the newest version that Debian's
/// packages have installed.
///
/// # Errors
/// If there is none.
pub fn postgres_bin() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("HOLDFAST_PG_BIN") {
        return Ok(path.into());
    }
    let base = Path::new("/usr/lib/postgresql");
    let mut versions: Vec<(u32, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(base).with_context(|| format!("look for PostgreSQL in {}", base.display()))? {
        let path = entry?.path();
        let major = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        let bin = path.join("bin");
        if let Some(major) = major
            && bin.join("initdb").is_file()
        {
            versions.push((major, bin));
        }
    }
    let newest = versions.into_iter().max();
    Ok(newest
        .context("no PostgreSQL server is installed: run deploy/install-tools")?
        .1)
}

/// Runs a command and returns its standard output.
///
/// # Errors
/// If the command cannot be started or fails. The error has its standard error.
pub fn text_of(command: &mut Command) -> Result<String> {
    let name = format!("{:?}", command.get_program());
    let output = command.output().with_context(|| format!("start {name}"))?;
    if !output.status.success() {
        bail!(
            "{name} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("read what {name} printed"))
}
