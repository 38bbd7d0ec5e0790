//! Values of arguments.

use std::time::Duration;

use holdfast_config::Period;
use holdfast_format::{Class, Level, PlaceName, RunId, SourceName};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// `90s`, `2h`, `14d`.
pub(crate) fn period(text: &str) -> Result<Duration, String> {
    text.parse::<Period>()
        .map(Period::as_std)
        .map_err(|error| error.to_string())
}

/// A verification level.
pub(crate) fn level(text: &str) -> Result<Level, String> {
    text.parse()
        .map_err(|error: holdfast_format::UnknownWord| error.to_string())
}

/// Reads a class, which retention goes by.
pub(crate) fn class(text: &str) -> Result<Class, String> {
    text.parse()
        .map_err(|error: holdfast_format::UnknownWord| error.to_string())
}

/// A run's id.
pub(crate) fn run(text: &str) -> Result<RunId, String> {
    text.parse()
        .map_err(|error: holdfast_format::IdError| error.to_string())
}

/// A source's name.
pub(crate) fn source(text: &str) -> Result<SourceName, String> {
    text.parse()
        .map_err(|error: holdfast_format::NameError| error.to_string())
}

/// A place's name.
pub(crate) fn place(text: &str) -> Result<PlaceName, String> {
    text.parse()
        .map_err(|error: holdfast_format::NameError| error.to_string())
}

/// A time of this host's zone (`2026-11-24`, which means the end of that day, or `2026-11-24 02:00`), or RFC 3339.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    time_in(text, &TimeZone::system())
}

fn time_in(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let refused = || format!("{text:?} is no time: write 2026-11-24, \"2026-11-24 02:00\" or 2026-11-24T02:00:00Z");
    let local = match text.parse::<Date>() {
        // `DateTime` would read it as the day's beginning.
        Ok(date) if !text.contains(':') => {
            let next = date.checked_add(1.day()).map_err(|_| refused())?;
            let end = zone.to_timestamp(next.at(0, 0, 0, 0)).map_err(|_| refused())?;
            return end.checked_sub(1.second()).map_err(|_| refused());
        }
        _ => text.parse::<DateTime>().map_err(|_| refused())?,
    };
    zone.to_timestamp(local).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_the_hosts_unless_they_say_otherwise_and_a_date_is_the_whole_day() {
        let berlin = TimeZone::fixed(jiff::tz::offset(1));
        for (text, want) in [
            ("2026-11-24", "2026-11-24T22:59:59Z"),
            ("2026-11-24 02:00", "2026-11-24T01:00:00Z"),
            ("2026-11-24T02:00:05", "2026-11-24T01:00:05Z"),
            ("2026-11-24T02:00:00Z", "2026-11-24T02:00:00Z"),
            ("2026-11-24T02:00:00+02:00", "2026-11-24T00:00:00Z"),
        ] {
            assert_eq!(time_in(text, &berlin), Ok(want.parse().unwrap()), "{text}");
        }
        for text in ["", "yesterday", "2026-13-01", "24.11.2026", "2026-11-24 25:00"] {
            assert!(time_in(text, &berlin).is_err(), "{text}");
        }
    }

    #[test]
    fn periods() {
        assert_eq!(period("2h"), Ok(Duration::from_secs(7200)));
        assert!(period("2").is_err() && period("soon").is_err());
    }
}
