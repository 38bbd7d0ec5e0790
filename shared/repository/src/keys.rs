//! The keys that a host works with.

use std::fmt;

use holdfast_sealing::{Profile, Recipients, SecretKeys, Signer, TrustedSigners};

use crate::RepositoryError;

/// The keys that a host works with. A host that only restores has no signer and no recipients: it reads.
#[derive(Clone)]
pub struct RepositoryKeys {
    /// The pipeline key, to sign with.
    pub signer: Option<Signer>,
    /// The keys that open metadata: the pipeline key's secret part, or a backup key's.
    pub secret: SecretKeys,
    /// The backup certificates, to seal to.
    pub recipients: Option<Recipients>,
    /// The certificates whose signatures count.
    pub trusted: TrustedSigners,
    /// The packets to seal with.
    pub profile: Profile,
}

impl RepositoryKeys {
    /// Returns the signer, and the certificates that metadata is sealed to: the backup certificates and the pipeline
    /// key.
    pub(crate) fn writer(&self) -> Result<(&Signer, Recipients), RepositoryError> {
        match (&self.signer, &self.recipients) {
            (Some(signer), Some(recipients)) => Ok((signer, recipients.union(&signer.recipients()))),
            _ => Err(RepositoryError::ReadOnly),
        }
    }
}

impl fmt::Debug for RepositoryKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepositoryKeys")
            .field("signer", &self.signer)
            .field("trusted", &self.trusted.fingerprints())
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}
