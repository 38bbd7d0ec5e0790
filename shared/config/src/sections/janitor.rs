//! `[janitor]`: how deletion is held back.

use serde::Serialize;

use crate::table::Table;
use crate::values::period::Period;

/// `[janitor]`
#[derive(Clone, Debug, Serialize)]
pub struct Janitor {
    /// How long a condemned pack waits before it is deleted; longer than any schedule's `timeout`. Default: `24h`.
    pub grace: Period,
    /// A plan that would delete more of a place's backups than this share, 0 to 100, is refused. Default: 50.
    pub max_delete_percent: u8,
}

impl Janitor {
    pub(crate) fn read(mut table: Table<'_>) -> Self {
        let grace = table.or("grace", Period::seconds(24 * 3_600));
        let max_delete_percent = table.number("max_delete_percent", 50, 0, 100);
        table.finish();
        Self {
            grace,
            max_delete_percent,
        }
    }
}
