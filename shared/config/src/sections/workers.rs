//! `[workers]`: the number of jobs at the same time.

use serde::Serialize;

use crate::table::Table;

/// `[workers]`: for each stage, the number of jobs that one process works on at the same time, 1 to 256.
#[derive(Clone, Debug, Serialize)]
pub struct Workers {
    /// Jobs that list a source. Default: 2.
    pub list: usize,
    /// Jobs that capture. Default: 2.
    pub capture: usize,
    /// Packs that are being sealed, each with up to 50 MB of memory. Default: the number of processors, and at most 4.
    pub seal: usize,
    /// Artefacts that are being closed. Default: 2.
    pub close: usize,
    /// Jobs that verify. Default: 2.
    pub verify: usize,
    /// Artefacts that are being copied, for each target. Default: 4.
    pub sync: usize,
}

impl Workers {
    pub(crate) fn read(mut table: Table<'_>) -> Self {
        let processors = std::thread::available_parallelism()
            .map_or(1, std::num::NonZero::get)
            .min(4);
        let mut count = |key: &str, default: usize| table.number(key, default, 1, 256);
        let workers = Self {
            list: count("list", 2),
            capture: count("capture", 2),
            seal: count("seal", processors),
            close: count("close", 2),
            verify: count("verify", 2),
            sync: count("sync", 4),
        };
        table.finish();
        workers
    }
}
