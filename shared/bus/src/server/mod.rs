//! A `nats-server` of our own: a child process on loopback, for a host without one.

mod binary;
mod child;
mod error;
mod folder;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use crate::options::Auth;
use child::Child;
use folder::{Folder, Seat};

pub use error::ServerError;
pub use folder::RunningServer;

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
