//! A PostgreSQL cluster of the test's own, in a directory that goes with it. The server refuses to run as root, so then it
//! runs as the user `postgres`.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "pa ss:w\\o'rd";

pub(crate) struct Cluster {
    server: Child,
    port: u16,
    bin: PathBuf,
    _dir: TempDir,
}

/// The newest installed version's programs.
fn bin() -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .unwrap()
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().expect("a PostgreSQL server is installed")
}

/// A command that the server's user runs.
fn command(program: &PathBuf) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(program);
    command
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let dir = TempDir::new().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let data = dir.path().join("data");
        let bin = bin();
        let password = dir.path().join("password");
        fs::create_dir(&data).unwrap();
        fs::write(&password, format!("{PASSWORD}\n")).unwrap();
        if rustix::process::geteuid().is_root() {
            let owner = Command::new("chown")
                .arg("-R")
                .arg("postgres")
                .arg(dir.path())
                .status()
                .unwrap();
            assert!(owner.success());
        }
        let init = command(&bin.join("initdb"))
            .args([
                "-U",
                "admin",
                "-A",
                "scram-sha-256",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
                "--pwfile",
            ])
            .arg(&password)
            .arg("-D")
            .arg(&data)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(init.success());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = command(&bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "unix_socket_directories=",
                "-c",
                "fsync=off",
            ])
            .args(["-c", &format!("port={port}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let cluster = Self {
            server,
            port,
            bin,
            _dir: dir,
        };
        cluster.wait();
        cluster
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let ready = Command::new(self.bin.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status()
                .unwrap();
            if ready.success() {
                return;
            }
            assert!(Instant::now() < deadline, "the server does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The address of a database, without the password.
    pub(crate) fn url(&self, database: &str) -> String {
        let name: String = database.bytes().map(|b| format!("%{b:02x}")).collect();
        format!("postgres://admin@127.0.0.1:{}/{name}", self.port)
    }

    fn tool(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "admin")
            .env("PGPASSWORD", PASSWORD)
            .env("PGDATABASE", database);
        command
    }

    /// Runs SQL; gives what it prints.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let output = self
            .tool("psql", database)
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn dump(&self, database: &str) -> Vec<u8> {
        let output = self.tool("pg_dump", database).args(["-Fc", "-Z0"]).output().unwrap();
        assert!(output.status.success());
        output.stdout
    }

    pub(crate) fn globals(&self) -> Vec<u8> {
        let output = self
            .tool("pg_dumpall", "postgres")
            .arg("--globals-only")
            .output()
            .unwrap();
        assert!(output.status.success());
        output.stdout
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Immediate: nothing here is to be kept. The server ends its own children.
        if let Some(pid) = rustix::process::Pid::from_raw(self.server.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        }
        let _ = self.server.wait();
    }
}
