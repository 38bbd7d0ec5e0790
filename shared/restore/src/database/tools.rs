//! PostgreSQL's own programs.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use holdfast_format::Manifest;

/// Where Debian and its kin put each major version's programs.
const DEBIAN: &str = "/usr/lib/postgresql";

/// How much of a program's complaints is kept.
const STDERR_MAX: usize = 16 << 10;

/// A program of PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Where it is.
    pub path: PathBuf,
    /// Its major version.
    pub major: u32,
}

/// A program of PostgreSQL could not be found or run.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// None is new enough.
    #[error("no {program} of PostgreSQL {wanted} or newer here{}: install the package postgresql-client-{wanted}",
        if found.is_empty() { String::new() } else { format!(" (found: {found})") })]
    NotFound {
        /// Its name.
        program: String,
        /// The lowest major version that would do.
        wanted: u32,
        /// What is here.
        found: String,
    },
    /// It could not be started or waited for.
    #[error("cannot run {}", program.display())]
    Run {
        /// Where it is.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ToolError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn retry(&self) -> bool {
        match self {
            Self::NotFound { .. } => false,
            Self::Run { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory
            ),
        }
    }
}

impl Tool {
    /// Finds `program` for a dump: of the server's major version if it can read the dump, else the oldest that can. A
    /// `pg_restore` reads dumps of its own and of older versions.
    ///
    /// # Errors
    /// [`ToolError::NotFound`]
    pub fn for_dump(
        program: &str,
        manifest: &Manifest,
        server: Option<u32>,
        dirs: &[PathBuf],
    ) -> Result<Self, ToolError> {
        let wanted = manifest
            .captured
            .tools
            .get("pg_dump")
            .and_then(|v| major(v))
            .unwrap_or(0);
        let found = all(program, dirs);
        let mut fit: Vec<&Self> = found.iter().filter(|tool| tool.major >= wanted).collect();
        // The first of equals stays first: a configured directory comes before the others.
        fit.sort_by_key(|tool| (Some(tool.major) != server, tool.major));
        fit.first()
            .map(|tool| (*tool).clone())
            .ok_or_else(|| ToolError::NotFound {
                program: program.to_owned(),
                wanted,
                found: found
                    .iter()
                    .map(|tool| tool.major.to_string())
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }

    /// A command that takes nothing of PostgreSQL's settings from this process's environment, and speaks English.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C.UTF-8").env("LANGUAGE", "");
        command
    }
}

fn all(program: &str, dirs: &[PathBuf]) -> Vec<Tool> {
    let mut places: Vec<PathBuf> = Vec::new();
    for dir in dirs {
        places.push(dir.join("bin"));
        places.push(dir.clone());
    }
    let mut debian: Vec<PathBuf> = std::fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    debian.sort();
    places.extend(debian);
    places.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    places
        .iter()
        .filter_map(|place| version(&place.join(program)))
        .collect()
}

/// The program at this path, if it says that it is one of PostgreSQL.
fn version(path: &Path) -> Option<Tool> {
    if !path.is_file() {
        return None;
    }
    let output = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let major = major(text.split("(PostgreSQL)").nth(1)?)?;
    Some(Tool {
        path: path.to_owned(),
        major,
    })
}

/// The number that a version begins with: 15 of `15.18 (Debian 15.18-1)`.
fn major(version: &str) -> Option<u32> {
    let digits: String = version.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Reads a program's complaints while it runs, so that it never waits for that.
pub(crate) struct Stderr(Option<JoinHandle<Vec<u8>>>);

impl Stderr {
    pub(crate) fn of(child: &mut Child) -> Self {
        let thread = child.stderr.take().map(|mut from| {
            std::thread::spawn(move || {
                let mut kept = Vec::new();
                let _ = from.by_ref().take(STDERR_MAX as u64).read_to_end(&mut kept);
                let _ = io::copy(&mut from, &mut io::sink());
                kept
            })
        });
        Self(thread)
    }

    /// What was said, at most 16 KiB of it. To be called when the program has ended.
    pub(crate) fn finish(self) -> String {
        let bytes = self.0.and_then(|thread| thread.join().ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majors() {
        assert_eq!(major(" 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major("18beta1"), Some(18));
        assert_eq!(major("unknown"), None);
    }
}
