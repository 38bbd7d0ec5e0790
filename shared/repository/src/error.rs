//! Errors of repositories.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use holdfast_fault::{Retry, Retryable};
use holdfast_format::{Intrusion, ObjectKey, PlaceName, RecordError, RepositoryId, Role, RosterError, Site};
use holdfast_sealing::{OpenError, SealError};
use holdfast_storage::StorageError;
use tokio::task::JoinError;

/// A failure of a repository.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The place failed. The error names the place and the object.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The place holds no repository.
    #[error("there is no repository at place {place}: check its address, or make one with `holdfast init`")]
    NoRepository { place: PlaceName },
    /// A repository is there, where a new one was to be made.
    #[error("there is a repository at place {place} already; it is not touched")]
    Exists { place: PlaceName },
    /// Records are there without the `repository.pgp` that they belong to.
    #[error(
        "place {place} has {found} and no repository.pgp: a repository is there that lost it; take it from another place, \
         or give the new repository an empty place"
    )]
    Remains {
        place: PlaceName,
        /// One of the records.
        found: Box<ObjectKey>,
    },
    /// The repository is another owner's.
    #[error(
        "the repository at place {place} is not signed by the owner whose certificate encryption.owner (or --owner) names: \
         take the certificate that was there when the repository was made"
    )]
    NotOwner {
        place: PlaceName,
        #[source]
        source: OpenError,
    },
    /// The place holds another repository.
    #[error("place {place} holds another repository, {found}, not {expected}: give each its own directory or prefix")]
    OtherRepository {
        place: PlaceName,
        /// The repository that is there.
        found: RepositoryId,
        /// The repository that should be there.
        expected: RepositoryId,
    },
    /// An object that a manifest names is not there.
    #[error("{key} is missing at place {place}: look for it at another place")]
    Missing { place: PlaceName, key: Box<ObjectKey> },
    /// An object is not what was written. It was read twice.
    #[error("{key} at place {place} is damaged: {problem}")]
    Damaged {
        place: PlaceName,
        key: Box<ObjectKey>,
        /// The fault, for people.
        problem: String,
        /// The error by which the fault was noticed, if more than a comparison was needed.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// None of this host's keys opens an object. The object may be in perfect order.
    #[error(
        "cannot open {key} at place {place} with the keys of this host: encryption.reader_key must be the one that it was \
         sealed to; to read, a secret backup key will do"
    )]
    NoKey {
        place: PlaceName,
        key: Box<ObjectKey>,
        /// Names the keys that would open it.
        #[source]
        source: OpenError,
    },
    /// A record without a good signature of a trusted key.
    #[error("{key} at place {place} has no signature that counts: it is not used")]
    NotSigned {
        place: PlaceName,
        key: Box<ObjectKey>,
        #[source]
        source: OpenError,
    },
    /// A record with a good signature of a key that may not sign it. Somebody put it there who may not.
    #[error(
        "{key} at place {place} is an intrusion, and is not used: find out who wrote it, then set it aside; \
         `holdfast keys list` shows whose keys count"
    )]
    Intrusion {
        place: PlaceName,
        key: Box<ObjectKey>,
        #[source]
        source: Intrusion,
    },
    /// The rosters of a place are no chain, or there is none.
    #[error(
        "the roster at place {place} cannot be used: take the lost or changed issue from another place; \
         a repository that has none was made by an earlier release, and a new one must be begun"
    )]
    Roster {
        place: PlaceName,
        #[source]
        source: RosterError,
    },
    /// The place has an older roster than was seen before, or another one of the same number.
    #[error(
        "the roster at place {place} went back to number {found}, and number {seen} was seen before: an old copy was put \
         there, or somebody takes a revocation back; put the newer one back from another place"
    )]
    RosterWentBack { place: PlaceName, found: u64, seen: u64 },
    /// A record that is signed, but not what belongs there.
    #[error("a record at place {place} cannot be used")]
    Record {
        place: PlaceName,
        /// Names the record and the fault.
        #[source]
        source: RecordError,
    },
    /// The host has no keys to write with.
    #[error("this host cannot write to the repository: it has no reader key or no backup certificates")]
    ReadOnly,
    /// The host has no key that may sign a record.
    #[error(
        "this host has no key that may sign {key}: {wanted} may, at this site and at this time; `holdfast keys list` shows \
         whose keys count"
    )]
    NoSigner {
        key: Box<ObjectKey>,
        /// The keys that may, in words.
        wanted: String,
    },
    /// The host has no key of a role, or none that counts.
    #[error(
        "this host has no key of the role {role} that counts at the site {site}: put its secret key into the folder \
         encryption.role_keys; if the roster does not have it (`holdfast keys list`), the owner signs it in with \
         `holdfast keys admit` or `holdfast keys rotate`"
    )]
    NoRoleKey { role: Role, site: Site },
    /// A record or text was to be written under a key that is not its own.
    #[error("{key} is not the key of what was to be written there")]
    WrongKey { key: Box<ObjectKey> },
    /// An object could not be sealed.
    #[error("cannot seal {key}")]
    Seal {
        key: Box<ObjectKey>,
        #[source]
        source: SealError,
    },
    /// A record could not be turned into JSON.
    #[error("cannot encode {key}")]
    Encode {
        key: Box<ObjectKey>,
        #[source]
        source: serde_json::Error,
    },
    /// A file in the scratch directory failed.
    #[error("cannot {doing} the scratch file {}", path.display())]
    Scratch {
        /// The verb for the message: `read` or `write`.
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The kernel gave no random bytes for a new repository's secrets.
    #[error("cannot draw random bytes for a new repository")]
    Random(#[source] io::Error),
    /// The work on an object ended without a result: a fault of this program, or its end.
    #[error("the work on {key} was broken off")]
    BrokenOff {
        key: Box<ObjectKey>,
        #[source]
        source: JoinError,
    },
}

impl Retryable for RepositoryError {
    fn retry(&self) -> Retry {
        match self {
            Self::Storage(source) => source.retry(),
            Self::Seal { source, .. } => source.retry(),
            Self::Scratch { source, .. } => Retry::of_io(source),
            Self::Random(_) => Retry::Later,
            Self::BrokenOff { source, .. } => source.retry(),
            Self::NoRepository { .. }
            | Self::Exists { .. }
            | Self::Remains { .. }
            | Self::NotOwner { .. }
            | Self::OtherRepository { .. }
            | Self::Missing { .. }
            | Self::Damaged { .. }
            | Self::NoKey { .. }
            | Self::NotSigned { .. }
            | Self::Record { .. }
            | Self::Intrusion { .. }
            | Self::Roster { .. }
            | Self::RosterWentBack { .. }
            | Self::ReadOnly
            | Self::NoSigner { .. }
            | Self::NoRoleKey { .. }
            | Self::WrongKey { .. }
            | Self::Encode { .. } => Retry::Never,
        }
    }
}

impl RepositoryError {
    /// Tells whether the repository, and not the way to it, is at fault: an object is missing, damaged, or not what it
    /// should be. Such an object is of no use here, and may be good at another place.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Missing { .. }
                | Self::Damaged { .. }
                | Self::NotSigned { .. }
                | Self::Intrusion { .. }
                | Self::Record { .. }
        )
    }

    /// Tells whether an object that is there cannot be used here: it is at fault, or no key of this host opens it. It may be
    /// of use to others.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        self.is_damage() || matches!(self, Self::NoKey { .. })
    }

    /// Tells whether this host may be at fault, and not the object: a key that opens it, or the certificate of its signer, is
    /// not at hand, or a newer release wrote it. Then nothing is known of the object.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(
            self,
            Self::NoKey { .. }
                | Self::NotSigned {
                    source: OpenError::UnknownSigner { .. },
                    ..
                }
                | Self::Record {
                    source: RecordError::Version { .. },
                    ..
                }
        )
    }

    /// Tells whether space is missing, at the place or in the scratch directory.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Storage(source) => source.is_no_space(),
            Self::Scratch { source, .. }
            | Self::Seal {
                source: SealError::Write { source },
                ..
            } => matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded),
            _ => false,
        }
    }

    /// Tells whether the place refuses this host.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Storage(StorageError::Denied { .. }))
    }
}

/// An object of a place, for errors to name.
#[derive(Clone, Debug)]
pub(crate) struct At {
    pub(crate) place: PlaceName,
    pub(crate) key: ObjectKey,
}

impl At {
    pub(crate) fn damaged(&self, problem: impl Into<String>) -> RepositoryError {
        RepositoryError::Damaged {
            place: self.place.clone(),
            key: Box::new(self.key.clone()),
            problem: problem.into(),
            source: None,
        }
    }

    pub(crate) fn missing(&self) -> RepositoryError {
        RepositoryError::Missing {
            place: self.place.clone(),
            key: Box::new(self.key.clone()),
        }
    }

    pub(crate) fn record(&self, source: RecordError) -> RepositoryError {
        RepositoryError::Record {
            place: self.place.clone(),
            source,
        }
    }

    pub(crate) fn intrusion(&self, source: Intrusion) -> RepositoryError {
        RepositoryError::Intrusion {
            place: self.place.clone(),
            key: Box::new(self.key.clone()),
            source,
        }
    }

    pub(crate) fn open(&self, source: OpenError) -> RepositoryError {
        let place = self.place.clone();
        let key = Box::new(self.key.clone());
        match source {
            OpenError::NoKey { .. } | OpenError::Locked { .. } => RepositoryError::NoKey { place, key, source },
            OpenError::NotSigned | OpenError::UnknownSigner { .. } | OpenError::BadSignature { .. } => {
                RepositoryError::NotSigned { place, key, source }
            }
            other @ (OpenError::Damaged { .. }
            | OpenError::TooLarge { .. }
            | OpenError::Read { .. }
            | OpenError::Write { .. }) => RepositoryError::Damaged {
                place,
                key,
                problem: "it does not open".to_owned(),
                source: Some(Box::new(other)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn failed(kind: io::ErrorKind) -> io::Error {
        io::Error::new(kind, "said the system")
    }

    #[test]
    fn a_key_or_a_release_that_this_host_lacks_says_nothing_of_an_object() {
        let at = At {
            place: PlaceName::local(),
            key: ObjectKey::Repository,
        };
        let key = ObjectKey::Repository;
        let needed = vec!["0123456789ABCDEF".to_owned()];
        let signers = needed.clone();
        let locked = OpenError::Locked { key: needed[0].clone() };
        let unknown = [
            at.open(OpenError::NoKey { needed }),
            at.open(locked),
            at.open(OpenError::UnknownSigner { signers }),
            at.record(RecordError::Version { key, found: 9 }),
        ];
        for error in unknown {
            assert!(error.is_unknown() && error.is_unreadable(), "{error:?}");
        }
        let known = [
            at.missing(),
            at.damaged("it has other bytes"),
            at.open(OpenError::NotSigned),
            at.open(OpenError::TooLarge { limit: 1 }),
        ];
        for error in known {
            assert!(!error.is_unknown() && error.is_unreadable(), "{error:?}");
        }
        assert!(!RepositoryError::ReadOnly.is_unreadable());
    }

    #[test]
    fn a_full_scratch_folder_is_no_space_and_stays_full_whoever_writes_there() {
        let scratch = |kind| RepositoryError::Scratch {
            doing: "write",
            path: "/scratch/contents".into(),
            source: failed(kind),
        };
        let seal = |kind| RepositoryError::Seal {
            key: Box::new(ObjectKey::Repository),
            source: SealError::Write { source: failed(kind) },
        };
        for full in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            for error in [scratch(full), seal(full)] {
                assert!(error.is_no_space() && error.retry() == Retry::Never, "{error:?}");
            }
        }
        assert_eq!(scratch(io::ErrorKind::Interrupted).retry(), Retry::Later);
        assert_eq!(scratch(io::ErrorKind::NotFound).retry(), Retry::Never);
    }

    #[test]
    fn the_place_decides_whether_asking_it_again_may_help() {
        let place: PlaceName = "offsite".parse().unwrap();
        let short = StorageError::Short {
            place: place.clone(),
            object: "packs/00".to_owned(),
            expected: 2,
            received: 1,
        };
        assert_eq!(RepositoryError::from(short).retry(), Retry::Later);
        let missing = StorageError::NotFound {
            place,
            object: "packs/00".to_owned(),
        };
        assert_eq!(RepositoryError::from(missing).retry(), Retry::Never);
    }
}
