//! Judges the signatures of records by a roster.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use holdfast_format::{Digest, Intrusion, Record, Roster, Standing};
use holdfast_sealing::{Opened, Signer, TrustedSigners};
use jiff::Timestamp;

use crate::RepositoryError;
use crate::error::At;
use crate::names::Names;

/// The time after which a place is asked for a newer roster, so that a revoked key stops to count without a restart.
const LOOK_EVERY: Duration = Duration::from_secs(300);
/// The time between two looks because of a signer that the roster does not name.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// A roster whose chain was checked, and the certificates that it names.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) roster: Roster,
    /// SHA-256 of the sealed issue.
    pub(crate) sha256: Digest,
    /// Names of the issues and of the owner's words that this was read from.
    names: Names,
    /// SHA-256 of the sealed records that the owner vouches for.
    vouched: BTreeSet<Digest>,
    trusted: TrustedSigners,
}

impl Authority {
    pub(crate) fn new(
        at: &At,
        names: Names,
        (roster, sha256): (Roster, Digest),
        vouched: BTreeSet<Digest>,
    ) -> Result<Self, RepositoryError> {
        let mut trusted = TrustedSigners::default();
        for member in &roster.members {
            let cert = TrustedSigners::from_bytes(member.certificate.as_bytes());
            let cert =
                cert.map_err(|error| at.damaged(format!("the certificate of {}: {error}", member.fingerprint)))?;
            if cert.fingerprints() != [member.fingerprint.as_str()] {
                return Err(at.damaged(format!(
                    "it has another certificate for {} than this key's",
                    member.fingerprint
                )));
            }
            trusted.add(&cert);
        }
        Ok(Self {
            roster,
            sha256,
            names,
            vouched,
            trusted,
        })
    }

    /// Tells whether the owner vouches for a sealed record.
    pub(crate) fn vouches_for(&self, sealed: &[u8]) -> bool {
        !self.vouched.is_empty() && self.vouched.contains(&crate::sha256(sealed))
    }

    /// Tells whether a place has nothing newer than this.
    pub(crate) fn is_of(&self, names: &Names) -> bool {
        self.names == *names
    }

    pub(crate) fn trusted(&self) -> &TrustedSigners {
        &self.trusted
    }

    /// Judges the signature of a record that was opened.
    pub(crate) fn judge<T: Record>(&self, opened: &Opened, record: &T) -> Result<Standing<'_>, Intrusion> {
        // A time that no calendar has is no time of a key.
        let at = Timestamp::try_from(opened.signed_at).unwrap_or(Timestamp::MIN);
        self.roster.judge(&opened.signer, at, record.signers(), record.site())
    }

    /// Picks the key that may sign this record now.
    pub(crate) fn signer_for<'a, T: Record>(&self, signers: &'a [Signer], record: &T) -> Option<&'a Signer> {
        let now = Timestamp::now();
        signers.iter().find(|signer| {
            let standing = self
                .roster
                .judge(signer.fingerprint(), now, record.signers(), record.site());
            matches!(standing, Ok(Standing::Counts(_)))
        })
    }
}

/// The newest authority that was seen, shared by a repository and its copies at other places.
#[derive(Debug)]
pub(crate) struct Seen {
    newest: RwLock<(Arc<Authority>, Instant)>,
}

impl Seen {
    pub(crate) fn new(authority: Authority) -> Self {
        Self {
            newest: RwLock::new((Arc::new(authority), Instant::now())),
        }
    }

    pub(crate) fn get(&self) -> Arc<Authority> {
        self.newest.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Tells whether it is time to ask for a newer one.
    pub(crate) fn is_old(&self, met_a_stranger: bool) -> bool {
        let limit = if met_a_stranger { LOOK_AGAIN } else { LOOK_EVERY };
        let (_, looked) = &*self.newest.read().unwrap_or_else(PoisonError::into_inner);
        looked.elapsed() >= limit
    }

    /// Notes that the place was asked, and had nothing newer.
    pub(crate) fn looked(&self) {
        self.newest.write().unwrap_or_else(PoisonError::into_inner).1 = Instant::now();
    }

    /// Takes an authority that was read. One that is older than what was seen, or another one of the same number, is
    /// refused.
    pub(crate) fn take(&self, at: &At, found: Authority) -> Result<(), RepositoryError> {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        let seen = newest.0.roster.number;
        let went_back = found.roster.number < seen;
        let forked = found.roster.number == seen && found.sha256 != newest.0.sha256;
        if went_back || forked {
            newest.1 = Instant::now();
            return Err(RepositoryError::RosterWentBack {
                place: at.place.clone(),
                found: found.roster.number,
                seen,
            });
        }
        *newest = (Arc::new(found), Instant::now());
        Ok(())
    }
}
