//! The greatest age that a source's newest good backup may have.

use std::collections::BTreeMap;

use holdfast_config::Settings;
use holdfast_format::{AskedBy, Class, PlaceName, Reason, SourceName};
use holdfast_scheduler::{Calendar, Known, Schedule, Start, expect, longest_gap, new_run_id, trigger_of};
use jiff::{SignedDuration, Timestamp};

use crate::human;

/// The greatest age where no schedule captures a source and none is set: of backups that somebody starts weekly, the last
/// one, and a day of grace.
const UNSCHEDULED: SignedDuration = SignedDuration::from_hours(24 * 8);

/// A run takes its time: a backup is at least this much older than the time between two slots before it is too old.
const RUN: SignedDuration = SignedDuration::from_hours(1);

/// The most by which clocks may differ.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_mins(5);

/// The age of a source's newest good backup, judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// The source has no good backup.
    Missing,
    /// The newest good backup is no older than it may be.
    Fine,
    /// The newest good backup is older than it may be, or than a slot after which another was due.
    TooOld,
    /// The newest good backup is of a time that has not come: a clock is wrong, and no age means anything.
    Future,
}

/// Judges the age of the newest good backup.
pub(crate) fn judge(newest_good: Option<Timestamp>, max: SignedDuration, now: Timestamp) -> Age {
    match newest_good.map(|at| now.duration_since(at)) {
        None => Age::Missing,
        Some(age) if age < -CLOCK_SLACK => Age::Future,
        Some(age) if age > max => Age::TooOld,
        Some(_) => Age::Fine,
    }
}

/// Says for people how long before `now` a time is: `3h 5m ago`; `in 399d 0h` of a time that has not come.
pub(crate) fn shown(at: Timestamp, now: Timestamp) -> String {
    let age = now.duration_since(at);
    if age < -CLOCK_SLACK {
        format!("in {}", human::duration(age))
    } else {
        format!("{} ago", human::duration(age.max(SignedDuration::ZERO)))
    }
}

/// Returns the greatest age: the one that is set, else twice the longest gap between slots of the schedules that capture the
/// source, and at least the gap and an hour; without any schedule, eight days.
fn greatest(set: Option<SignedDuration>, gap: Option<SignedDuration>) -> SignedDuration {
    set.unwrap_or_else(|| match gap {
        Some(gap) => gap.saturating_add(gap).max(gap.saturating_add(RUN)),
        None => UNSCHEDULED,
    })
}

/// The greatest ages of all sources of a configuration at one place.
pub(crate) struct Limits {
    now: Timestamp,
    set: BTreeMap<SourceName, SignedDuration>,
    calendars: Vec<Calendar>,
    /// The calendars that capture each source, as places in `calendars`.
    of: BTreeMap<SourceName, Vec<usize>>,
    /// Longest gaps by the calendars that they come from, so that each is worked out once.
    gaps: BTreeMap<Vec<usize>, Option<SignedDuration>>,
}

impl Limits {
    /// The limits at `place`. A schedule that does not copy to targets says nothing about them; one that is at fault, which
    /// `config check` tells, says nothing at all.
    pub(crate) fn of(settings: &Settings, place: &PlaceName, now: Timestamp) -> Self {
        let known = Known::of(settings);
        let mut limits = Self {
            now,
            set: BTreeMap::new(),
            calendars: Vec::new(),
            of: BTreeMap::new(),
            gaps: BTreeMap::new(),
        };
        for (source, _) in settings.sources() {
            let set = settings.max_age(source);
            let set = set.map(|age| SignedDuration::try_from(age.as_std()).unwrap_or(SignedDuration::MAX));
            limits.set.extend(set.map(|age| (source.clone(), age)));
        }
        let local = *place == PlaceName::local();
        for schedule in settings.schedule.iter().filter(|s| local || s.sync_offsite) {
            let start = Start {
                run: new_run_id(now),
                now,
                reason: Reason::Manual,
                requester: AskedBy::Schedule(schedule.name.clone()),
                class: Class::Daily,
            };
            let (Ok(of), Ok(expected)) = (Schedule::of(schedule), expect(&trigger_of(schedule), &known, start)) else {
                continue;
            };
            for source in expected.sources {
                let calendars = limits.of.entry(source.name).or_default();
                calendars.push(limits.calendars.len());
            }
            limits.calendars.push(of.calendar);
        }
        limits
    }

    /// Returns the greatest age of a source's newest good backup.
    pub(crate) fn max_age(&mut self, source: &SourceName) -> SignedDuration {
        let schedules = self.of.get(source).cloned().unwrap_or_default();
        let gap = *self.gaps.entry(schedules).or_insert_with_key(|schedules| {
            let calendars: Vec<&Calendar> = schedules.iter().filter_map(|at| self.calendars.get(*at)).collect();
            longest_gap(&calendars, self.now)
        });
        greatest(self.set.get(source).copied(), gap)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: &str = "2026-11-24T03:00:00Z";

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn of(crons: &[&str], set: Option<i64>) -> i64 {
        let calendars: Vec<Calendar> = crons.iter().map(|cron| Calendar::parse(cron, "UTC").unwrap()).collect();
        let set = set.map(SignedDuration::from_hours);
        let gap = longest_gap(&calendars.iter().collect::<Vec<_>>(), time(NOW));
        greatest(set, gap).as_mins()
    }

    #[test]
    fn a_backup_may_be_as_old_as_two_gaps_and_a_run_has_an_hour_at_least() {
        assert_eq!(of(&["0 2 * * *"], None), 48 * 60);
        assert_eq!(of(&["0 2 * * 1-5"], None), 6 * 24 * 60);
        assert_eq!(of(&["0 * * * *"], None), 120);
        assert_eq!(of(&["*/5 * * * *"], None), 65);
        assert_eq!(of(&["0 2 * * *", "0 14 * * *"], None), 24 * 60);
        assert_eq!(of(&[], None), 8 * 24 * 60);
        assert_eq!(
            of(&["0 2 * * *"], Some(30)),
            30 * 60,
            "what is set counts, also if it is shorter"
        );
        assert_eq!(of(&[], Some(900)), 900 * 60);
    }

    #[test]
    fn an_age_is_judged() {
        let now = time(NOW);
        let day = SignedDuration::from_hours(24);
        let judged = |newest: &str| judge(Some(time(newest)), day, now);
        assert_eq!(judge(None, day, now), Age::Missing);
        assert_eq!(judged("2026-11-24T02:00:00Z"), Age::Fine);
        assert_eq!(judged("2026-11-23T03:00:00Z"), Age::Fine);
        assert_eq!(judged("2026-11-23T02:59:59Z"), Age::TooOld);
        assert_eq!(judged("2026-10-15T03:00:00Z"), Age::TooOld);
        assert_eq!(judged("2026-11-24T03:04:00Z"), Age::Fine, "clocks differ a little");
        assert_eq!(judged("2026-11-24T03:06:00Z"), Age::Future);
        assert_eq!(judged("2027-12-29T03:00:00Z"), Age::Future);
    }

    #[test]
    fn an_age_is_never_negative() {
        assert_eq!(shown(time("2026-11-24T01:00:00Z"), time(NOW)), "2h 0m ago");
        assert_eq!(shown(time("2026-11-24T03:01:00Z"), time(NOW)), "0s ago");
        assert_eq!(shown(time("2027-12-29T03:00:00Z"), time(NOW)), "in 400d 0h");
    }

    #[test]
    fn limits_follow_the_schedules_that_capture_a_source() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("holdfast.toml");
        let text = r#"
site = "host-a"
state_dir = "state"
[repository]
url = "local"
[encryption]
recipients = ["backup.asc"]
owner = "owner.asc"
reader_key = "reader.asc"
[[postgres]]
name = "main"
url = "postgres://db"
[[directory]]
name = "uploads"
path = "/srv"
[[directory]]
name = "archive"
path = "/opt"
max_age = "30d"
[system]
paths = ["/etc"]
[[target]]
name = "s3"
url = "copy"
[[schedule]]
name = "nightly"
cron = "0 2 * * *"
[[schedule]]
name = "often"
cron = "0 */6 * * *"
sources = ["main"]
sync_offsite = false
[[schedule]]
name = "broken"
cron = "every now and then"
backup_type = "full"
"#;
        std::fs::write(&file, text).unwrap();
        let settings = Settings::load(&file, &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"));
        let hours = |place: &str| {
            let mut limits = Limits::of(&settings, &place.parse().unwrap(), time(NOW));
            ["main", "uploads", "archive", "system"].map(|source| limits.max_age(&source.parse().unwrap()).as_hours())
        };
        // No good schedule captures the system: only backups of type full do.
        assert_eq!(hours("local"), [12, 48, 720, 192]);
        assert_eq!(hours("s3"), [48, 48, 720, 192]);
    }
}
