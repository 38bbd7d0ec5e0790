//! `[retention.<place>]`: the time for which backups are kept.

use std::collections::BTreeMap;

use holdfast_format::PlaceName;
use serde::Serialize;

use crate::defined_names::DefinedNames;
use crate::table::Table;
use crate::values::span::Span;

/// `[retention.<place>]`, where the place is `local` or a target's name.
///
/// A monthly backup also counts as a weekly and a daily one, and a weekly one as a daily one. A backup is kept for the
/// longest period that is set for its own class or a lower one. A backup to which no period applies stays until
/// somebody deletes it.
#[derive(Clone, Debug, Serialize)]
pub struct Retention {
    /// The time for which daily backups are kept, and weekly and monthly ones at least: `"7d"`. Default: not set.
    pub daily: Option<Span>,
    /// The time for which weekly backups are kept, and monthly ones at least: `"12w"`. Default: not set.
    pub weekly: Option<Span>,
    /// The time for which monthly backups are kept: `"12 months"`. Default: not set.
    pub monthly: Option<Span>,
    /// The number of the newest backups of each source that are kept at any age, at least 1. Default: 1.
    pub keep_last: u32,
}

/// Reads all places of `[retention]`. `known` holds the places that the configuration has.
pub(crate) fn read(mut table: Table<'_>, known: &DefinedNames<PlaceName>) -> BTreeMap<PlaceName, Retention> {
    let mut places = BTreeMap::new();
    for (name, section) in table.rest_as_tables() {
        let retention = Retention::read(section);
        match known.find(&name) {
            Ok(place) => drop(places.insert(place, retention)),
            Err(hint) => table.fault(&name, format!("must be `local` or the name of a target{hint}")),
        }
    }
    places
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
        let daily = span("daily");
        let weekly = span("weekly");
        let monthly = span("monthly");
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
