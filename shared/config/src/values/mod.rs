//! Types of values with units, or with a form of their own. Each has `FromStr`, `Display` (in the form that `FromStr`
//! reads) and `Serialize` (as `Display`).

pub(crate) mod bytesize;
pub(crate) mod percent;
pub(crate) mod period;
pub(crate) mod place;
pub(crate) mod span;

/// Splits `12 months` or `16MiB` into its number and its unit.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// Implements `Serialize` by `Display`.
macro_rules! serialize_as_display {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}
use serialize_as_display;

#[cfg(test)]
mod tests;
