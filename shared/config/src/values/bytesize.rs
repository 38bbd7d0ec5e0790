//! Sizes in bytes.

use std::fmt;
use std::str::FromStr;

use super::{number_and_unit, serialize_as_display};
use crate::InvalidValue;
use crate::reader::{At, Kind, Read};

const RULE: &str = "must be a size such as \"16MiB\", \"1GB\" or a plain number of bytes";

/// Units from large to small. A size is shown in the first one that divides it.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// A number of bytes, written `16MiB` (powers of 1024), `1GB` (powers of 1000) or as a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// Makes a size of this many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Makes a size of this many MiB (1024 × 1024 bytes).
    #[must_use]
    pub const fn mib(mib: u64) -> Self {
        Self(mib * 1024 * 1024)
    }

    /// Returns the number of bytes.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let refused = || InvalidValue::new(RULE);
        let (number, unit) = number_and_unit(text).ok_or_else(refused)?;
        let factor = match unit {
            "" => 1,
            unit => {
                UNITS
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                    .ok_or_else(refused)?
                    .1
            }
        };
        number.checked_mul(factor).map(Self).ok_or_else(refused)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        let (name, factor) = unit.copied().unwrap_or(("B", 1));
        f.pad(&format!("{}{name}", self.0 / factor))
    }
}

serialize_as_display!(ByteSize);

impl Read for ByteSize {
    fn read(at: &At<'_>, kind: Kind) -> Option<Self> {
        match kind {
            Kind::I64(bytes) => u64::try_from(bytes).ok().map(Self).or_else(|| at.refuse(RULE)),
            Kind::String(text) => text.parse().ok().or_else(|| at.refuse(RULE)),
            _ => at.refuse(RULE),
        }
    }
}
