//! `[janitor]`: limits on deletion.

use serde::Serialize;

use crate::table::Table;
use crate::values::period::Period;

/// The section `[janitor]`: limits on deletion.
#[derive(Clone, Debug, Serialize)]
pub struct Janitor {
    /// The time between the condemnation of a pack and its deletion. Must be longer than the `timeout` of any schedule.
    /// Default: `24h`.
    pub grace: Period,
    /// The largest share of a place's backups, in percent from 0 to 100, that a plan may delete. A plan that deletes
    /// more is refused. Default: 50.
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
