//! The keys that a host works with.

use std::fmt;

use holdfast_sealing::{Profile, Recipients, SecretKeys, Signer, TrustedSigners};

use crate::RepositoryError;

/// The keys that a host works with. A host that only restores has no signers and no recipients: it reads.
#[derive(Clone)]
pub struct RepositoryKeys {
    /// The owner's certificates: their signatures count on rosters and on `repository.pgp`.
    pub owner: TrustedSigners,
    /// The secret keys that sign: those of roles, and the owner's if it is at hand. Each signs what the roster lets it.
    pub signers: Vec<Signer>,
    /// The keys that open metadata: the reader key, or a backup key.
    pub secret: SecretKeys,
    /// The reader key's certificate, to seal metadata to.
    pub reader: Option<Recipients>,
    /// The backup certificates, to seal to.
    pub recipients: Option<Recipients>,
    /// The packets to seal with.
    pub profile: Profile,
}

impl RepositoryKeys {
    /// Returns the certificates that metadata is sealed to: the backup certificates and the reader key.
    pub(crate) fn readers(&self) -> Result<Recipients, RepositoryError> {
        match (&self.recipients, &self.reader) {
            (Some(recipients), Some(reader)) => Ok(recipients.union(reader)),
            _ => Err(RepositoryError::ReadOnly),
        }
    }

    /// Returns the owner's secret key, if it is at hand.
    pub(crate) fn owner_signer(&self) -> Option<&Signer> {
        let owners = self.owner.fingerprints();
        let is_owner = |signer: &&Signer| owners.iter().any(|owner| owner == signer.fingerprint());
        self.signers.iter().find(is_owner)
    }
}

impl fmt::Debug for RepositoryKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepositoryKeys")
            .field("owner", &self.owner.fingerprints())
            .field("signers", &self.signers)
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}
