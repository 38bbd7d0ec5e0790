//! The time for which a backup is kept.

use std::fmt;
use std::str::FromStr;

use super::{number_and_unit, serialize_as_display};
use crate::InvalidValue;
use crate::reader::read_from_str;

const DAY: u64 = 86_400;

/// The time that retention reaches back, written `12h`, `7d`, `12w`, `12 months` or `2 years`.
///
/// Months are those of the calendar, counted back from the present date, and not 30 days each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    /// An exact number of seconds; a day is 24 hours.
    Seconds(u64),
    /// A number of calendar months.
    Months(u32),
}

impl FromStr for Span {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let refused = || {
            InvalidValue::new(
                "must be a time with a unit, such as \"12h\", \"7d\", \"12w\", \"12 months\" or \"2 years\"",
            )
        };
        let (number, unit) = number_and_unit(text).ok_or_else(refused)?;
        let seconds = |factor: u64| number.checked_mul(factor).map(Self::Seconds);
        let months = |factor: u64| {
            number
                .checked_mul(factor)
                .and_then(|n| u32::try_from(n).ok())
                .map(Self::Months)
        };
        let span = match unit {
            "s" | "second" | "seconds" => seconds(1),
            "m" | "minute" | "minutes" => seconds(60),
            "h" | "hour" | "hours" => seconds(3_600),
            "d" | "day" | "days" => seconds(DAY),
            "w" | "week" | "weeks" => seconds(7 * DAY),
            "month" | "months" => months(1),
            "y" | "year" | "years" => months(12),
            _ => None,
        };
        span.ok_or_else(refused)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match *self {
            Self::Months(1) => "1 month".to_owned(),
            Self::Months(months) => format!("{months} months"),
            // People think in days up to a month, and in weeks beyond.
            Self::Seconds(s) if s > 31 * DAY && s.is_multiple_of(7 * DAY) => format!("{}w", s / (7 * DAY)),
            Self::Seconds(s) if s > 0 && s.is_multiple_of(DAY) => format!("{}d", s / DAY),
            Self::Seconds(s) if s > 0 && s.is_multiple_of(3_600) => format!("{}h", s / 3_600),
            Self::Seconds(s) if s > 0 && s.is_multiple_of(60) => format!("{}m", s / 60),
            Self::Seconds(s) => format!("{s}s"),
        };
        f.pad(&text)
    }
}

serialize_as_display!(Span);
read_from_str!(Span);
