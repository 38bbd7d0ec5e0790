//! Sizes, times and foreign names as people read them.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Bytes with three digits or so: `512 B`, `1.5 MiB`.
#[must_use]
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// A length of time in its two largest units: `3d 4h`, `12m 5s`, `8s`.
#[must_use]
pub(crate) fn duration(length: SignedDuration) -> String {
    let seconds = length.as_secs().unsigned_abs();
    let d = seconds / 86_400;
    let h = seconds / 3_600 % 24;
    let m = seconds / 60 % 60;
    let s = seconds % 60;
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, m) => format!("{m}m {s}s"),
        (0, h, m) => format!("{h}h {m}m"),
        (d, h, _) => format!("{d}d {h}h"),
    }
}

/// A time on this host's clock, to the second.
#[must_use]
pub(crate) fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

/// Returns the time at which a run was started, from its id.
#[must_use]
pub(crate) fn run_time(run: holdfast_format::RunId) -> Timestamp {
    let ms = i64::try_from(run.unix_ms()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A name or text from elsewhere (a database, a path, an error), so that it cannot move the cursor or change colours.
#[must_use]
pub(crate) fn shown(text: &str) -> String {
    if !text.chars().any(is_dangerous) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| {
            if is_dangerous(c) {
                c.escape_unicode().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

/// Control characters, and those that turn the direction of text around.
fn is_dangerous(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// One or many of a noun.
#[must_use]
pub(crate) fn count(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_lengths() {
        let sizes = [0, 1023, 1024, 1536, 1_048_575, 1 << 30, u64::MAX].map(bytes);
        assert_eq!(
            sizes,
            [
                "0 B",
                "1023 B",
                "1.0 KiB",
                "1.5 KiB",
                "1.0 MiB",
                "1.0 GiB",
                "16384.0 PiB"
            ]
        );
        let lengths = [8, 725, 11_040, 273_600].map(|s| duration(SignedDuration::from_secs(s)));
        assert_eq!(lengths, ["8s", "12m 5s", "3h 4m", "3d 4h"]);
    }

    #[test]
    fn foreign_names_cannot_steer_the_terminal() {
        assert_eq!(shown("shop"), "shop");
        assert_eq!(shown("ümläut"), "ümläut");
        assert_eq!(shown("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\u{a}");
        assert_eq!(shown("a\u{202e}b"), "a\\u{202e}b");
    }
}
