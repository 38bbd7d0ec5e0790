//! The configured rules, and the time that they reach back.

use std::time::Duration;

use holdfast_config::{Janitor, Retention, Span};
use holdfast_format::Class;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// The configured rules of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// The time for which daily runs are kept.
    pub daily: Option<Span>,
    /// The time for which weekly runs are kept.
    pub weekly: Option<Span>,
    /// The time for which monthly runs are kept.
    pub monthly: Option<Span>,
    /// The number of the newest good artefacts of each database or directory that are kept at any age; 0 counts as 1.
    pub keep_last: u32,
    /// The time for which nothing happens to a run after its start, and to a pack after it was stored and after it was
    /// condemned. Must be longer than any run.
    pub grace: Duration,
    /// The largest share of the place, in percent, that is deleted without confirmation.
    pub max_delete_percent: u8,
}

/// The period that keeps runs of a class longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// The class that the period is set for.
    pub(super) class: Class,
    pub(super) span: Span,
    /// Runs that started before this time are too old.
    pub(super) cutoff: Timestamp,
}

impl Rules {
    /// Reads the rules of one place from the configuration.
    #[must_use]
    pub(crate) fn new(retention: &Retention, janitor: &Janitor) -> Self {
        Self {
            daily: retention.daily,
            weekly: retention.weekly,
            monthly: retention.monthly,
            keep_last: retention.keep_last,
            grace: janitor.grace.as_std(),
            max_delete_percent: janitor.max_delete_percent,
        }
    }

    /// Returns the period that keeps a run of this class longest. A monthly run also counts as a weekly and a daily
    /// one.
    pub(super) fn reach(&self, class: Class, now: Timestamp) -> Option<Reach> {
        let periods = [
            (Class::Daily, self.daily),
            (Class::Weekly, self.weekly),
            (Class::Monthly, self.monthly),
        ];
        let applicable = periods.into_iter().filter(|(of, _)| *of <= class);
        let reaches = applicable.filter_map(|(class, span)| {
            span.map(|span| Reach {
                class,
                span,
                cutoff: back(now, span),
            })
        });
        reaches.min_by_key(|reach| reach.cutoff)
    }

    /// True if the grace that began at `since` is over.
    pub(super) fn is_grace_over(&self, since: Timestamp, now: Timestamp) -> bool {
        let grace = SignedDuration::try_from(self.grace).unwrap_or(SignedDuration::MAX);
        now.duration_since(since) > grace
    }
}

/// Returns the time that lies `span` before `now`, or the earliest possible time if that is out of range.
fn back(now: Timestamp, span: Span) -> Timestamp {
    let then = match span {
        Span::Seconds(seconds) => i64::try_from(seconds)
            .ok()
            .and_then(|seconds| now.checked_sub(SignedDuration::from_secs(seconds)).ok()),
        Span::Months(months) => jiff::Span::new()
            .try_months(months)
            .and_then(|months| now.to_zoned(TimeZone::UTC).checked_sub(months))
            .map(|then| then.timestamp())
            .ok(),
    };
    then.unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rules(daily: &str, weekly: &str, monthly: &str) -> Rules {
        let span = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        Rules {
            daily: span(daily),
            weekly: span(weekly),
            monthly: span(monthly),
            keep_last: 1,
            grace: Duration::from_secs(86_400),
            max_delete_percent: 50,
        }
    }

    #[test]
    fn the_longest_period_of_the_classes_up_to_its_own_counts() {
        let now: Timestamp = "2026-11-24T03:00:00Z".parse().unwrap();
        for (set, class, want) in [
            (("7d", "30d", "12 months"), Class::Daily, Some("2026-11-17T03:00:00Z")),
            (("7d", "30d", "12 months"), Class::Weekly, Some("2026-10-25T03:00:00Z")),
            (("7d", "30d", "12 months"), Class::Monthly, Some("2025-11-24T03:00:00Z")),
            (("7d", "30d", ""), Class::Monthly, Some("2026-10-25T03:00:00Z")),
            (("30d", "12w", "1 month"), Class::Monthly, Some("2026-09-01T03:00:00Z")),
            (("", "30d", "12 months"), Class::Daily, None),
            (("", "", ""), Class::Monthly, None),
            (("9999999999w", "", ""), Class::Daily, Some("-009999-01-02T01:59:59Z")),
            (
                ("", "", "4000000000 months"),
                Class::Monthly,
                Some("-009999-01-02T01:59:59Z"),
            ),
        ] {
            let found = rules(set.0, set.1, set.2).reach(class, now);
            let want = want.map(|t| t.parse::<Timestamp>().unwrap());
            assert_eq!(found.map(|r| r.cutoff), want, "{set:?} {class}");
        }
    }

    #[test]
    fn months_are_the_calendars() {
        let month: Span = "1 month".parse().unwrap();
        for (now, then) in [
            ("2026-03-31T12:00:00Z", "2026-02-28T12:00:00Z"),
            ("2028-03-31T12:00:00Z", "2028-02-29T12:00:00Z"),
            ("2026-01-15T00:00:00Z", "2025-12-15T00:00:00Z"),
        ] {
            assert_eq!(back(now.parse().unwrap(), month), then.parse().unwrap());
        }
    }
}
