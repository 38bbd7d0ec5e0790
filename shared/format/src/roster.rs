//! The roster: whose key has which role, at which sites, and when (docs/format.md, section 2).

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::authority::{Intrusion, Role, Signers};
use crate::{Digest, ObjectKey, Record, RepositoryInfo, Site};

/// A key with its role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub role: Role,
    /// The sites that the key speaks for. `None` for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sites: Option<Vec<Site>>,
    /// Fingerprint of the certificate in upper-case hexadecimal.
    pub fingerprint: String,
    /// The certificate, armoured.
    pub certificate: String,
    /// The time from which on the key's signatures count.
    pub from: Timestamp,
    /// The time up to which they count, once another key has taken its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The time at which the key was revoked as stolen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
}

impl Member {
    /// Tells whether the key speaks for a site.
    #[must_use]
    pub fn serves(&self, site: &Site) -> bool {
        self.sites.as_ref().is_none_or(|sites| sites.contains(site))
    }

    /// Tells whether the key has its role at `at`. Signatures state whole seconds, so seconds are compared.
    fn covers(&self, at: Timestamp) -> bool {
        let at = at.as_second();
        self.from.as_second() <= at && self.until.is_none_or(|until| at <= until.as_second())
    }

    /// Tells whether signatures of the key that are made at `at` count.
    #[must_use]
    pub fn is_active(&self, at: Timestamp) -> bool {
        self.covers(at) && self.revoked.is_none()
    }
}

/// One issue of the roster. The owner key signs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// The number of the issue; the first is 1.
    pub number: u64,
    /// SHA-256 of the sealed issue before this one. `None` for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// The time at which the owner signed it.
    pub issued: Timestamp,
    /// Every key that ever had a role.
    pub members: Vec<Member>,
    /// The content of `repository.pgp`, for backup keys that were made after it.
    pub info: RepositoryInfo,
}

impl Record for Roster {
    const KIND: &'static str = "roster";

    fn belongs_at(&self, key: &ObjectKey) -> bool {
        *key == ObjectKey::Roster(self.number)
    }
}

/// The owner's word for records of keys that were revoked: they were there, as they are, before the theft. The owner key
/// signs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouched {
    pub id: Uuid,
    /// The time at which the owner signed it.
    pub at: Timestamp,
    /// SHA-256 of the sealed records, sorted.
    pub records: Vec<Digest>,
}

impl Record for Vouched {
    const KIND: &'static str = "vouched";

    fn belongs_at(&self, key: &ObjectKey) -> bool {
        *key == ObjectKey::Vouched(self.id)
    }
}

/// The fault of a roster, or of its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// A key has two entries, so that its role is not clear.
    #[error("roster {number} names the key {fingerprint} twice")]
    Twice { number: u64, fingerprint: String },
    /// An issue of the chain is not there.
    #[error("roster {number} is missing: the chain of rosters is broken")]
    Missing { number: u64 },
    /// An issue does not follow the one before it.
    #[error("roster {number} does not follow the one before it, which has another hash than it names")]
    Fork { number: u64 },
    /// A key of the issue before is not there any more, or has another role.
    #[error("roster {number} lost the key {fingerprint}, or changed its role: a key's time may end, its entry stays")]
    Lost { number: u64, fingerprint: String },
}

impl Roster {
    /// Checks what the issue says by itself, and that it follows the one before, whose sealed object has this SHA-256; or
    /// that it is the first.
    ///
    /// # Errors
    /// [`RosterError`].
    pub fn check_after(&self, before: Option<(&Self, Digest)>) -> Result<(), RosterError> {
        self.check_place(before.map(|(before, sha256)| (before.number, sha256)))?;
        let stays = |old: &&Member| {
            let same = |new: &Member| new.fingerprint == old.fingerprint && new.role == old.role;
            self.members.iter().any(same)
        };
        let mut known = before.iter().flat_map(|(before, _)| &before.members);
        match known.find(|old| !stays(old)) {
            None => Ok(()),
            Some(lost) => Err(RosterError::Lost {
                number: self.number,
                fingerprint: lost.fingerprint.clone(),
            }),
        }
    }

    /// Checks that no key is named twice, and that the issue follows the one of this number and SHA-256.
    fn check_place(&self, before: Option<(u64, Digest)>) -> Result<(), RosterError> {
        let number = self.number;
        let mut seen = BTreeSet::new();
        if let Some(member) = self.members.iter().find(|member| !seen.insert(&member.fingerprint)) {
            return Err(RosterError::Twice {
                number,
                fingerprint: member.fingerprint.clone(),
            });
        }
        let next = before.map_or(1, |(before, _)| before.saturating_add(1));
        if number != next {
            return Err(RosterError::Missing { number: next });
        }
        if self.previous == before.map(|(_, sha256)| sha256) {
            Ok(())
        } else {
            Err(RosterError::Fork { number })
        }
    }

    /// Takes the newest of all issues, each with the SHA-256 of its sealed object, in the order of their numbers. Each must
    /// follow the one before. `unopened` is the number and the SHA-256 of the last issue that no key at hand opens: a key
    /// that was made later opens the later issues only. Without one, the first must be number 1.
    ///
    /// # Errors
    /// [`RosterError`]; [`RosterError::Missing`] if there are none.
    pub fn newest(unopened: Option<(u64, Digest)>, issues: Vec<(Self, Digest)>) -> Result<(Self, Digest), RosterError> {
        let mut newest: Option<(Self, Digest)> = None;
        for (issue, sha256) in issues {
            match &newest {
                None => issue.check_place(unopened)?,
                Some((before, sha256)) => issue.check_after(Some((before, *sha256)))?,
            }
            newest = Some((issue, sha256));
        }
        newest.ok_or(RosterError::Missing {
            number: unopened.map_or(1, |(number, _)| number.saturating_add(1)),
        })
    }
}

/// The standing of a record's signature under a roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing<'a> {
    /// The record counts.
    Counts(&'a Member),
    /// The key was revoked after the time that the signature states, which a thief may have chosen. The record counts
    /// only where the owner, or a record of another role, names it by its hash.
    IfNamed(&'a Member),
}

impl Roster {
    /// Judges a good signature, by `fingerprint` at `at`, on a record that `signers` may sign. `site` is the site that
    /// the record speaks for, if it speaks for one.
    ///
    /// # Errors
    /// [`Intrusion`]: the record is to be told of, and not to be used.
    pub fn judge(
        &self,
        fingerprint: &str,
        at: Timestamp,
        signers: Signers,
        site: Option<&Site>,
    ) -> Result<Standing<'_>, Intrusion> {
        let fingerprint = fingerprint.to_owned();
        let Some(member) = self.members.iter().find(|member| member.fingerprint == fingerprint) else {
            return Err(Intrusion::Stranger { fingerprint });
        };
        let may_sign = matches!(signers, Signers::Roles(roles) if roles.contains(&member.role));
        if !may_sign {
            return Err(Intrusion::WrongRole {
                fingerprint,
                role: member.role,
                wanted: signers,
            });
        }
        if let Some(site) = site.filter(|site| !member.serves(site)) {
            return Err(Intrusion::WrongSite {
                fingerprint,
                site: (*site).clone(),
            });
        }
        if !member.covers(at) {
            return Err(Intrusion::WrongTime { fingerprint, at });
        }
        match member.revoked {
            None => Ok(Standing::Counts(member)),
            Some(revoked) if at.as_second() < revoked.as_second() => Ok(Standing::IfNamed(member)),
            Some(_) => Err(Intrusion::Revoked { fingerprint }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::authority::TABLE;
    use crate::{ChunkKey, ChunkerParams};
    use proptest::prelude::*;

    fn digest(number: u64) -> Digest {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Digest::from_bytes(bytes)
    }

    fn member(fingerprint: &str, role: Role) -> Member {
        Member {
            role,
            sites: None,
            fingerprint: fingerprint.to_owned(),
            certificate: "certificate".to_owned(),
            from: Timestamp::UNIX_EPOCH,
            until: None,
            revoked: None,
        }
    }

    fn info() -> RepositoryInfo {
        RepositoryInfo {
            created: Timestamp::UNIX_EPOCH,
            chunker: ChunkerParams::new(1),
            chunk_key: ChunkKey::from_bytes([1; 32]),
        }
    }

    /// A chain of rosters, each with one member more.
    fn chain(length: u64) -> Vec<(Roster, Digest)> {
        (1..=length)
            .map(|number| {
                let members = (1..=number).map(|n| member(&format!("{n:040X}"), Role::Producer));
                let roster = Roster {
                    number,
                    previous: (number > 1).then(|| digest(number - 1)),
                    issued: Timestamp::UNIX_EPOCH,
                    members: members.collect(),
                    info: info(),
                };
                (roster, digest(number))
            })
            .collect()
    }

    #[test]
    fn the_newest_of_a_whole_chain_counts() {
        let (newest, sha256) = Roster::newest(None, chain(3)).unwrap();
        assert_eq!((newest.number, newest.members.len(), sha256), (3, 3, digest(3)));
        assert_eq!(
            Roster::newest(None, Vec::new()),
            Err(RosterError::Missing { number: 1 })
        );
    }

    #[test]
    fn a_chain_that_is_broken_is_refused_and_named() {
        let mut gap = chain(3);
        gap.remove(1);
        assert_eq!(Roster::newest(None, gap), Err(RosterError::Missing { number: 2 }));
        let mut headless = chain(2);
        headless.remove(0);
        assert_eq!(Roster::newest(None, headless), Err(RosterError::Missing { number: 1 }));
        let mut fork = chain(2);
        fork[1].0.previous = Some(digest(9));
        assert_eq!(Roster::newest(None, fork), Err(RosterError::Fork { number: 2 }));
        let mut twice = chain(2);
        let again = twice[1].0.members[0].clone();
        twice[1].0.members.push(again);
        assert!(matches!(
            Roster::newest(None, twice),
            Err(RosterError::Twice { number: 2, .. })
        ));
        let mut lost = chain(2);
        lost[1].0.members.remove(0);
        assert!(matches!(
            Roster::newest(None, lost),
            Err(RosterError::Lost { number: 2, .. })
        ));
        let mut promoted = chain(2);
        promoted[1].0.members[0].role = Role::Janitor;
        assert!(matches!(
            Roster::newest(None, promoted),
            Err(RosterError::Lost { number: 2, .. })
        ));
    }

    #[test]
    fn a_key_that_opens_the_later_issues_only_follows_the_chain_from_there() {
        let mut issues = chain(4);
        let unopened = issues
            .drain(..2)
            .next_back()
            .map(|(issue, sha256)| (issue.number, sha256));
        let (newest, _) = Roster::newest(unopened, issues.clone()).unwrap();
        assert_eq!(newest.number, 4);
        let forged = unopened.map(|(number, _)| (number, digest(9)));
        assert_eq!(Roster::newest(forged, issues), Err(RosterError::Fork { number: 3 }));
        assert_eq!(
            Roster::newest(unopened, Vec::new()),
            Err(RosterError::Missing { number: 3 })
        );
    }

    #[test]
    fn a_signature_of_the_second_in_which_a_key_began_counts() {
        let began = Timestamp::new(NOON, 900_000_000).unwrap();
        let roster = of(Member {
            from: began,
            ..member("A", Role::Producer)
        });
        let signers = Signers::Roles(&[Role::Producer]);
        assert!(roster.judge("A", at(NOON), signers, None).is_ok());
        assert!(roster.judge("A", at(NOON - 1), signers, None).is_err());
    }

    const NOON: i64 = 1_800_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn of(member: Member) -> Roster {
        Roster {
            number: 1,
            previous: None,
            issued: at(NOON),
            members: vec![member],
            info: info(),
        }
    }

    #[test]
    fn each_role_signs_its_own_kinds_and_no_other() {
        for role in Role::ALL {
            let roster = of(member("A", *role));
            for (kind, signers) in TABLE {
                let may = matches!(signers, Signers::Roles(roles) if roles.contains(role));
                assert_eq!(
                    roster.judge("A", at(NOON), *signers, None).is_ok(),
                    may,
                    "{role} {kind}"
                );
            }
        }
    }

    #[test]
    fn a_key_counts_in_its_time_and_at_its_sites() {
        let here: Site = "here".parse().unwrap();
        let there: Site = "there".parse().unwrap();
        let roster = of(Member {
            sites: Some(vec![here.clone()]),
            from: at(NOON),
            until: Some(at(NOON + 10)),
            ..member("A", Role::Producer)
        });
        let signers = Signers::of_kind("manifest");
        let judge = |second, site| roster.judge("A", at(second), signers, Some(site));
        assert!(matches!(judge(NOON, &here), Ok(Standing::Counts(_))));
        assert!(matches!(judge(NOON + 10, &here), Ok(Standing::Counts(_))));
        assert!(matches!(judge(NOON - 1, &here), Err(Intrusion::WrongTime { .. })));
        assert!(matches!(judge(NOON + 11, &here), Err(Intrusion::WrongTime { .. })));
        assert!(matches!(judge(NOON, &there), Err(Intrusion::WrongSite { .. })));
        let stranger = roster.judge("B", at(NOON), signers, None);
        assert!(matches!(stranger, Err(Intrusion::Stranger { .. })));
    }

    #[test]
    fn a_record_of_a_stolen_key_counts_only_where_it_is_named() {
        let roster = of(Member {
            revoked: Some(at(NOON + 10)),
            ..member("A", Role::Producer)
        });
        let judge = |second| roster.judge("A", at(second), Signers::of_kind("manifest"), None);
        assert!(matches!(judge(NOON + 9), Ok(Standing::IfNamed(_))));
        assert!(matches!(judge(NOON + 10), Err(Intrusion::Revoked { .. })));
    }

    proptest! {
        #[test]
        fn nobody_signs_for_another_role_whatever_the_time(
            role in proptest::sample::select(Role::ALL),
            second in NOON - 100..NOON + 100,
            from in NOON - 50..NOON + 50,
            until in proptest::option::of(NOON - 50..NOON + 50),
            revoked in proptest::option::of(NOON - 50..NOON + 50),
            kind in 0..TABLE.len(),
        ) {
            let roster = of(Member {
                from: at(from),
                until: until.map(at),
                revoked: revoked.map(at),
                ..member("A", role)
            });
            let (_, signers) = TABLE[kind];
            let may = matches!(signers, Signers::Roles(roles) if roles.contains(&role));
            let in_time = from <= second && until.is_none_or(|until| second <= until);
            match roster.judge("A", at(second), signers, None) {
                Ok(Standing::Counts(_)) => prop_assert!(may && in_time && revoked.is_none()),
                Ok(Standing::IfNamed(_)) => prop_assert!(may && in_time && revoked.is_some_and(|then| second < then)),
                Err(_) => prop_assert!(!may || !in_time || revoked.is_some_and(|then| second >= then)),
            }
        }

        #[test]
        fn of_a_chain_only_a_beginning_is_accepted(length in 1_u64..6, kept in proptest::collection::vec(any::<bool>(), 6)) {
            let issues: Vec<_> = chain(length).into_iter().zip(&kept).filter(|(_, keep)| **keep).map(|(issue, _)| issue).collect();
            let is_beginning = issues.iter().zip(1..).all(|((roster, _), number)| roster.number == number);
            let count = issues.len();
            prop_assert_eq!(Roster::newest(None, issues).is_ok(), is_beginning && count > 0);
        }
    }
}
