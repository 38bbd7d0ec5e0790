//! How to verify, and what the configuration says of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_config::{Secret, Settings};
use holdfast_format::RunId;
use holdfast_restore::{Limits, Progress};
use holdfast_sealing::{KeyError, SecretKeys};
use holdfast_telemetry::clock::SharedClock;

/// How to verify an artefact.
#[derive(Clone)]
pub struct VerifyOptions {
    /// The run that asks for it, if one does.
    pub run: Option<RunId>,
    /// A folder for contents, which stay sealed in it.
    pub scratch: PathBuf,
    /// A folder for plaintext, to restore files into; only for level `restore`. What is restored goes afterwards.
    pub trial: Option<PathBuf>,
    /// Further places to look for `pg_restore`.
    pub client_dirs: Vec<PathBuf>,
    /// Memory and threads.
    pub limits: Limits,
    /// The time.
    pub clock: SharedClock,
    /// How far it is, and when to stop.
    pub progress: Arc<Progress>,
}

impl VerifyOptions {
    /// The options that the configuration gives, with contents in `scratch`.
    #[must_use]
    pub fn of(settings: &Settings, scratch: PathBuf, clock: SharedClock) -> Self {
        Self {
            run: None,
            scratch,
            trial: trial_dir(settings),
            client_dirs: client_dirs(settings),
            limits: Limits::default(),
            clock,
            progress: Arc::default(),
        }
    }
}

/// The secret backup keys of `[verifier]`; `None` if there are none.
///
/// # Errors
/// [`KeyError`], which names the file.
pub fn secret_keys(settings: &Settings) -> Result<Option<SecretKeys>, KeyError> {
    let section = &settings.verifier;
    if section.secret_keys.is_empty() {
        return Ok(None);
    }
    let passphrase = section.passphrase.as_ref().map(Secret::expose);
    SecretKeys::from_files(&section.secret_keys, passphrase).map(Some)
}

/// The folder to restore files into: the configured one, which may then hold plaintext, else the machine's shared memory,
/// if it is a tmpfs.
#[must_use]
pub fn trial_dir(settings: &Settings) -> Option<PathBuf> {
    const TMPFS: i64 = 0x0102_1994;
    let shared = Path::new("/dev/shm");
    let is_tmpfs = || rustix::fs::statfs(shared).is_ok_and(|s| s.f_type == TMPFS);
    settings
        .verifier
        .scratch_dir
        .clone()
        .or_else(|| is_tmpfs().then(|| shared.to_owned()))
}

/// All places to look for PostgreSQL's programs that the configuration names.
#[must_use]
pub fn client_dirs(settings: &Settings) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = settings
        .postgres
        .iter()
        .flat_map(|server| server.client_dirs.clone())
        .collect();
    dirs.sort();
    dirs.dedup();
    dirs
}
