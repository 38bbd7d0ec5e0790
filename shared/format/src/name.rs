//! Names that people choose: sources, sites, places, schedules. They become parts of object keys and NATS subjects, so their
//! alphabet is narrow.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text is no name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a valid {kind}: use 1 to 63 of a-z, 0-9, '-' and '_', beginning with a letter or digit")]
pub struct NameError {
    kind: &'static str,
    text: String,
}

fn is_token(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
        && text.as_bytes()[0].is_ascii_alphanumeric()
}

macro_rules! token {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                if is_token(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(NameError { kind: $kind, text: text.chars().take(80).collect() })
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

token!(
    /// A configured or discovered source.
    SourceName, "source name"
);
token!(
    /// A set of things that a worker can reach: a host's name, or `shared`.
    Site, "site"
);
token!(
    /// A place that holds a repository: `local`, or a target's name.
    PlaceName, "place name"
);
token!(
    /// A configured schedule.
    ScheduleName, "schedule name"
);
token!(
    /// The first part of a deployment's subjects and streams: several deployments can share a server.
    SubjectPrefix, "prefix of subjects"
);

impl PlaceName {
    /// Returns the name of the repository's own place.
    #[must_use]
    pub fn local() -> Self {
        Self("local".to_owned())
    }

    /// True for the name of the repository's own place, which no target may have.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.0 == "local"
    }
}

impl Default for SubjectPrefix {
    fn default() -> Self {
        Self("holdfast".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_keys_and_subjects() {
        for good in ["a", "main", "host-a", "db_1", "0"] {
            assert!(good.parse::<SourceName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "A",
            "a.b",
            "a/b",
            "..",
            "-a",
            "a b",
            "a*",
            ">",
            "é",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<SourceName>().is_err(), "{bad}");
        }
    }
}
