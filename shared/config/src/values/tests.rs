#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use crate::{ByteSize, Period, PlaceUrl, Span};

#[test]
fn sizes_read_and_show_their_units() {
    for (text, bytes, shown) in [
        ("16MiB", 16 << 20, "16MiB"),
        ("1GB", 1_000_000_000, "1GB"),
        ("1024", 1024, "1KiB"),
        ("0", 0, "0B"),
        (" 5 mib ", 5 << 20, "5MiB"),
        ("1536kb", 1_536_000, "1500KiB"),
        ("7B", 7, "7B"),
    ] {
        let size: ByteSize = text.parse().unwrap();
        assert_eq!((size.as_u64(), size.to_string().as_str()), (bytes, shown), "{text}");
    }
    for text in [
        "",
        "MiB",
        "1.5GiB",
        "-1",
        "10M",
        "10 MiB/s",
        "18446744073709551616",
        "99999999TiB",
    ] {
        assert!(text.parse::<ByteSize>().is_err(), "{text}");
    }
}

#[test]
fn periods_read_and_show_their_units() {
    for (text, millis, shown) in [
        ("90s", 90_000, "90s"),
        ("15m", 900_000, "15m"),
        ("12h", 43_200_000, "12h"),
        ("2w", 1_209_600_000, "14d"),
        ("500ms", 500, "500ms"),
        ("0s", 0, "0s"),
        ("60s", 60_000, "1m"),
    ] {
        let period: Period = text.parse().unwrap();
        assert_eq!(
            (period.as_std(), period.to_string().as_str()),
            (Duration::from_millis(millis), shown),
            "{text}"
        );
    }
    for text in [
        "",
        "10",
        "s",
        "-5s",
        "1.5h",
        "12 months",
        "5 fortnights",
        "99999999999999999w",
    ] {
        assert!(text.parse::<Period>().is_err(), "{text}");
    }
}

#[test]
fn spans_know_calendar_months() {
    for (text, span, shown) in [
        ("7d", Span::Seconds(604_800), "7d"),
        ("30d", Span::Seconds(2_592_000), "30d"),
        ("12w", Span::Seconds(7_257_600), "12w"),
        ("12 months", Span::Months(12), "12 months"),
        ("1month", Span::Months(1), "1 month"),
        ("2 years", Span::Months(24), "24 months"),
        ("0d", Span::Seconds(0), "0s"),
    ] {
        assert_eq!(text.parse::<Span>().unwrap(), span, "{text}");
        assert_eq!(span.to_string(), shown);
    }
    for text in ["7", "12M", "one week", "99999999999 months"] {
        assert!(text.parse::<Span>().is_err(), "{text}");
    }
}

#[test]
fn places_are_directories_or_buckets() {
    let base = Path::new("/etc/holdfast");
    let parse = |text: &str| PlaceUrl::parse(text, base);
    for (text, directory, shown, url) in [
        (
            "/var/backups",
            Some("/var/backups"),
            "file:///var/backups",
            "file:///var/backups/",
        ),
        (
            "./copies",
            Some("/etc/holdfast/copies"),
            "file:///etc/holdfast/copies",
            "file:///etc/holdfast/copies/",
        ),
        (
            "file:///mnt/a%20b",
            Some("/mnt/a b"),
            "file:///mnt/a%20b",
            "file:///mnt/a%20b/",
        ),
        ("s3://Bucket_1/a/b/", None, "s3://Bucket_1/a/b", "s3://Bucket_1/a/b"),
        ("s3://backups", None, "s3://backups", "s3://backups"),
    ] {
        let place = parse(text).unwrap();
        assert_eq!(place.directory(), directory.map(Path::new), "{text}");
        assert_eq!(
            (place.to_string().as_str(), place.url().as_str()),
            (shown, url),
            "{text}"
        );
        assert_eq!(place.is_s3(), directory.is_none());
        assert_eq!(parse(shown).unwrap(), place);
    }
    for text in [
        "",
        "ftp://host/x",
        "s3://",
        "s3:///prefix",
        "s3://key:secret@bucket/x",
        "s3://b/../x",
        "s3://b/a//c",
        "file://other-host/x",
        "s3://b/x?versioned",
        "https://s3.example.org/b",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
    assert!(
        !parse("s3://key:hunter2@bucket")
            .unwrap_err()
            .to_string()
            .contains("hunter2")
    );
}

proptest! {
    #[test]
    fn what_is_shown_reads_back(number in any::<u64>(), small in 0..u32::MAX, millis in 0..u64::MAX / 2) {
        let size = ByteSize::bytes(number);
        prop_assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
        for span in [Span::Seconds(number), Span::Months(small)] {
            prop_assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
        let period: Period = format!("{millis}ms").parse().unwrap();
        prop_assert_eq!(period.to_string().parse::<Period>().unwrap(), period);
    }

    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _ = (text.parse::<ByteSize>(), text.parse::<Period>(), text.parse::<Span>());
        let _ = PlaceUrl::parse(&text, Path::new("/"));
    }
}
