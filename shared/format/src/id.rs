//! Every id of the format, in one list. None has a `Default`: an id that is not known is an `Option`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A text is no id of the wanted kind.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a {kind}: {rule}")]
pub struct IdError {
    kind: &'static str,
    text: String,
    rule: &'static str,
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $kind:literal, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Makes an id of these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Returns the bytes of the id.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Returns the first eight hex digits: enough for a person to tell ids apart in a table.
            #[must_use]
            pub fn short(&self) -> String {
                hex::encode(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut bytes = [0; $len];
                let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
                match hex::decode_to_slice(text, &mut bytes) {
                    Ok(()) if lower => Ok(Self(bytes)),
                    _ => Err(IdError { kind: $kind, text: text.chars().take(80).collect(), rule: $rule }),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
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

hex_id!(
    /// An artefact: one thing captured in one run. Derived from run, source, kind and name, so that listing again gives
    /// the same id.
    ArtefactId, 16, "artefact id", "32 lower-case hex digits"
);
hex_id!(
    /// The identity of a chunk: keyed BLAKE3 of its bytes, cut to 16 bytes.
    ChunkId, 16, "chunk id", "32 lower-case hex digits"
);
hex_id!(
    /// The identity of a pack: keyed BLAKE3 of its plaintext, for one set of readers and one profile.
    PackId, 32, "pack id", "64 lower-case hex digits"
);
hex_id!(
    /// A 32-byte digest. The field that holds it says which one: SHA-256 of a sealed object, or a stream's digest.
    Digest, 32, "digest", "64 lower-case hex digits"
);

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(#[serde(with = "uuid_text")] Uuid);

        impl $name {
            /// Makes an id of this UUID.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Returns the id as a UUID.
            #[must_use]
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let refused = || IdError {
                    kind: $kind,
                    text: text.chars().take(80).collect(),
                    rule: "a UUID in lower case with hyphens",
                };
                let uuid = Uuid::try_parse(text).map_err(|_| refused())?;
                if uuid.hyphenated().to_string() == text { Ok(Self(uuid)) } else { Err(refused()) }
            }
        }
    };
}

uuid_id!(
    /// A run: one execution over chosen sources. A UUID version 7, so ids sort by the time of their start.
    RunId, "run id"
);
uuid_id!(
    /// A repository. Random; every signed record names it.
    RepositoryId, "repository id"
);

impl RunId {
    /// Makes the id of a run that starts at `unix_ms`, with `random` filling the rest. The same inputs give the same
    /// id: scheduler replicas derive `random` from schedule and slot, and so agree on the run without speaking to each
    /// other.
    #[must_use]
    pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
    }

    /// Returns the time of the run's start, in milliseconds since 1970.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        let b = self.0.as_bytes();
        u64::from_be_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]])
    }

    /// Returns the last eight hex digits: enough for a person to tell runs apart.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0.as_bytes()[12..])
    }
}

/// Writes UUIDs as text in every encoding, so that events and records read alike.
mod uuid_text {
    use serde::{Deserialize, Deserializer, Serializer};
    use uuid::Uuid;

    pub(super) fn serialize<S: Serializer>(uuid: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&uuid.hyphenated())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Uuid::try_parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_round_trip_and_refuse_other_spellings() {
        let id = ArtefactId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string().parse::<ArtefactId>(), Ok(id));
        assert!(id.to_string().to_uppercase().parse::<ArtefactId>().is_err());
        assert!("ab".parse::<ArtefactId>().is_err());
        assert!("../../etc/passwd".parse::<PackId>().is_err());
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<ArtefactId>(&json).unwrap(), id);
    }

    #[test]
    fn run_ids_sort_by_time_and_are_reproducible() {
        let early = RunId::new(1_700_000_000_000, [9; 10]);
        let late = RunId::new(1_700_000_000_001, [0; 10]);
        assert!(early < late);
        assert_eq!(early, RunId::new(1_700_000_000_000, [9; 10]));
        assert_eq!(early.unix_ms(), 1_700_000_000_000);
        assert_eq!(early.to_string().parse::<RunId>(), Ok(early));
        assert!(early.to_string().replace('-', "").parse::<RunId>().is_err());
    }
}
