//! `[staging]`: where captured data waits to be sealed.

use std::path::PathBuf;

use serde::Serialize;

use crate::choice::choice;
use crate::table::Table;
use crate::values::bytesize::ByteSize;

choice! {
    /// Whether plaintext may be staged on a disk. Spelled out, because it gives up a promise.
    AllowDisk {
        /// Staging must be in memory (a tmpfs). The default.
        No = "no",
        /// Staging may be on a disk, where deleted plaintext can be recovered by whoever takes it.
        Yes = "yes_plaintext_may_touch_the_disk",
    }
}

/// `[staging]`
#[derive(Clone, Debug, Serialize)]
pub struct Staging {
    /// The folder. Default: none, the service picks one in a tmpfs.
    pub dir: Option<PathBuf>,
    /// How much may wait there; capture waits when it is full. Default: `192MiB`; at least `64MiB`.
    pub max_bytes: ByteSize,
    /// `no` or `yes_plaintext_may_touch_the_disk`. Default: `no`.
    pub allow_disk: AllowDisk,
}

impl Staging {
    /// Room for a pack being filled, one being sealed and one waiting.
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
