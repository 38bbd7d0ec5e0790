//! The folder of a private server: who owns it, what it holds.
//!
//! Two locks. `owner.lock` is held by our process and ends with it, so who cannot take it knows that its owner lives.
//! `store.lock` is held by the server's processes, through their standard output, and ends with the last of them: who has
//! taken it knows that no earlier server writes to the store.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::error::ServerError;
use crate::options::Auth;

/// A server that runs: its address, and the credentials for it.
#[derive(Clone, Debug)]
pub struct RunningServer {
    /// The server's address on loopback.
    pub url: String,
    pub auth: Auth,
    /// The id of the server's process.
    pub pid: u32,
}

/// The user of the server: whoever can read the folder may do everything, as the operator may.
const USER: &str = "operator";

/// A name that the kernel gives to each start of the machine.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The folder, owned by this process.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    _owner: File,
}

/// Port and credentials of a server.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) port: Option<u16>,
    pub(super) password: SecretString,
}

#[derive(Serialize, Deserialize)]
struct StoredSeat {
    port: Option<u16>,
    password: String,
}

impl Seat {
    pub(super) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port.unwrap_or_default())
    }

    pub(super) fn auth(&self) -> Auth {
        Auth::Password {
            user: USER.to_owned(),
            password: self.password.clone(),
        }
    }

    fn of(stored: StoredSeat) -> Self {
        Self {
            port: stored.port,
            password: stored.password.into(),
        }
    }
}

impl Folder {
    /// Makes the folder ours until this value is dropped or the process ends.
    pub(super) async fn own(dir: &Path) -> Result<Self, ServerError> {
        let make = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        make.map_err(|source| fault("create the folder", dir, source))?;
        let dir = dir
            .canonicalize()
            .map_err(|source| fault("find the folder", dir, source))?;
        let path = dir.join("owner.lock");
        let mut owner = private(&path, false).map_err(|source| fault("open", &path, source))?;
        // A process that only asks whether a server runs holds the lock for a moment too.
        let deadline = Instant::now() + Duration::from_millis(500);
        loop {
            match owner.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(TryLockError::WouldBlock) => {
                    let pid = fs::read_to_string(&path)
                        .unwrap_or_default()
                        .trim()
                        .parse()
                        .unwrap_or(0);
                    return Err(ServerError::InUse { dir, pid });
                }
                Err(TryLockError::Error(source)) => return Err(fault("lock", &path, source)),
            }
        }
        let written = owner
            .set_len(0)
            .and_then(|()| writeln!(owner, "{}", std::process::id()));
        written.map_err(|source| fault("write", &path, source))?;
        Ok(Self { dir, _owner: owner })
    }

    /// The seat of the last server, which a client may still look for, or a new one.
    pub(super) fn seat(&self) -> Result<Seat, ServerError> {
        if let Some(stored) = stored_seat(&self.dir) {
            return Ok(Seat::of(stored));
        }
        // Two random UUIDs: 244 random bits.
        let a = uuid::Uuid::new_v4().simple();
        let b = uuid::Uuid::new_v4().simple();
        Ok(Seat {
            port: None,
            password: format!("{a}{b}").into(),
        })
    }

    pub(super) fn keep_seat(&self, seat: &Seat) -> Result<(), ServerError> {
        let stored = StoredSeat {
            port: seat.port,
            password: seat.password.expose_secret().to_owned(),
        };
        let text = serde_json::to_string(&stored).map_err(|error| fault("write", &self.seat_path(), error.into()))?;
        self.write_private(&self.seat_path(), &text)
    }

    /// Writes the server's configuration. Credentials stand in it and nowhere else: not in arguments, not in the environment.
    pub(super) fn write_config(&self, seat: &Seat) -> Result<PathBuf, ServerError> {
        let port = seat.port.map_or_else(|| "-1".to_owned(), |port| port.to_string());
        let store = self.quoted("jetstream");
        let log = self.quoted("nats-server.log");
        let pid = self.quoted("nats-server.pid");
        let ports = self.quoted("ports");
        let password = seat.password.expose_secret();
        // Not `sync_interval: always`: what the server has confirmed outlives its own death, and of what a power cut leaves
        // nothing is believed (see `renew_store`). The limit of the store is given, as the server would else take a share
        // of what is free now and refuse streams on a small disk.
        let text = format!(
            "server_name: holdfast\n\
             listen: \"127.0.0.1:{port}\"\n\
             authorization {{ user: {USER}, password: \"{password}\" }}\n\
             max_payload: 1MB\n\
             jetstream {{\n  store_dir: {store}\n  max_file_store: 4GB\n  max_memory_store: 64MB\n}}\n\
             log_file: {log}\nlogfile_size_limit: 8MB\nlogfile_max_num: 3\n\
             pid_file: {pid}\nports_file_dir: {ports}\n"
        );
        let path = self.config_path();
        self.write_private(&path, &text)?;
        Ok(path)
    }

    /// Takes the lock of the store. An earlier server ends within moments of its owner; one that does not is killed.
    pub(super) async fn lock_store(&self) -> Result<File, ServerError> {
        let path = self.dir.join("store.lock");
        let store = private(&path, false).map_err(|source| fault("open", &path, source))?;
        for patience in [Duration::from_secs(12), Duration::from_secs(5)] {
            let deadline = Instant::now() + patience;
            while Instant::now() < deadline {
                match store.try_lock() {
                    Ok(()) => return Ok(store),
                    Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(50)).await,
                    Err(TryLockError::Error(source)) => return Err(fault("lock", &path, source)),
                }
            }
            self.kill_earlier();
        }
        Err(ServerError::Held { dir: self.dir.clone() })
    }

    /// Removes the store if the machine has started since it was last written: it is not synced at each write, so nobody
    /// knows how much of it a power cut has left. The reconcilers ask anew for all that was asked for in it, as the
    /// repository tells what is missing. Needs the lock of the store.
    pub(super) fn renew_store(&self) -> Result<(), ServerError> {
        let store = self.dir.join("jetstream");
        let written = self.dir.join("boot");
        let boot = fs::read_to_string(BOOT).map_err(|source| fault("read", Path::new(BOOT), source))?;
        if fs::read_to_string(&written).is_ok_and(|last| last == boot) {
            return Ok(());
        }
        match fs::remove_dir_all(&store) {
            Ok(()) => {
                tracing::info!("the machine has started anew: the private nats-server begins with an empty store")
            }
            // Not there; or something else is, of which the server complains better.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(source) => return Err(fault("remove", &store, source)),
        }
        self.write_private(&written, &boot)
    }

    /// Kills the server in the pid file, if that process is a server with our configuration.
    fn kill_earlier(&self) {
        let Some(pid) = self.pid() else { return };
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let config = self.config_path();
        let ours = arguments
            .split(|byte| *byte == 0)
            .any(|argument| argument == config.as_os_str().as_encoded_bytes());
        if let (true, Some(process)) = (ours, i32::try_from(pid).ok().and_then(Pid::from_raw)) {
            tracing::warn!(pid, "an earlier private nats-server outlived its owner and is killed");
            let _ = kill_process(process, Signal::KILL);
        }
    }

    /// Removes what an earlier server wrote about itself, so that it is not taken for the next one's word.
    pub(super) fn clear(&self) -> Result<(), ServerError> {
        let ports = self.dir.join("ports");
        for gone in [
            fs::remove_dir_all(&ports),
            fs::remove_file(self.dir.join("nats-server.pid")),
        ] {
            if let Err(source) = gone
                && source.kind() != io::ErrorKind::NotFound
            {
                return Err(fault("clear", &self.dir, source));
            }
        }
        DirBuilder::new()
            .mode(0o700)
            .create(&ports)
            .map_err(|source| fault("create", &ports, source))
    }

    /// The server's process, once it has written that down.
    pub(super) fn pid(&self) -> Option<u32> {
        pid_in(&self.dir)
    }

    /// The port that the server with this process listens on, once it does.
    pub(super) fn port(&self, pid: u32) -> Option<u16> {
        let suffix = format!("_{pid}.ports");
        let file = fs::read_dir(self.dir.join("ports")).ok()?.flatten().find(|file| {
            let name = file.file_name();
            name.to_str().is_some_and(|name| name.ends_with(&suffix))
        })?;
        let ports: serde_json::Value = serde_json::from_slice(&fs::read(file.path()).ok()?).ok()?;
        let url = ports.get("nats")?.get(0)?.as_str()?;
        url.rsplit_once(':')?.1.parse().ok()
    }

    /// A file for what the server says before it has opened its log.
    pub(super) fn early_log(&self) -> Result<File, ServerError> {
        let path = self.dir.join("nats-server.err");
        private(&path, true).map_err(|source| fault("create", &path, source))
    }

    /// The end of what the server said.
    pub(super) fn last_words(&self) -> String {
        let mut words = Vec::new();
        for name in ["nats-server.err", "nats-server.log"] {
            let said = fs::read(self.dir.join(name)).unwrap_or_default();
            let said = String::from_utf8_lossy(&said[said.len().saturating_sub(16 * 1024)..]).into_owned();
            let faults = said
                .lines()
                .filter(|line| name.ends_with(".err") || line.contains("[ERR]") || line.contains("[FTL]"));
            let mut last: Vec<String> = faults.map(|line| line.trim().to_owned()).collect();
            words.extend(last.split_off(last.len().saturating_sub(3)));
        }
        if words.is_empty() {
            format!("it said nothing; see {}", self.dir.join("nats-server.log").display())
        } else {
            words.join(" | ")
        }
    }

    fn config_path(&self) -> PathBuf {
        self.dir.join("nats.conf")
    }

    fn seat_path(&self) -> PathBuf {
        seat_path(&self.dir)
    }

    /// A path in the folder as a string of the configuration's language.
    fn quoted(&self, name: &str) -> String {
        let path = self.dir.join(name).display().to_string();
        format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\""))
    }

    fn write_private(&self, path: &Path, text: &str) -> Result<(), ServerError> {
        let temporary = path.with_extension("tmp");
        let written = private(&temporary, true)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&temporary, path));
        written.map_err(|source| fault("write", path, source))
    }
}

/// The server that somebody runs on this folder.
pub(super) fn running(dir: &Path) -> Option<RunningServer> {
    let owner = File::open(dir.join("owner.lock")).ok()?;
    if !matches!(owner.try_lock_shared(), Err(TryLockError::WouldBlock)) {
        return None;
    }
    let seat = Seat::of(stored_seat(dir)?);
    Some(RunningServer {
        url: seat.url(),
        auth: seat.auth(),
        pid: pid_in(dir)?,
    })
}

fn seat_path(dir: &Path) -> PathBuf {
    dir.join("seat.json")
}

fn stored_seat(dir: &Path) -> Option<StoredSeat> {
    serde_json::from_slice(&fs::read(seat_path(dir)).ok()?).ok()
}

fn pid_in(dir: &Path) -> Option<u32> {
    fs::read_to_string(dir.join("nats-server.pid"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn private(path: &Path, truncate: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(truncate)
        .mode(0o600)
        .open(path)
}

fn fault(action: &'static str, path: &Path, source: io::Error) -> ServerError {
    ServerError::Folder {
        action,
        path: path.to_owned(),
        source,
    }
}
