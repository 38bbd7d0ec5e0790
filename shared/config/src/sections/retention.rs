//! `[retention.<place>]`: how long backups are kept.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::table::Table;
use crate::values::span::Span;

/// `[retention.<place>]`, the place being `local` or a target's name.
///
/// A monthly backup also counts as a weekly and a daily one, a weekly one as a daily one: a backup is kept for the longest
/// period that is set among its own class and those below. Only one to which no period applies stays until somebody deletes
/// it.
#[derive(Clone, Debug, Serialize)]
pub struct Retention {
    /// How long daily backups are kept, and weekly and monthly ones at least: `"7d"`. Default: not set.
    pub daily: Option<Span>,
    /// How long weekly backups are kept, and monthly ones at least: `"12w"`. Default: not set.
    pub weekly: Option<Span>,
    /// How long monthly backups are kept: `"12 months"`. Default: not set.
    pub monthly: Option<Span>,
    /// The newest backups of each source that are kept whatever their age, 1 or more. Default: 1.
    pub keep_last: u32,
}

/// Reads all places of `[retention]`.
pub(crate) fn read(mut table: Table<'_>) -> BTreeMap<String, Retention> {
    table
        .rest_as_tables()
        .into_iter()
        .map(|(place, table)| (place, Retention::read(table)))
        .collect()
}

impl Retention {
    fn read(mut table: Table<'_>) -> Self {
        let mut span = |key: &str| {
            let span: Option<Span> = table.optional(key);
            if matches!(span, Some(Span::Seconds(0) | Span::Months(0))) {
                table.fault(key, "must not be zero");
            }
            span
        };
        let (daily, weekly, monthly) = (span("daily"), span("weekly"), span("monthly"));
        let keep_last = table.number("keep_last", 1, 1, 1_000_000);
        table.finish();
        Self {
            daily,
            weekly,
            monthly,
            keep_last,
        }
    }
}
