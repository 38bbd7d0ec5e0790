//! Exact lengths of time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{number_and_unit, serialize_as_display};
use crate::InvalidValue;
use crate::reader::read_from_str;

/// Units from long to short. `w` is read and never written, since `7d` is plainer.
const UNITS: [(&str, u64); 6] = [
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A length of time for timeouts and the like, written `500ms`, `90s`, `15m`, `12h`, `7d` or `2w`. A day is 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(Duration);

impl Period {
    /// Makes a period of this many seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Returns the period as the standard library's type.
    #[must_use]
    pub const fn as_std(self) -> Duration {
        self.0
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        period.0
    }
}

impl FromStr for Period {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let refused = || {
            InvalidValue::new(
                "must be a time with a unit, such as \"500ms\", \"90s\", \"15m\", \"12h\", \"7d\" or \"2w\"",
            )
        };
        let (number, unit) = number_and_unit(text).ok_or_else(refused)?;
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refused)?;
        number
            .checked_mul(*factor)
            .map(|millis| Self(Duration::from_millis(millis)))
            .ok_or_else(refused)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value was made from whole milliseconds that fit into u64, so nothing is lost.
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let unit = UNITS[1..]
            .iter()
            .find(|(_, factor)| millis >= *factor && millis.is_multiple_of(*factor));
        let (name, factor) = unit.copied().unwrap_or(("s", 1_000));
        f.pad(&format!("{}{name}", millis / factor))
    }
}

serialize_as_display!(Period);
read_from_str!(Period);
