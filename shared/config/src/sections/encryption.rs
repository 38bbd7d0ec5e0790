//! `[encryption]`: the recipients of backups, and the pipeline's own key.

use std::path::PathBuf;

use holdfast_format::Profile;
use serde::Serialize;

use crate::secret::Secret;
use crate::table::Table;

/// `[encryption]`: the keys of the deployment.
#[derive(Clone, Debug, Serialize)]
pub struct Encryption {
    /// Files with the public certificates that backups are sealed to; at least one. Required.
    pub recipients: Vec<PathBuf>,
    /// `gnupg` or `rfc9580`. Default: `gnupg`.
    pub profile: Profile,
    /// The file with the deployment's own key, which signs records and reads metadata. Required.
    pub pipeline_key: PathBuf,
    /// The passphrase of `pipeline_key` (or `pipeline_key_passphrase_file`), if the key is locked.
    pub pipeline_key_passphrase: Option<Secret>,
    /// Files with further certificates whose signatures are accepted, such as those of former pipeline keys. Default:
    /// none.
    pub trusted_signers: Vec<PathBuf>,
    /// The level of zstd compression, 1 to 19. Default: 2.
    pub compression_level: i32,
}

impl Encryption {
    pub(crate) fn read(mut table: Table<'_>) -> Option<Self> {
        let recipients: Option<Vec<PathBuf>> = table.required("recipients");
        if recipients.as_ref().is_some_and(Vec::is_empty) {
            table.fault("recipients", "must name at least one certificate");
        }
        let profile = table.or("profile", Profile::default());
        let pipeline_key = table.required("pipeline_key");
        let pipeline_key_passphrase = table.secret("pipeline_key_passphrase");
        let trusted_signers = table.or("trusted_signers", Vec::new());
        let compression_level = table.number("compression_level", 2, 1, 19);
        table.finish();
        Some(Self {
            recipients: recipients?,
            profile,
            pipeline_key: pipeline_key?,
            pipeline_key_passphrase,
            trusted_signers,
            compression_level,
        })
    }
}
