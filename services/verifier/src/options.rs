//! Options of verifications, and their values from the configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_config::Settings;
use holdfast_format::RunId;
use holdfast_restore::{Limits, Progress};
use holdfast_service::is_in_memory;
use holdfast_telemetry::clock::SharedClock;

/// Options of a verification.
#[derive(Clone)]
pub struct VerifyOptions {
    /// The run that asked for the verification, if one did.
    pub run: Option<RunId>,
    /// A folder for the artefact's contents, which stay sealed there.
    pub scratch: PathBuf,
    /// A folder for plaintext, into which level `restore` restores files. They are removed afterwards.
    pub trial: Option<PathBuf>,
    /// Additional folders to search for `pg_restore`.
    pub client_dirs: Vec<PathBuf>,
    /// Limits of memory and threads.
    pub limits: Limits,
    /// The clock for the times in the record.
    pub clock: SharedClock,
    /// Counts the bytes that were checked, and stops the check on request.
    pub progress: Arc<Progress>,
}

impl VerifyOptions {
    /// Reads the options from the configuration. Contents go to `scratch`.
    #[must_use]
    pub fn of(settings: &Settings, scratch: PathBuf, clock: SharedClock) -> Self {
        Self {
            run: None,
            scratch,
            trial: trial_dir(settings),
            client_dirs: settings.client_dirs(),
            limits: Limits::default(),
            clock,
            progress: Arc::default(),
        }
    }
}

/// Returns the folder to restore files into: the configured one, which may then hold plaintext, or else the machine's
/// shared memory if that lies in memory indeed.
#[must_use]
pub(crate) fn trial_dir(settings: &Settings) -> Option<PathBuf> {
    let shared = Path::new("/dev/shm");
    settings
        .verifier
        .scratch_dir
        .clone()
        .or_else(|| is_in_memory(shared).then(|| shared.to_owned()))
}
