//! The client programs: which `pg_dump` for which server. An older one refuses a newer server, so the one of the
//! server's own major version is taken, else the oldest that is newer.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use holdfast_config::Postgres;

use crate::PgError;

/// Where Debian and the PostgreSQL project's packages put the programs of each major version.
const VERSIONED: [(&str, &str); 2] = [("/usr/lib/postgresql", "bin"), ("/usr", "bin")];

/// How long a program may take to tell its version: one that hangs must not hold a capture up.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// No version is longer, in bytes.
const ANSWER_MAX: u64 = 4096;

/// A program of the PostgreSQL client, with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// Its major version.
    pub major: u32,
    /// Its version in full, as it says.
    pub version: String,
}

/// The programs that this machine has.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    dirs: Vec<PathBuf>,
}

impl Clients {
    /// Looks into the source's `client_dirs`, the usual places, and `PATH`.
    #[must_use]
    pub fn of(source: &Postgres) -> Self {
        let mut dirs = Vec::new();
        for dir in &source.client_dirs {
            dirs.extend([dir.join("bin"), dir.clone()]);
        }
        for (root, bin) in VERSIONED {
            let Ok(entries) = std::fs::read_dir(root) else { continue };
            let found = entries
                .flatten()
                .filter(|e| root != "/usr" || e.file_name().as_encoded_bytes().starts_with(b"pgsql-"));
            dirs.extend(found.map(|e| e.path().join(bin)));
        }
        if let Some(path) = std::env::var_os("PATH") {
            dirs.extend(std::env::split_paths(&path));
        }
        Self { dirs }
    }

    /// The best `program` for a server of this major version.
    ///
    /// # Errors
    /// [`PgError::NoClient`], naming what was found.
    pub fn find(&self, source: &Postgres, program: &'static str, server: u32) -> Result<Program, PgError> {
        let all: Vec<Program> = self.dirs.iter().filter_map(|dir| probe(&dir.join(program))).collect();
        match choose(&all, server) {
            Some(program) => Ok(program.clone()),
            None => Err(PgError::NoClient {
                source_name: source.label().to_owned(),
                program,
                needed: server,
                found: describe(&all),
            }),
        }
    }
}

fn choose(all: &[Program], server: u32) -> Option<&Program> {
    all.iter().filter(|p| p.major >= server).min_by_key(|p| p.major)
}

fn describe(all: &[Program]) -> String {
    if all.is_empty() {
        return "none".to_owned();
    }
    let mut found: Vec<String> = all
        .iter()
        .map(|p| format!("{} {}", p.path.display(), p.version))
        .collect();
    found.dedup();
    found.join(", ")
}

/// Asks a program for its version; `None` if it is not there or does not answer like one.
fn probe(path: &Path) -> Option<Program> {
    if !path.is_file() {
        return None;
    }
    let text = said_within(Command::new(path).arg("--version").env_clear(), ANSWER_WITHIN)?;
    let version = version_of(&text)?;
    let major = version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    Some(Program {
        path: path.to_owned(),
        major,
        version: version.to_owned(),
    })
}

/// What a program says until it closes its output; `None` if it cannot be run, or does not do that in time: then it is ended.
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
        tracing::warn!(program = ?command.get_program(), "it does not answer, and is passed over");
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
    }

    #[test]
    fn the_nearest_that_is_not_older_is_taken() {
        let all = [program(14), program(17), program(16)];
        assert_eq!(choose(&all, 15).unwrap().major, 16);
        assert_eq!(choose(&all, 17).unwrap().major, 17);
        assert_eq!(choose(&all, 18), None);
    }

    #[test]
    fn an_old_program_is_named_with_both_versions() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pg_dump");
        std::fs::write(&path, "#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let clients = Clients {
            dirs: vec![dir.path().to_owned()],
        };
        let found = probe(&path).unwrap();
        assert_eq!((found.major, found.version.as_str()), (9, "9.6.24"));
        assert!(choose(&[found], 15).is_none());
        assert!(describe(&[]).contains("none"));
        assert_eq!(clients.dirs.len(), 1);
    }
}
