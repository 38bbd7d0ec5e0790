//! The class of a run for retention, decided by the calendar.

use std::collections::BTreeSet;

use holdfast_format::{Class, SourceName};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A run of the past, reduced to the facts that matter for the class of the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Past {
    /// Time at which the run started.
    pub started: Timestamp,
    /// The class of the run's restore point.
    pub class: Class,
    /// True if every artefact of the run came and is good.
    pub complete: bool,
    /// The sources that the run captured.
    pub sources: BTreeSet<SourceName>,
}

/// Returns the class of a run of `sources` that starts at `now`. The first complete run of a calendar month is monthly,
/// the first of an ISO week is weekly, and any other is daily. Months and weeks are those of `zone`.
///
/// Only past runs that captured all of these sources count: an hourly run of one database must not take the month's
/// place from the nightly run of everything. Pinned runs do not count, since they go when they are released.
#[must_use]
pub(crate) fn class_for(history: &[Past], sources: &[SourceName], now: Timestamp, zone: &TimeZone) -> Class {
    let date = |at: Timestamp| at.to_zoned(zone.clone()).date();
    let today = date(now);
    let month = |of: jiff::civil::Date| (of.year(), of.month());
    let week = |of: jiff::civil::Date| {
        let week = of.iso_week_date();
        (week.year(), week.week())
    };
    let counts = |past: &&Past| past.complete && sources.iter().all(|source| past.sources.contains(source));
    let counting: Vec<&Past> = history.iter().filter(counts).collect();
    let any = |class: &[Class], same: &dyn Fn(jiff::civil::Date) -> bool| {
        counting
            .iter()
            .any(|past| class.contains(&past.class) && same(date(past.started)))
    };
    if !any(&[Class::Monthly], &|day| month(day) == month(today)) {
        Class::Monthly
    } else if !any(&[Class::Weekly, Class::Monthly], &|day| week(day) == week(today)) {
        Class::Weekly
    } else {
        Class::Daily
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(names: &[&str]) -> Vec<SourceName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn past(started: &str, class: Class, complete: bool) -> Past {
        Past {
            started: started.parse().unwrap(),
            class,
            complete,
            sources: names(&["main", "uploads"]).into_iter().collect(),
        }
    }

    fn class(history: &[Past], now: &str, sources: &[&str]) -> Class {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        class_for(history, &names(sources), now.parse().unwrap(), &zone)
    }

    #[test]
    fn the_first_of_a_month_and_of_a_week() {
        let month = past("2026-11-01T02:00:00+01:00", Class::Monthly, true);
        let week = past("2026-11-16T02:00:00+01:00", Class::Weekly, true);
        let of = |history: &[Past], now: &str| class(history, now, &["main"]);
        assert_eq!(of(&[], "2026-11-24T02:00:00+01:00"), Class::Monthly);
        let history = [month.clone(), week];
        // 1 November 2026 is a Sunday, the 2nd begins a week.
        assert_eq!(of(&history, "2026-11-01T12:00:00+01:00"), Class::Daily);
        assert_eq!(of(&history, "2026-11-02T02:00:00+01:00"), Class::Weekly);
        assert_eq!(of(&history, "2026-11-22T23:59:59+01:00"), Class::Daily);
        assert_eq!(of(&history, "2026-11-23T00:00:00+01:00"), Class::Weekly);
        // The month is the local one: in UTC it is still November.
        assert_eq!(of(&history, "2026-12-01T00:30:00+01:00"), Class::Monthly);
        // The week of the new year began in the old one.
        let december = past("2026-12-28T02:00:00+01:00", Class::Weekly, true);
        let january = past("2027-01-01T02:00:00+01:00", Class::Monthly, true);
        assert_eq!(
            of(&[january, december.clone()], "2027-01-03T02:00:00+01:00"),
            Class::Daily
        );
        assert_eq!(of(&[december], "2027-01-01T02:00:00+01:00"), Class::Monthly);
    }

    #[test]
    fn only_whole_runs_of_the_same_sources_count() {
        let now = "2026-11-24T02:00:00+01:00";
        let complete = past("2026-11-23T02:00:00+01:00", Class::Monthly, true);
        assert_eq!(
            class(std::slice::from_ref(&complete), now, &["main", "uploads"]),
            Class::Daily
        );
        assert_eq!(
            class(std::slice::from_ref(&complete), now, &["main", "system"]),
            Class::Monthly
        );
        assert_eq!(
            class(
                &[past("2026-11-23T02:00:00+01:00", Class::Monthly, false)],
                now,
                &["main"]
            ),
            Class::Monthly
        );
        assert_eq!(
            class(
                &[past("2026-11-23T02:00:00+01:00", Class::Pinned, true)],
                now,
                &["main"]
            ),
            Class::Monthly
        );
    }
}
