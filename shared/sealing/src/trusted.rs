//! The certificates whose signatures count.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sequoia_openpgp::{Cert, KeyHandle};

use crate::{
    KeyError,
    certs::{self, BYTES, Sourced},
};

/// The public certificates whose signatures count. Expired and retired ones belong here too, as long as records that they
/// signed are kept: a signature is judged by what held when it was made. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct TrustedSigners {
    certs: Arc<Vec<Cert>>,
}

impl TrustedSigners {
    /// Loads every certificate in the files. Secret parts are dropped; validity is judged per signature.
    ///
    /// # Errors
    /// [`KeyError`] if a file cannot be read or is not OpenPGP.
    pub fn from_files(paths: &[PathBuf]) -> Result<Self, KeyError> {
        let mut found = Vec::new();
        for path in paths {
            found.extend(certs::read(path)?);
        }
        Ok(Self::from_certs(found))
    }

    /// Loads the one certificate in a file.
    ///
    /// # Errors
    /// As [`from_files`](Self::from_files); [`KeyError::SeveralCertificates`].
    pub fn one_from_file(path: &Path) -> Result<Self, KeyError> {
        let one = Self::from_certs(certs::read(path)?);
        let fingerprints = one.fingerprints();
        if fingerprints.len() == 1 {
            return Ok(one);
        }
        Err(KeyError::SeveralCertificates {
            origin: path.display().to_string(),
            fingerprints,
        })
    }

    /// Loads certificates like [`from_files`](Self::from_files), from the contents of one such file.
    ///
    /// # Errors
    /// As [`from_files`](Self::from_files).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        Ok(Self::from_certs(certs::parse(BYTES, bytes)?))
    }

    fn from_certs(found: Vec<Sourced>) -> Self {
        Self {
            certs: Arc::new(
                found
                    .into_iter()
                    .map(|(cert, _)| cert.strip_secret_key_material())
                    .collect(),
            ),
        }
    }

    /// Trusts the signers of `other` as well.
    pub fn add(&mut self, other: &Self) {
        Arc::make_mut(&mut self.certs).extend(other.certs.iter().cloned());
    }

    /// Upper-case hexadecimal fingerprints of the certificates, sorted, without duplicates.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<String> {
        let mut all: Vec<String> = self.certs.iter().map(|cert| cert.fingerprint().to_hex()).collect();
        all.sort();
        all.dedup();
        all
    }

    pub(crate) fn find(&self, ids: &[KeyHandle]) -> Vec<Cert> {
        let has = |cert: &&Cert| {
            cert.keys()
                .any(|key| ids.iter().any(|id| id.aliases(key.key().key_handle())))
        };
        self.certs.iter().filter(has).cloned().collect()
    }
}
