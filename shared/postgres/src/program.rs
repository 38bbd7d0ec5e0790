//! PostgreSQL's own programs: the folders that hold them, and the version that is needed. A program refuses a server or
//! a dump that is newer than itself.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::PgError;

/// The folders in which packages put the programs of each major version: Debian's, and Red Hat's with a prefix.
const VERSIONED: [(&str, &str); 2] = [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")];

/// The time that a program may take to tell its version. A program that hangs must not hold anything up.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The longest text of a program's version, in bytes.
const ANSWER_MAX: u64 = 4096;

/// The variables that a program keeps of this process: the folders of programs and libraries.
const KEPT: [&str; 2] = ["PATH", "LD_LIBRARY_PATH"];

/// A program of the PostgreSQL client, with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub path: PathBuf,
    pub major: u32,
    /// The version in full, as the program tells it.
    pub version: String,
}

impl Program {
    /// A command that finds nothing of PostgreSQL's settings in its environment or its user's home, and speaks English.
    #[must_use]
    pub fn command(&self) -> Command {
        clean(&self.path)
    }
}

/// The programs that this machine has.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    dirs: Vec<PathBuf>,
}

impl Programs {
    /// Looks into these folders and their `bin`, the usual places, and `PATH`, in this order.
    #[must_use]
    pub fn in_dirs(client_dirs: &[PathBuf]) -> Self {
        let mut dirs: Vec<PathBuf> = client_dirs
            .iter()
            .flat_map(|dir| [dir.join("bin"), dir.clone()])
            .collect();
        for (root, prefix) in VERSIONED {
            let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
            let fitting = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()));
            let mut found: Vec<PathBuf> = fitting.map(|entry| entry.path().join("bin")).collect();
            found.sort();
            dirs.extend(found);
        }
        dirs.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
        Self { dirs }
    }

    /// The best `program` of at least this major version: of the version that is liked, else the oldest.
    ///
    /// # Errors
    /// [`PgError::NoProgram`], naming what was found.
    pub fn find(&self, program: &str, at_least: u32, liked: Option<u32>) -> Result<Program, PgError> {
        let all: Vec<Program> = self.dirs.iter().filter_map(|dir| probe(&dir.join(program))).collect();
        choose(&all, at_least, liked)
            .cloned()
            .ok_or_else(|| PgError::NoProgram {
                program: program.to_owned(),
                needed: at_least,
                found: describe(&all),
            })
    }
}

/// The number that a version begins with: 15 of `15.18 (Debian 15.18-1)`.
#[must_use]
pub fn major(version: &str) -> Option<u32> {
    version
        .trim_start()
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// The first of equals: a folder that is configured comes before the others.
fn choose(all: &[Program], at_least: u32, liked: Option<u32>) -> Option<&Program> {
    let fitting = all.iter().filter(|program| program.major >= at_least);
    fitting.min_by_key(|program| (Some(program.major) != liked, program.major))
}

fn describe(all: &[Program]) -> String {
    if all.is_empty() {
        return "none".to_owned();
    }
    let mut found: Vec<String> = all
        .iter()
        .map(|program| format!("{} {}", program.path.display(), program.version))
        .collect();
    found.dedup();
    found.join(", ")
}

fn clean(path: &Path) -> Command {
    let mut command = Command::new(path);
    let kept = KEPT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let kept: Vec<(&str, OsString)> = kept.collect();
    command
        .env_clear()
        .envs(kept)
        .env("LC_ALL", "C")
        .env("HOME", "/nonexistent");
    command
}

/// Asks a program for its version; `None` if it is not there or does not answer like one.
fn probe(path: &Path) -> Option<Program> {
    if !path.is_file() {
        return None;
    }
    let text = said_within(clean(path).arg("--version"), ANSWER_WITHIN)?;
    let version = version_of(&text)?;
    Some(Program {
        path: path.to_owned(),
        major: major(version)?,
        version: version.to_owned(),
    })
}

/// Reads a program's output until it is closed. Gives `None` if the program cannot be run, or does not close it in time and
/// is ended.
fn said_within(command: &mut Command, time: Duration) -> Option<String> {
    let spawned = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = spawned.ok()?;
    let stdout = child.stdout.take()?;
    let (tell, said) = mpsc::channel();
    // Reads on by itself if the program has handed its output to one that outlives it.
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stdout.take(ANSWER_MAX).read_to_end(&mut text);
        let _ = tell.send(text);
    });
    let text = said.recv_timeout(time);
    if text.is_err() {
        tracing::warn!(program = ?command.get_program(), "a program does not tell its version, and is passed over");
    }
    // One that has answered may still run; whatever it does then is not waited for.
    let _ = child.kill();
    let _ = child.wait();
    String::from_utf8(text.ok()?).ok()
}

/// `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` says 15.18.
fn version_of(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(") ")?;
    rest.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn program(major: u32) -> Program {
        Program {
            path: format!("/pg/{major}").into(),
            major,
            version: format!("{major}.1"),
        }
    }

    #[test]
    fn a_program_that_says_nothing_is_passed_over() {
        let shell = |script: &str| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]);
            said_within(&mut command, Duration::from_millis(300))
        };
        assert_eq!(shell("echo here; exec >&-; sleep 60").as_deref(), Some("here\n"));
        assert_eq!(shell("exec sleep 60"), None);
        assert_eq!(shell("sleep 1 & exit 0"), None, "its child holds the output");
        assert_eq!(shell("exit 3").as_deref(), Some(""));
    }

    #[test]
    fn versions_read() {
        assert_eq!(
            version_of("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some("15.18")
        );
        assert_eq!(version_of("pg_dump (PostgreSQL) 18beta1\n"), Some("18beta1"));
        assert_eq!(version_of("nonsense"), None);
        assert_eq!(major(" 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major("18beta1"), Some(18));
        assert_eq!(major("unknown"), None);
    }

    #[test]
    fn the_nearest_that_is_not_older_is_taken() {
        let all = [program(14), program(17), program(16)];
        let chosen = |at_least, liked| choose(&all, at_least, liked).map(|program| program.major);
        assert_eq!(chosen(15, None), Some(16));
        assert_eq!(chosen(17, None), Some(17));
        assert_eq!(chosen(18, None), None);
        assert_eq!(chosen(14, Some(17)), Some(17), "the server's own version is liked best");
        assert_eq!(chosen(15, Some(14)), Some(16), "and too old all the same");
    }

    #[test]
    fn an_old_program_is_named_with_its_version_and_sees_a_clean_environment() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pg_dump");
        std::fs::write(
            &path,
            "#!/bin/sh\necho \"pg_dump (PostgreSQL) 9.6.24$HOLDFAST_SECRET$CARGO_PKG_NAME\"\n",
        )
        .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let programs = Programs {
            dirs: vec![dir.path().to_owned()],
        };
        let found = programs.find("pg_dump", 9, None).unwrap();
        assert_eq!((found.major, found.version.as_str()), (9, "9.6.24"));
        let error = programs.find("pg_dump", 15, None).unwrap_err().to_string();
        assert!(
            error.contains("pg_dump 9.6.24") && error.contains("client-15"),
            "{error}"
        );
        let error = programs.find("pg_restore", 15, None).unwrap_err().to_string();
        assert!(error.contains("(found: none)"), "{error}");
    }
}
