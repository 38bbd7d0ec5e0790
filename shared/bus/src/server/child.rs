//! The server's process, and the shell that ends it when ours ends.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{self, ChildStdin, Command};
use tokio::time::Instant;

use super::error::ServerError;
use super::folder::{Folder, Seat};

/// Runs the server beside a watcher that reads our end of a pipe. The pipe ends when we close it and also when we are
/// killed; then the watcher asks the server to stop, and if it has not within 10 s, kills it. When the server ends by
/// itself, the shell ends the watcher and returns.
const GUARD: &str = r#"
exec 3<&0
"$1" --config "$2" </dev/null 3<&- &
server=$!
{
    while read -r _; do :; done
    kill -INT "$server" 2>/dev/null
    tries=0
    while kill -0 "$server" 2>/dev/null; do
        tries=$((tries + 1))
        if [ "$tries" -gt 100 ]; then kill -KILL "$server" 2>/dev/null; exit; fi
        sleep 0.1
    done
} <&3 &
watcher=$!
wait "$server"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"#;

/// The time that a server may take to be ready: it reads its whole store first.
const READY: Duration = Duration::from_secs(60);

/// The time that a server may take to stop, its watcher's patience included.
const STOPPED: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(super) struct Child {
    shell: process::Child,
    /// Closing it stops the server.
    leash: Option<ChildStdin>,
    pid: u32,
}

impl Child {
    /// Starts a server at the seat if its port is free, else at another port; says which.
    pub(super) async fn start(binary: &Path, folder: &Folder, mut seat: Seat) -> Result<(Self, Seat), ServerError> {
        let mut started = Self::start_at(binary, folder, &seat).await;
        if let (Err(ServerError::NotReady { log }), Some(port)) = (&started, seat.port) {
            tracing::info!(
                port,
                log,
                "the private nats-server cannot use its port again and gets another"
            );
            seat.port = None;
            started = Self::start_at(binary, folder, &seat).await;
        }
        let child = started?;
        seat.port = folder.port(child.pid).or(seat.port);
        folder.keep_seat(&seat)?;
        Ok((child, seat))
    }

    /// Starts a server at the seat, and waits until it is ready.
    pub(super) async fn start_at(binary: &Path, folder: &Folder, seat: &Seat) -> Result<Self, ServerError> {
        let lock = folder.lock_store().await?;
        folder.renew_store()?;
        folder.clear()?;
        let config = folder.write_config(seat)?;
        let mut child = Self::spawn(binary, &config, lock, folder.early_log()?)?;
        let deadline = Instant::now() + READY;
        loop {
            if let Some(pid) = folder.pid()
                && folder.port(pid).is_some()
            {
                child.pid = pid;
                return Ok(child);
            }
            let ended = child.shell.try_wait().is_ok_and(|status| status.is_some());
            if ended || Instant::now() > deadline {
                child.stop().await;
                return Err(ServerError::NotReady {
                    log: folder.last_words(),
                });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn spawn(binary: &Path, config: &Path, lock: File, log: File) -> Result<Self, ServerError> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", GUARD, "holdfast-nats-server"])
            .arg(binary)
            .arg(config)
            // Our environment may hold secrets that are no business of the server's.
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            // A group of its own: Ctrl-C in a terminal is for us, and the server has to outlive our drain.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(lock)
            .stderr(log);
        let mut shell = command.spawn().map_err(|source| ServerError::Folder {
            action: "run",
            path: binary.to_owned(),
            source,
        })?;
        let leash = shell.stdin.take();
        Ok(Self { shell, leash, pid: 0 })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns when the server has ended.
    pub(super) async fn ended(&mut self) {
        match self.shell.wait().await {
            Ok(status) => tracing::debug!(code = status.code(), signal = status.signal(), "nats-server ended"),
            Err(error) => tracing::debug!(%error, "nats-server cannot be waited for"),
        }
    }

    /// Stops the server, and returns when it has ended.
    pub(super) async fn stop(mut self) {
        // Told to end, the server would write its store down for a while. Nobody needs that: all of the store can be made again
        // from the repository, and what the server has written so far the system keeps.
        let server = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(server) = server {
            let _ = kill_process(server, Signal::KILL);
        }
        drop(self.leash.take());
        let group = self
            .shell
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if tokio::time::timeout(STOPPED, self.ended()).await.is_err() {
            tracing::warn!("the private nats-server does not stop and is killed");
            if let Some(group) = group {
                let _ = kill_process_group(group, Signal::KILL);
            }
            self.ended().await;
        }
    }
}
