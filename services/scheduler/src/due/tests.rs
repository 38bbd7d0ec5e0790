#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const HOUR: i64 = 3_600;
const YEAR: i64 = 365 * 24 * HOUR;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn later(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap()
}

fn schedule(cron: &str, jitter: u64, catch_up: bool) -> Schedule {
    Schedule {
        name: "nightly".parse().unwrap(),
        calendar: Calendar::parse(cron, "Europe/Berlin").unwrap(),
        jitter: Duration::from_secs(jitter),
        catch_up,
    }
}

fn due(slot: &str, missed: u32) -> Option<Due> {
    let slot = time(slot);
    Some(Due { slot, missed })
}

#[test]
fn a_slot_is_due_once_it_came_and_until_it_is_emitted() {
    let nightly = schedule("30 2 * * *", 0, true);
    let mut watch = Watch::new(time("2026-11-24T00:00:00Z"), []);
    assert_eq!(watch.due(&nightly, time("2026-11-24T01:29:59.9Z")), None);
    assert_eq!(
        watch.wake(&nightly, time("2026-11-24T01:29:59.9Z")),
        Some(time("2026-11-24T01:30:00Z"))
    );
    for now in ["2026-11-24T01:30:00Z", "2026-11-24T05:00:00Z"] {
        assert_eq!(watch.due(&nightly, time(now)), due("2026-11-24T01:30:00Z", 0));
    }
    watch.emitted(time("2026-11-24T01:30:00Z"));
    assert_eq!(watch.due(&nightly, time("2026-11-25T01:29:59Z")), None);
    assert_eq!(
        watch.due(&nightly, time("2026-11-25T01:30:00Z")),
        due("2026-11-25T01:30:00Z", 0)
    );
}

#[test]
fn one_slot_makes_up_for_all_that_were_missed() {
    let hourly = schedule("0 * * * *", 0, true);
    let mut watch = Watch::new(time("2026-11-24T12:10:00Z"), [time("2026-11-22T10:00:00Z")]);
    assert_eq!(
        watch.due(&hourly, time("2026-11-24T12:10:00Z")),
        due("2026-11-24T12:00:00Z", 49)
    );
    watch.emitted(time("2026-11-24T12:00:00Z"));
    assert_eq!(watch.due(&hourly, time("2026-11-24T12:59:59Z")), None);
    // Without catch-up, and for a schedule that never ran, only slots that come while it is watched are due.
    let mut watch = Watch::new(time("2026-11-24T12:10:00Z"), [time("2026-11-22T10:00:00Z")]);
    assert_eq!(
        watch.due(&schedule("0 * * * *", 0, false), time("2026-11-24T12:10:00Z")),
        None
    );
    assert_eq!(
        Watch::new(time("2026-11-24T12:10:00Z"), []).due(&hourly, time("2026-11-24T12:10:00Z")),
        None
    );
    // The count of missed slots ends at its maximum.
    let secondly = schedule("* * * * * *", 0, true);
    let mut watch = Watch::new(time("2026-11-24T12:10:00Z"), [time("2016-11-22T10:00:00Z")]);
    assert_eq!(
        watch.due(&secondly, time("2026-11-24T12:10:00Z")),
        due("2026-11-24T12:10:00Z", MISSED_MAX)
    );
}

#[test]
fn a_clock_that_jumps_a_year_and_back_emits_one_slot_and_goes_on() {
    let nightly = schedule("30 2 * * *", 0, true);
    let now = time("2026-11-24T12:00:00Z");
    let mut watch = Watch::new(now, [time("2026-11-24T01:30:00Z")]);
    let ahead = watch.due(&nightly, later(now, YEAR)).unwrap();
    assert_eq!((ahead.slot, ahead.missed), (time("2027-11-24T01:30:00Z"), 364));
    watch.emitted(ahead.slot);
    assert_eq!(watch.due(&nightly, later(now, YEAR)), None);
    assert_eq!(watch.due(&nightly, now), None);
    assert_eq!(
        watch.due(&nightly, later(now, 24 * HOUR)),
        due("2026-11-25T01:30:00Z", 0)
    );
    // The clock goes back before all that is known, to 1970: nothing is due, and later all is as usual.
    let mut watch = Watch::new(now, [time("2026-11-24T01:30:00Z")]);
    let past = time("1970-01-01T12:00:00Z");
    assert_eq!(watch.due(&nightly, past), None);
    assert_eq!(
        watch.due(&nightly, later(past, 24 * HOUR)),
        due("1970-01-02T01:30:00Z", 0)
    );
    // The watch begins while the clock is ahead.
    let mut watch = Watch::new(later(now, YEAR), []);
    assert_eq!(watch.due(&nightly, now), None);
    assert_eq!(
        watch.due(&nightly, later(now, 24 * HOUR)),
        due("2026-11-25T01:30:00Z", 0)
    );
}

#[test]
fn jitter_is_the_same_for_all_and_keeps_the_order() {
    let jittered = schedule("*/10 * * * *", 3_600, true);
    let mut starts = BTreeSet::new();
    let mut slot = time("2026-11-24T00:00:00Z");
    let mut last = slot;
    for _ in 0..200 {
        let start = jittered.start_of(slot);
        let next = jittered.calendar.next(slot).unwrap();
        assert!(last <= start && slot <= start && start < next);
        assert_eq!(start, jittered.clone().start_of(slot));
        starts.insert(start.duration_since(slot));
        let mut watch = Watch::new(time("2026-11-23T23:59:59Z"), [slot]);
        watch.emitted.clear();
        assert_eq!(watch.due(&jittered, start).map(|due| due.slot), Some(slot));
        (slot, last) = (next, start);
    }
    assert!(starts.len() > 150, "jitter spreads");
    let other = Schedule {
        name: "other".parse().unwrap(),
        ..jittered.clone()
    };
    assert_ne!(other.start_of(slot), jittered.start_of(slot));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// However the clock jumps: no slot is emitted twice or before its time, no slot is emitted after a later one at
    /// the same clock, and once the clock goes on evenly, slots are emitted again.
    #[test]
    fn no_slot_comes_twice(
        cron in prop::sample::select(vec!["30 2 * * *", "0 * * * *", "15,45 2 * * *", "*/20 * * * *"]),
        jitter in prop::sample::select(vec![0u64, 600, 7_200]),
        catch_up in any::<bool>(),
        jumps in prop::collection::vec(prop_oneof![4 => 0i64..7_200, 1 => -200_000i64..200_000, 1 => Just(YEAR), 1 => Just(-YEAR)], 1..60),
        replicas in 1usize..4,
    ) {
        let schedule = schedule(cron, jitter, catch_up);
        let mut now = time("2026-10-24T00:00:00Z");
        let mut ledger = BTreeSet::new();
        let mut watches: Vec<Watch> = (0..replicas).map(|_| Watch::new(now, [])).collect();
        for jump in jumps {
            now = later(now, jump);
            for watch in &mut watches {
                ledger.iter().for_each(|slot| watch.emitted(*slot));
                while let Some(due) = watch.due(&schedule, now) {
                    prop_assert!(schedule.start_of(due.slot) <= now);
                    prop_assert!(ledger.insert(due.slot), "{} came twice", due.slot);
                    watch.emitted(due.slot);
                }
            }
        }
        let wake = watches[0].wake(&schedule, now).unwrap();
        prop_assert!(wake > now);
        let next = schedule.calendar.next(now).unwrap();
        let start = schedule.start_of(next);
        ledger.iter().for_each(|slot| watches[0].emitted(*slot));
        let due = watches[0].due(&schedule, start);
        prop_assert_eq!(due.map(|due| due.slot), Some(next).filter(|slot| !ledger.contains(slot)));
    }
}
