//! The roles of keys, and the one table of the records that each of them may sign (docs/format.md, section 2).

use jiff::Timestamp;

use crate::{Site, Stage};

crate::word_enum!(
    /// The role of a signing key. The owner key has none: nothing but the owner signs rosters and `repository.pgp`.
    Role {
        /// Dumper, volume-snapshotter and encryptor: lists, captures, seals.
        Producer = "producer",
        /// Starts runs and records them.
        Scheduler = "scheduler",
        /// Reads back what was stored.
        Verifier = "verifier",
        /// Copies to targets.
        Syncer = "syncer",
        /// Applies retention.
        Janitor = "janitor",
        /// A person at the command line.
        Operator = "operator",
    }
);

/// The keys that may sign a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signers {
    /// The owner key alone.
    Owner,
    /// The keys of these roles.
    Roles(&'static [Role]),
}

use Role::{Janitor, Operator, Producer, Scheduler, Syncer, Verifier};

/// The signers of each kind of record, by the kind's word. Nothing else says who may sign what.
pub(crate) const TABLE: &[(&str, Signers)] = &[
    ("repository", Signers::Owner),
    ("roster", Signers::Owner),
    ("vouched", Signers::Owner),
    ("expected", Signers::Roles(&[Scheduler])),
    ("listed", Signers::Roles(&[Producer])),
    ("manifest", Signers::Roles(&[Producer])),
    ("restore-point", Signers::Roles(&[Scheduler])),
    ("finished", Signers::Roles(&[Scheduler])),
    // Of its own stage: see `of_stage`.
    (
        "failure",
        Signers::Roles(&[Producer, Scheduler, Verifier, Syncer, Janitor]),
    ),
    ("verification", Signers::Roles(&[Verifier, Operator])),
    ("damaged", Signers::Roles(&[Verifier, Syncer, Operator])),
    ("copied", Signers::Roles(&[Syncer])),
    ("tombstone", Signers::Roles(&[Janitor])),
    ("condemned", Signers::Roles(&[Janitor])),
    ("clean-report", Signers::Roles(&[Janitor, Operator])),
    ("hold", Signers::Roles(&[Operator])),
];

impl Signers {
    /// Returns the signers of a kind of record. A kind that the table does not have is the owner's.
    #[must_use]
    pub(crate) fn of_kind(kind: &str) -> Self {
        let found = TABLE.iter().find(|(word, _)| *word == kind);
        found.map_or(Self::Owner, |(_, signers)| *signers)
    }

    /// Returns the signers of a failure: whoever does the stage, and the scheduler, which fails what did not come.
    pub(crate) fn of_stage(stage: Stage) -> Self {
        Self::Roles(match stage {
            Stage::List | Stage::Capture | Stage::Seal | Stage::Close => &[Producer, Scheduler],
            Stage::Verify => &[Verifier, Scheduler],
            Stage::Sync => &[Syncer, Scheduler],
            Stage::Clean => &[Janitor, Scheduler],
        })
    }

    /// Names the signers, as a phrase: `a key of the role producer`.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Owner => "the owner key".to_owned(),
            Self::Roles(roles) => {
                let words: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
                format!("a key of the role {}", words.join(" or "))
            }
        }
    }
}

/// The reason why a record with a good signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Intrusion {
    /// No roster names the key.
    #[error("it is signed by {fingerprint}, a key that the roster does not name")]
    Stranger { fingerprint: String },
    /// The key has a role that does not sign such records.
    #[error("it is signed by {fingerprint}, a key of the role {role}, and only {} may sign it", .wanted.words())]
    WrongRole {
        fingerprint: String,
        role: Role,
        wanted: Signers,
    },
    /// The key has the role at other sites only.
    #[error("it is signed by {fingerprint}, which the roster does not have at the site {site}")]
    WrongSite { fingerprint: String, site: Site },
    /// The signature is older than the key's time, or younger.
    #[error("it is signed by {fingerprint} at {at}, outside the time that the roster gives this key")]
    WrongTime { fingerprint: String, at: Timestamp },
    /// The key was revoked, so that a thief may have made the record.
    #[error("it is signed by {fingerprint}, a key that was revoked as stolen")]
    Revoked { fingerprint: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(signers: Signers) -> &'static [Role] {
        match signers {
            Signers::Roles(roles) => roles,
            Signers::Owner => &[],
        }
    }

    #[test]
    fn only_the_janitor_signs_deletions_and_only_the_verifier_and_the_operator_proofs() {
        let of = |kind| roles(Signers::of_kind(kind));
        assert_eq!(of("tombstone"), [Role::Janitor]);
        assert_eq!(of("condemned"), [Role::Janitor]);
        assert_eq!(of("verification"), [Role::Verifier, Role::Operator]);
        assert_eq!(of("hold"), [Role::Operator]);
        for owned in ["roster", "vouched", "repository", "a kind to come"] {
            assert_eq!(Signers::of_kind(owned), Signers::Owner, "{owned}");
        }
    }

    #[test]
    fn a_failure_is_signed_by_whoever_does_the_stage() {
        for stage in Stage::ALL {
            let found = roles(Signers::of_stage(*stage));
            assert!(found.contains(&Role::Scheduler) && found.len() == 2, "{stage}");
            assert!(
                found
                    .iter()
                    .all(|role| roles(Signers::of_kind("failure")).contains(role)),
                "{stage}"
            );
        }
    }
}
