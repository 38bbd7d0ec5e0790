//! `[verifier]`: how backups are proven.

use std::path::PathBuf;

use holdfast_format::Level;
use serde::Serialize;

use crate::secret::Secret;
use crate::table::Table;

/// `[verifier]`
#[derive(Clone, Debug, Serialize)]
pub struct Verifier {
    /// Files with secret backup keys; needed for `decrypt` and `restore`. Default: none.
    pub secret_keys: Vec<PathBuf>,
    /// What unlocks them (or `passphrase_file`), if they are locked.
    pub passphrase: Option<Secret>,
    /// The level where none is asked for. Default: `decrypt`.
    pub level: Level,
    /// Where restores are tried. Default: none, the service picks one.
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
