//! `[verifier]`: the keys and level of verifications.

use std::path::PathBuf;

use holdfast_format::Level;
use serde::Serialize;

use crate::secret::Secret;
use crate::table::Table;

/// `[verifier]`: the keys and level of verifications.
#[derive(Clone, Debug, Serialize)]
pub struct Verifier {
    /// Files with secret backup keys. Needed for `decrypt` and `restore`. Default: none.
    pub secret_keys: Vec<PathBuf>,
    /// The passphrase of the secret keys (or `passphrase_file`), if they are locked.
    pub passphrase: Option<Secret>,
    /// The level of verifications that are requested without one. Default: `decrypt`.
    pub level: Level,
    /// The folder for trial restores. Default: none; then the service uses one in a tmpfs.
    pub scratch_dir: Option<PathBuf>,
}

impl Verifier {
    pub(crate) fn read(mut table: Table<'_>) -> Self {
        let verifier = Self {
            secret_keys: table.or("secret_keys", Vec::new()),
            passphrase: table.secret("passphrase"),
            level: table.or("level", Level::Decrypt),
            scratch_dir: table.optional("scratch_dir"),
        };
        table.finish();
        verifier
    }
}
