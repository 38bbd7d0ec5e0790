//! Real PostgreSQL servers.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::certificates::Certificate;
use crate::process::{Process, Signal, free_port};
use crate::tools;
use crate::wait_until;

/// The superuser of every cluster.
pub const SUPERUSER: &str = "postgres";

/// The superuser's password in every cluster, so that restored globals do not lock a test out. Full of characters that
/// a URL, a password file or a shell may misread.
pub const PASSWORD: &str = r"hold fast:@/%1\'#";

/// The number of attempts to start, since another process may take the port meanwhile.
const ATTEMPTS: u32 = 5;

/// A PostgreSQL cluster of its own: a data directory in a temporary folder and a server on a free port of 127.0.0.1,
/// which asks for passwords and does not use fsync. Stopped and removed when the value is dropped.
#[derive(Debug)]
pub struct Cluster {
    bin: PathBuf,
    account: Option<Account>,
    port: u16,
    process: Option<Process>,
    // The last field, so that the folder is removed after the server has ended.
    dir: TempDir,
}

/// The account that the server runs as, since it refuses to run as root.
#[derive(Clone, Debug)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// Finds an account. `None` if this process is not root, and can run the server itself.
    fn find() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = std::fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
        let account = |name: &str| {
            let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut ids = line.split(':').skip(2).map(str::parse);
            Some(Self {
                uid: ids.next()?.ok()?,
                gid: ids.next()?.ok()?,
            })
        };
        let found = account("postgres").or_else(|| account("nobody"));
        Ok(Some(found.context("no account to run PostgreSQL as")?))
    }
}

impl Cluster {
    /// Makes a cluster and starts its server.
    ///
    /// # Errors
    /// If PostgreSQL is not installed, or does not start. The error has its output.
    pub fn start() -> Result<Self> {
        let mut cluster = Self::unmade(Account::find()?)?;
        cluster.initialise()?;
        cluster.restart()?;
        Ok(cluster)
    }

    /// One without a data directory.
    fn unmade(account: Option<Account>) -> Result<Self> {
        // The path is short, since the path of a Unix socket is limited to 107 bytes.
        let dir = tempfile::Builder::new().prefix("hf-pg-").tempdir()?;
        if let Some(account) = &account {
            chown(dir.path(), Some(account.uid), Some(account.gid))
                .context("give the folder to PostgreSQL's account")?;
        }
        Ok(Self {
            bin: tools::postgres_bin()?,
            account,
            port: 0,
            process: None,
            dir,
        })
    }

    /// Makes and starts one that speaks TLS with this certificate, and asks for those of users by this authority. `hba` is
    /// its `pg_hba.conf`; the superuser is let in without TLS before any of it.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_with_tls(certificate: &Certificate, authority: &Path, hba: &str) -> Result<Self> {
        let mut cluster = Self::start()?;
        for (name, file) in [
            ("server.pem", certificate.certificate.as_path()),
            ("server.key", &certificate.key),
            ("authority.pem", authority),
        ] {
            cluster.put(name, &std::fs::read(file)?)?;
        }
        let own = format!("hostnossl all {SUPERUSER} 127.0.0.1/32 scram-sha-256\n");
        cluster.put("pg_hba.conf", (own + hba).as_bytes())?;
        cluster.set(
            "ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\nssl_ca_file = 'authority.pem'\n",
        )?;
        Ok(cluster)
    }

    /// Makes and starts a standby of this one, which takes no writes.
    ///
    /// # Errors
    /// If it cannot be copied, or as [`Cluster::start`].
    pub fn standby(&self) -> Result<Self> {
        let account = Account::find()?;
        let mut standby = Self::unmade(account)?;
        let mut copy = standby.as_account(&self.bin.join("pg_basebackup"));
        copy.arg("-D").arg(standby.data_dir());
        copy.args([
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "-h",
            "127.0.0.1",
            "-U",
            SUPERUSER,
            "-w",
        ]);
        copy.args(["-p", &self.port.to_string()]).env("PGPASSWORD", PASSWORD);
        tools::text_of(&mut copy)?;
        standby.restart()?;
        Ok(standby)
    }

    /// Adds settings to its configuration, and starts it anew.
    ///
    /// # Errors
    /// As [`Cluster::restart`].
    pub fn set(&mut self, settings: &str) -> Result<()> {
        let path = self.data_dir().join("postgresql.conf");
        let mut text = std::fs::read_to_string(&path)?;
        text.push_str(settings);
        std::fs::write(&path, text)?;
        self.stop()?;
        self.restart()
    }

    /// Puts a file into the data directory.
    fn put(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.data_dir().join(name);
        std::fs::write(&path, content)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        if let Some(account) = &self.account {
            chown(&path, Some(account.uid), Some(account.gid))?;
        }
        Ok(())
    }

    fn initialise(&self) -> Result<()> {
        let password = self.dir.path().join("password");
        std::fs::write(&password, format!("{PASSWORD}\n"))?;
        let mut command = self.as_account(&self.bin.join("initdb"));
        command.arg("--pgdata").arg(self.data_dir());
        command.arg("--pwfile").arg(&password);
        command.args(["--username", SUPERUSER, "--auth", "scram-sha-256"]);
        command.args(["--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"]);
        tools::text_of(&mut command)?;
        Ok(())
    }

    /// Returns a command that runs as PostgreSQL's account.
    fn as_account(&self, program: &Path) -> Command {
        let mut command = match &self.account {
            None => Command::new(program),
            Some(account) => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={}", account.uid));
                command.arg(format!("--regid={}", account.gid));
                command.args(["--clear-groups", "--"]).arg(program);
                command
            }
        };
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Starts the server again on the same port, after [`Cluster::stop`].
    ///
    /// # Errors
    /// If the server does not start. The error has its log.
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "PostgreSQL is running already");
        for _ in 0..ATTEMPTS {
            let fresh = self.port == 0;
            if fresh {
                self.port = free_port()?;
            }
            let mut process = self.spawn()?;
            let answers = wait_until("PostgreSQL answers", Duration::from_secs(60), || {
                Ok(process.ended()?.is_some() || self.psql("postgres", "SELECT 1").is_ok())
            });
            if answers.is_ok() && process.ended()?.is_none() {
                self.process = Some(process);
                return Ok(());
            }
            let log = std::fs::read_to_string(self.log_file()).unwrap_or_default();
            if !(fresh && log.contains("could not bind")) {
                bail!("PostgreSQL did not start: {log}");
            }
            self.port = 0;
        }
        bail!("PostgreSQL found no free port in {ATTEMPTS} attempts")
    }

    fn spawn(&self) -> Result<Process> {
        let log = std::fs::File::create(self.log_file())?;
        let mut command = self.as_account(&self.bin.join("postgres"));
        command.arg("-D").arg(self.data_dir());
        command.arg("-k").arg(self.dir.path());
        command.args(["-p", &self.port.to_string()]);
        let settings = [
            "listen_addresses=127.0.0.1",
            "fsync=off",
            "full_page_writes=off",
            "synchronous_commit=off",
            "max_wal_size=4GB",
            "log_line_prefix=%m [%p] %a ",
        ];
        for setting in settings {
            command.args(["-c", setting]);
        }
        command.stdout(Stdio::null()).stderr(log);
        Process::spawn("PostgreSQL", &mut command)
    }

    /// Stops the server, cutting its connections (a "fast" shutdown).
    ///
    /// # Errors
    /// If the server had to be killed.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.stop(Signal::INT, Duration::from_secs(30))?;
        }
        Ok(())
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }

    /// The folder of its Unix socket.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the server's port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns a URL of a database for the superuser, without the password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        url(self.port, database, None)
    }

    /// Returns a URL of a database for the superuser, with the password.
    #[must_use]
    pub fn url_with_password(&self, database: &str) -> String {
        url(self.port, database, Some(PASSWORD))
    }

    /// Returns a client program (`psql`, `pg_dump`, `pgbench`) that connects to `database`, by its environment.
    #[must_use]
    pub fn client(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", SUPERUSER)
            .env("PGPASSWORD", PASSWORD)
            .env("PGDATABASE", database)
            .env("PGCONNECT_TIMEOUT", "10")
            .env("PGAPPNAME", "holdfast-tests");
        command
    }

    /// Runs SQL (and psql's own commands) and returns the rows: fields separated by `|`, one row per line.
    ///
    /// # Errors
    /// If any statement fails. The error has the server's message.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let mut command = self.client("psql", database);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("start psql")?;
        let mut stdin = child.stdin.take().context("psql has no standard input")?;
        let sql = sql.to_owned();
        // In a thread, since psql may fill its output before it has read all its input.
        let writer = std::thread::spawn(move || stdin.write_all(sql.as_bytes()));
        let output = child.wait_with_output()?;
        let written = writer.join();
        if !output.status.success() {
            bail!(
                "psql on {database:?}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        ensure!(
            matches!(written, Ok(Ok(()))),
            "psql on {database:?} did not read its input"
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Creates an empty database.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn create_database(&self, name: &str) -> Result<()> {
        // Made from template0, so that nothing of template1 is in it.
        self.psql(
            "postgres",
            &format!("CREATE DATABASE {} TEMPLATE template0;", quoted(name)),
        )?;
        Ok(())
    }

    /// Creates a database with pgbench's tables: 100,000 rows, some 15 MiB, for each unit of `scale`.
    ///
    /// # Errors
    /// If pgbench fails.
    pub fn pgbench(&self, name: &str, scale: u32) -> Result<()> {
        self.create_database(name)?;
        let mut command = self.client("pgbench", name);
        command.args(["-i", "-q", "-s", &scale.to_string()]);
        tools::text_of(&mut command)?;
        Ok(())
    }

    /// Returns the databases that a backup must hold: those that accept connections, without the templates.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn databases(&self) -> Result<Vec<String>> {
        let rows = self.psql(
            "postgres",
            "SELECT encode(convert_to(datname, 'UTF8'), 'hex') FROM pg_database
             WHERE datallowconn AND NOT datistemplate ORDER BY datname;",
        )?;
        rows.lines().map(from_hex).collect()
    }

    /// Counts the sessions of applications whose name begins with `prefix`.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn sessions(&self, prefix: &str) -> Result<usize> {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE {};",
            literal(&format!("{prefix}%"))
        );
        Ok(self.psql("postgres", &sql)?.trim().parse()?)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Returns the URL of a database on a port of 127.0.0.1.
#[must_use]
pub fn url(port: u16, database: &str, password: Option<&str>) -> String {
    let password = password
        .map(|text| format!(":{}", percent_encoded(text)))
        .unwrap_or_default();
    format!(
        "postgres://{SUPERUSER}{password}@127.0.0.1:{port}/{}",
        percent_encoded(database)
    )
}

/// Returns text as it is written in any part of a URL.
#[must_use]
pub fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Returns a name as an SQL identifier.
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns text as an SQL string.
#[must_use]
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn from_hex(text: &str) -> Result<String> {
    let bytes: Result<Vec<u8>, _> = (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2).unwrap_or(""), 16))
        .collect();
    Ok(String::from_utf8(
        bytes.with_context(|| format!("read {text:?} as hex"))?,
    )?)
}
