#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Returns the slots between two moments, as text in the time zone.
fn slots(cron: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
    let calendar = Calendar::parse(cron, zone).unwrap();
    let mut slots = Vec::new();
    let mut at = time(from);
    while let Some(slot) = calendar.next(at).filter(|slot| *slot < time(to)) {
        let local = slot.to_zoned(calendar.zone.clone());
        slots.push(local.strftime("%m-%d %H:%M%:z").to_string());
        at = slot;
    }
    slots
}

#[test]
fn a_job_at_a_fixed_time_runs_once_on_the_days_when_clocks_change() {
    let spring = ("2026-03-28T00:00:00+01:00", "2026-03-31T00:00:00+02:00");
    let autumn = ("2026-10-24T00:00:00+02:00", "2026-10-27T00:00:00+01:00");
    for (cron, (from, to), want) in [
        (
            "30 2 * * *",
            spring,
            vec!["03-28 02:30+01:00", "03-29 03:00+02:00", "03-30 02:30+02:00"],
        ),
        (
            "30 2 * * *",
            autumn,
            vec!["10-24 02:30+02:00", "10-25 02:30+02:00", "10-26 02:30+01:00"],
        ),
        ("0 2 * * SUN", spring, vec!["03-29 03:00+02:00"]),
        ("0 3 * * SUN", spring, vec!["03-29 03:00+02:00"]),
        ("0 3 * * SUN", autumn, vec!["10-25 03:00+01:00"]),
        // Lists are fixed times too. Two of them that are skipped together run once.
        ("15,45 2 * * SUN", spring, vec!["03-29 03:00+02:00"]),
        (
            "15,45 2 * * SUN",
            autumn,
            vec!["10-25 02:15+02:00", "10-25 02:45+02:00"],
        ),
        (
            "30 2,14 * * SUN",
            spring,
            vec!["03-29 03:00+02:00", "03-29 14:30+02:00"],
        ),
        (
            "30 1-3 * * SUN",
            autumn,
            vec!["10-25 01:30+02:00", "10-25 02:30+02:00", "10-25 03:30+01:00"],
        ),
        // A steady repetition follows the clock that passes.
        (
            "0 */6 * * SUN",
            spring,
            vec![
                "03-29 00:00+01:00",
                "03-29 06:00+02:00",
                "03-29 12:00+02:00",
                "03-29 18:00+02:00",
            ],
        ),
    ] {
        assert_eq!(slots(cron, "Europe/Berlin", from, to), want, "{cron} from {from}");
    }
    let hours = slots(
        "30 * * * *",
        "Europe/Berlin",
        "2026-03-29T00:00:00+01:00",
        "2026-03-29T05:00:00+02:00",
    );
    assert_eq!(
        hours,
        [
            "03-29 00:30+01:00",
            "03-29 01:30+01:00",
            "03-29 03:30+02:00",
            "03-29 04:30+02:00"
        ]
    );
    assert_eq!(
        slots(
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-10-25T01:59:00+02:00",
            "2026-10-25T03:00:00+01:00"
        ),
        [
            "10-25 02:00+02:00",
            "10-25 02:30+02:00",
            "10-25 02:00+01:00",
            "10-25 02:30+01:00"
        ],
    );
}

#[test]
fn other_zones_change_at_other_times() {
    let spring = slots(
        "30 2 * * *",
        "America/New_York",
        "2026-03-07T12:00:00Z",
        "2026-03-10T00:00:00Z",
    );
    assert_eq!(spring, ["03-08 03:00-04:00", "03-09 02:30-04:00"]);
    // A zone whose clock changes by half an hour, and one whose clock changes at midnight.
    let autumn = slots(
        "45 1 * * *",
        "Australia/Lord_Howe",
        "2026-04-04T00:00:00Z",
        "2026-04-06T00:00:00Z",
    );
    assert_eq!(autumn, ["04-05 01:45+11:00", "04-06 01:45+10:30"]);
    let santiago = slots(
        "0 0 * * *",
        "America/Santiago",
        "2026-09-05T06:00:00Z",
        "2026-09-08T00:00:00Z",
    );
    assert_eq!(santiago, ["09-06 01:00-03:00", "09-07 00:00-03:00"]);
}

#[test]
fn what_is_no_calendar_is_told_apart() {
    let fault = |cron: &str, zone: &str| Calendar::parse(cron, zone).unwrap_err().to_string();
    for (cron, part) in [
        ("", "it is empty"),
        ("* * *", "fields"),
        ("61 * * * *", "cron expression \"61 * * * *\""),
        ("0 2 * * * 2027 2028 9", "fields"),
        ("0 0 2 * * * 2027", "fields"),
        ("a b c d e", "illegal character"),
        ("5/10 * * * *", "cron expression"),
        ("0 0 30 2 *", "never comes due"),
    ] {
        let text = fault(cron, "UTC");
        assert!(text.contains(part), "{text}");
    }
    assert!(fault("0 2 * * *", "Europe/Berln").contains("time zone \"Europe/Berln\" is not known"));
    for good in ["@daily", "0 2 29 2 *", "0 0 2 * * *", "0 2 L * *", " 0 2 * * MON-FRI "] {
        assert!(Calendar::parse(good, "UTC").is_ok(), "{good}");
    }
}

#[test]
fn clocks_far_off_are_no_trouble() {
    for cron in ["* * * * * *", "0 2 29 2 *", "30 2,14 * * *"] {
        let calendar = Calendar::parse(cron, "Europe/Berlin").unwrap();
        for at in [
            Timestamp::MIN,
            Timestamp::UNIX_EPOCH,
            time("4999-12-31T00:00:00Z"),
            time("6000-01-01T00:00:00Z"),
            Timestamp::MAX,
        ] {
            let _ = (calendar.next(at), calendar.latest(at), calendar.before(at));
        }
    }
}

fn crons() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "30 2 * * *",
        "0 2 * * *",
        "15,45 2 * * *",
        "30 2,14 * * *",
        "*/20 * * * *",
        "0 * * * *",
        "*/10 2 * * *",
        "0 3 * * SUN",
        "0 0 1 * *",
        "59 1-3 * * *",
        "30 */2 * * *",
        "0 0 * * *",
        "45 1 * * *",
        "30 59 1 * * *",
    ])
}

fn zones() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "America/Santiago",
        "Asia/Kathmandu",
    ])
}

/// Generates a moment of 2026. Half of them are close to a change of clocks somewhere.
fn moment() -> impl Strategy<Value = Timestamp> {
    let changes = [
        "2026-03-08T07:00:00Z",
        "2026-03-29T01:00:00Z",
        "2026-04-04T15:00:00Z",
        "2026-10-25T01:00:00Z",
        "2026-11-01T06:00:00Z",
        "2026-04-05T03:00:00Z",
        "2026-09-06T04:00:00Z",
        "2026-10-03T15:30:00Z",
    ];
    let near = (prop::sample::select(changes.to_vec()), -14_400_000i64..14_400_000)
        .prop_map(|(at, ms)| time(at).checked_add(jiff::SignedDuration::from_millis(ms)).unwrap());
    let any = (1_767_225_600_000i64..1_798_761_600_000).prop_map(|ms| Timestamp::from_millisecond(ms).unwrap());
    prop_oneof![near, any]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Looking back and looking forward find the same slots.
    #[test]
    fn back_and_forth_agree(cron in crons(), zone in zones(), at in moment()) {
        let calendar = Calendar::parse(cron, zone).unwrap();
        let latest = calendar.latest(at).unwrap();
        let next = calendar.next(at).unwrap();
        prop_assert!(latest <= at && at < next);
        prop_assert_eq!(calendar.next(latest), Some(next), "after the latest {}", latest);
        prop_assert_eq!(calendar.before(next), Some(latest), "before the next {}", next);
        prop_assert_eq!(calendar.latest(latest), Some(latest));
    }
}
