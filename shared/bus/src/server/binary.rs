//! Finds a `nats-server` program that is new enough.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::error::ServerError;

const NEEDED: &str = "2.10.0";
const OLDEST: (u32, u32) = (2, 10);
const NAME: &str = "nats-server";

/// The configured program if it is new enough, else the first in `PATH` that is.
pub(super) async fn find(configured: Option<&Path>) -> Result<PathBuf, ServerError> {
    if let Some(path) = configured {
        return check(path).await;
    }
    let mut first_failure = None;
    for path in in_path() {
        match check(&path).await {
            Ok(path) => return Ok(path),
            Err(failure) => first_failure = first_failure.or(Some(failure)),
        }
    }
    Err(first_failure.unwrap_or(ServerError::NoBinary { needed: NEEDED }))
}

/// Lists the program's possible paths: in `PATH`, and in the folders for daemons, which a user's `PATH` may lack.
fn in_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let daemons = ["/usr/local/sbin", "/usr/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .chain(daemons)
        .map(|folder| folder.join(NAME))
        .filter(|program| program.is_file())
        .collect()
}

async fn check(path: &Path) -> Result<PathBuf, ServerError> {
    let said = ask(path).await.map_err(|source| ServerError::Version {
        path: path.to_owned(),
        source,
    })?;
    let (found, version) = parse(&said).ok_or_else(|| ServerError::Version {
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, "it is not nats-server"),
    })?;
    if version >= OLDEST {
        return Ok(path.to_owned());
    }
    Err(ServerError::TooOld {
        path: path.to_owned(),
        found,
        needed: NEEDED,
    })
}

async fn ask(path: &Path) -> io::Result<String> {
    let asked = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(10), asked)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Version text, major and minor from `nats-server: v2.10.27`.
fn parse(said: &str) -> Option<(String, (u32, u32))> {
    let version = said.trim().strip_prefix("nats-server: v")?;
    let mut parts = version.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    Some((version.to_owned(), (major, minor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(parse("nats-server: v2.10.27\n"), Some(("2.10.27".to_owned(), (2, 10))));
        assert_eq!(parse("nats-server: v2.9.10"), Some(("2.9.10".to_owned(), (2, 9))));
        assert!((2, 9) < OLDEST && (2, 10) >= OLDEST && (3, 0) >= OLDEST);
        assert_eq!(parse("GNU bash, version 5.2"), None);
    }
}
