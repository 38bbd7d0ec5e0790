//! The longest time between two slots of several calendars taken together.

use jiff::{SignedDuration, Timestamp};

use crate::Calendar;

/// The length of the past whose slots are looked at: 400 days, so that weekends, months and days when clocks change are among
/// them.
const WINDOW: SignedDuration = SignedDuration::from_hours(24 * 400);

/// The number of gaps that are measured one by one, from the next slot back.
const MEASURED: usize = 60;

/// The shortest gap that is looked for beyond those.
const SHORTEST: SignedDuration = SignedDuration::from_hours(1);

/// The greatest number of jumps to find a longer gap: back through 83 days at least, and through the whole window where slots
/// are five hours apart or more.
const JUMPS: usize = 2_000;

/// Returns the longest time between two consecutive slots of `calendars`, taken together, in the year before `now` and up
/// to the next slot. `None` if there are no calendars.
#[must_use]
pub fn longest_gap(calendars: &[&Calendar], now: Timestamp) -> Option<SignedDuration> {
    let before = |slot: Timestamp| calendars.iter().filter_map(|calendar| calendar.before(slot)).max();
    let next = |after: Timestamp| calendars.iter().filter_map(|calendar| calendar.next(after)).min();
    let begin = now.checked_sub(WINDOW).unwrap_or(Timestamp::MIN);
    let mut slot = next(now)?;
    let mut longest = SignedDuration::ZERO;
    for _ in 0..MEASURED {
        let Some(earlier) = before(slot).filter(|_| slot > begin) else {
            return Some(longest).filter(|gap| !gap.is_zero());
        };
        longest = longest.max(slot.duration_since(earlier));
        slot = earlier;
    }
    // A slot within the length of the longest gap can be jumped to: between it and here there is no longer one.
    for _ in 0..JUMPS {
        if slot <= begin {
            break;
        }
        let reach = slot.checked_sub(longest.max(SHORTEST)).unwrap_or(Timestamp::MIN);
        let just_before = reach
            .checked_sub(SignedDuration::from_secs(1))
            .unwrap_or(Timestamp::MIN);
        if let Some(earlier) = next(just_before).filter(|earlier| *earlier < slot) {
            slot = earlier;
            continue;
        }
        let Some(earlier) = before(slot) else { break };
        longest = longest.max(slot.duration_since(earlier));
        slot = earlier;
    }
    Some(longest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn gap(crons: &[&str], zone: &str, now: &str) -> Option<SignedDuration> {
        let calendars: Vec<Calendar> = crons.iter().map(|cron| Calendar::parse(cron, zone).unwrap()).collect();
        longest_gap(&calendars.iter().collect::<Vec<_>>(), now.parse().unwrap())
    }

    #[test]
    fn the_longest_gap_of_a_year_counts() {
        let now = "2026-11-24T03:00:00Z";
        let hours = SignedDuration::from_hours;
        for (crons, zone, want) in [
            (&["0 2 * * *"][..], "UTC", hours(24)),
            // The night on which clocks go back is an hour longer.
            (&["0 4 * * *"], "Europe/Berlin", hours(25)),
            (&["0 2 * * 1-5"], "UTC", hours(72)),
            (&["0 2 1 * *"], "UTC", hours(24 * 31)),
            (&["0 2 1 1 *"], "UTC", hours(24 * 365)),
            (&["0 2 29 2 *"], "UTC", hours(24 * 1461)),
            (&["*/5 * * * *"], "UTC", SignedDuration::from_mins(5)),
            (&["*/7 * * * *"], "UTC", SignedDuration::from_mins(7)),
            // Every minute of working hours: the weekend is far more than sixty slots away.
            (&["* 8-17 * * 1-5"], "UTC", SignedDuration::from_mins(62 * 60 + 1)),
            // Together they are denser than each is alone.
            (&["0 2 * * *", "0 14 * * *"], "UTC", hours(12)),
            (&["0 2 * * *", "0 3 1 * *"], "UTC", hours(24)),
            (&["0 2 1 * *", "0 2 * * 0"], "UTC", hours(168)),
        ] {
            assert_eq!(gap(crons, zone, now), Some(want), "{crons:?} {zone}");
        }
        assert_eq!(gap(&[], "UTC", now), None);
    }
}
