//! `[staging]`: the place where captured data waits to be sealed.

use std::path::PathBuf;

use holdfast_format::word_enum;
use serde::Serialize;

use crate::reader::read_words;
use crate::table::Table;
use crate::values::bytesize::ByteSize;

word_enum! {
    /// The permission to stage plaintext on a disk. Its word is long, because it gives up a promise.
    AllowDisk {
        /// Staging must be in memory (a tmpfs). The default.
        No = "no",
        /// Staging may be on a disk. Whoever takes the disk can recover deleted plaintext.
        Yes = "yes_plaintext_may_touch_the_disk",
    }
}

read_words!(AllowDisk);

/// `[staging]`: the folder for captured data.
#[derive(Clone, Debug, Serialize)]
pub struct Staging {
    /// The folder. Default: none; then the service uses one in a tmpfs.
    pub dir: Option<PathBuf>,
    /// The largest amount of data in the folder, at least `64MiB`. Captures wait when it is reached. Default: `192MiB`.
    pub max_bytes: ByteSize,
    /// `no` or `yes_plaintext_may_touch_the_disk`. Default: `no`.
    pub allow_disk: AllowDisk,
}

impl Staging {
    /// The smallest allowed size: room for a pack that is being filled, one that is being sealed, and one that waits.
    const LEAST: ByteSize = ByteSize::mib(64);

    pub(crate) fn read(mut table: Table<'_>) -> Self {
        let staging = Self {
            dir: table.optional("dir"),
            max_bytes: table.or("max_bytes", ByteSize::mib(192)),
            allow_disk: table.or("allow_disk", AllowDisk::No),
        };
        if staging.max_bytes < Self::LEAST {
            table.fault("max_bytes", format!("must be at least {}", Self::LEAST));
        }
        table.finish();
        staging
    }
}
