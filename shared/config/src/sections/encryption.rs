//! `[encryption]`: the recipients of backups, and the keys of owner, reader and roles.

use std::path::PathBuf;

use holdfast_format::{Profile, Role};
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
    /// The file with the owner's public certificate, whose roster says whose records count. Required.
    pub owner: PathBuf,
    /// The file with the secret reader key, which reads metadata and signs nothing. Required.
    pub reader_key: PathBuf,
    /// The folder with the secret keys of roles: `producer.sec.asc` and so on, of which each service needs its own.
    /// Default: the folder of `reader_key`.
    pub role_keys: PathBuf,
    /// The passphrase of the reader key and the role keys (or `passphrase_file`), if they are locked.
    pub passphrase: Option<Secret>,
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
        let owner = table.required("owner");
        let reader_key: Option<PathBuf> = table.required("reader_key");
        let beside = reader_key.as_ref().and_then(|file| file.parent()).map(PathBuf::from);
        let role_keys = table.or("role_keys", beside.unwrap_or_default());
        let passphrase = table.secret("passphrase");
        let compression_level = table.number("compression_level", 2, 1, 19);
        table.finish();
        Some(Self {
            recipients: recipients?,
            profile,
            owner: owner?,
            reader_key: reader_key?,
            role_keys,
            passphrase,
            compression_level,
        })
    }

    /// Returns the file of a role's secret key, whether it is there or not.
    #[must_use]
    pub fn role_key(&self, role: Role) -> PathBuf {
        self.role_keys.join(format!("{role}.sec.asc"))
    }
}
