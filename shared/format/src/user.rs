//! Users of the message bus, and the parts of subjects that are each one's own.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A user of the message bus, by the name that its server knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BusUser(String);

impl BusUser {
    /// Makes a user of any name that a server knows.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Returns the user of the command `holdfast`.
    #[must_use]
    pub fn operator() -> Self {
        Self::new("operator")
    }

    /// Returns the user of deploy tools.
    #[must_use]
    pub fn gate() -> Self {
        Self::new("gate")
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name as one part of a subject. Letters, digits, `-` and `_` stand for themselves. Every other byte is
    /// written as `=` and two hexadecimal digits, so that no two users share a part.
    #[must_use]
    pub fn token(&self) -> String {
        let escaped = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
            _ => format!("={byte:02x}"),
        };
        self.0.bytes().map(escaped).collect()
    }

    /// Returns the user that [`BusUser::token`] gives this part for.
    #[must_use]
    pub fn of_token(token: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(token.len());
        let mut rest = token.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            if *first == b'=' {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[2..];
            } else {
                bytes.push(*first);
            }
        }
        let user = Self(String::from_utf8(bytes).ok()?);
        // One way of writing alone counts.
        (!user.0.is_empty() && user.token() == token).then_some(user)
    }

    /// Returns the beginning of all subjects that answers to this user come to. Nobody else may hear them.
    #[must_use]
    pub fn inbox(&self) -> String {
        format!("_INBOX_{}", self.token())
    }
}

impl fmt::Display for BusUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_users_share_an_inbox() {
        for (name, inbox) in [
            ("dumper", "_INBOX_dumper"),
            ("volume-snapshotter", "_INBOX_volume-snapshotter"),
            ("a.b", "_INBOX_a=2eb"),
            ("a_b", "_INBOX_a_b"),
            ("a=2eb", "_INBOX_a=3d2eb"),
            (">", "_INBOX_=3e"),
            ("*", "_INBOX_=2a"),
            ("é x", "_INBOX_=c3=a9=20x"),
        ] {
            let user = BusUser::new(name);
            assert_eq!(user.inbox(), inbox);
            assert_eq!(BusUser::of_token(&user.token()), Some(user));
        }
    }

    #[test]
    fn a_part_of_a_subject_that_no_user_has_names_nobody() {
        for token in ["", "=", "=2", "=zz", "=41", "=2E", "a b", "a=é", "=ff", "=+1", "é"] {
            assert_eq!(BusUser::of_token(token), None, "{token:?}");
        }
    }
}
