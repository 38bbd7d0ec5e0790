//! The public certificates that objects are sealed to.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use sequoia_openpgp::Cert;

use crate::{
    KeyError, OpenError,
    certs::{self, Ability, BYTES, PublicKey, Sourced},
    packets::missing_readers,
};

/// One certificate with the keys of it that are encrypted to.
pub(crate) struct Recipient {
    pub(crate) cert: Cert,
    pub(crate) fingerprint: String,
    pub(crate) keys: Vec<PublicKey>,
    origin: String,
    /// The time at which the last of `keys` expires; none means never.
    expires: Option<SystemTime>,
}

/// A set of at least one public certificate, each with at least one encryption key that was alive and unrevoked when the
/// set was made. Cheap to clone.
#[derive(Clone)]
pub struct Recipients {
    members: Arc<BTreeMap<String, Arc<Recipient>>>,
}

impl Recipients {
    /// Loads every certificate in the files (armoured or binary, several per file allowed).
    ///
    /// # Errors
    /// [`KeyError`] names the file and the certificate that is unreadable, not OpenPGP, a secret key, expired at `now`,
    /// revoked or without an encryption key. One unusable certificate fails the whole: nobody is left out silently.
    pub fn from_files(paths: &[PathBuf], now: SystemTime) -> Result<Self, KeyError> {
        let mut found = Vec::new();
        for path in paths {
            found.extend(certs::read(path)?);
        }
        if let Some((cert, origin)) = found.iter().find(|(cert, _)| cert.is_tsk()) {
            return Err(KeyError::NotPublic {
                origin: origin.clone(),
                fingerprint: cert.fingerprint().to_hex(),
            });
        }
        Self::from_certs(found, now)
    }

    /// Loads certificates like [`from_files`](Self::from_files), from the contents of such files. Secret parts are
    /// dropped.
    ///
    /// # Errors
    /// As [`from_files`](Self::from_files).
    pub fn from_bytes(files: &[Vec<u8>], now: SystemTime) -> Result<Self, KeyError> {
        let mut found = Vec::new();
        for bytes in files {
            found.extend(certs::parse(BYTES, bytes)?);
        }
        Self::from_certs(found, now)
    }

    /// Loads the public part of a secret key, to seal to its holder.
    ///
    /// # Errors
    /// As [`from_files`](Self::from_files), except that secret keys are expected.
    pub fn of_secret_key(path: &Path, now: SystemTime) -> Result<Self, KeyError> {
        Self::from_certs(certs::read(path)?, now)
    }

    pub(crate) fn from_certs(found: Vec<Sourced>, now: SystemTime) -> Result<Self, KeyError> {
        let mut merged: BTreeMap<String, Sourced> = BTreeMap::new();
        for (cert, origin) in found {
            let cert = cert.strip_secret_key_material();
            let fingerprint = cert.fingerprint().to_hex();
            let next = match merged.remove(&fingerprint) {
                None => (cert, origin),
                // A key that is given twice, perhaps as it was before and after an extension: both exports count.
                Some((earlier, first)) => {
                    let cert = earlier.merge_public(cert).map_err(|source| KeyError::Invalid {
                        origin,
                        fingerprint: fingerprint.clone(),
                        source,
                    })?;
                    (cert, first)
                }
            };
            merged.insert(fingerprint, next);
        }
        if merged.is_empty() {
            return Err(KeyError::NoneGiven);
        }
        let mut members = BTreeMap::new();
        for (fingerprint, (cert, origin)) in merged {
            members.insert(fingerprint, Arc::new(Recipient::new(cert, origin, now)?));
        }
        Ok(Self {
            members: Arc::new(members),
        })
    }

    /// Joins both sets.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut members = (*self.members).clone();
        for (fingerprint, recipient) in other.members.iter() {
            members
                .entry(fingerprint.clone())
                .or_insert_with(|| Arc::clone(recipient));
        }
        Self {
            members: Arc::new(members),
        }
    }

    /// Upper-case hexadecimal fingerprints of the certificates (not of their subkeys), sorted, without duplicates.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    /// Upper-case hexadecimal fingerprints of the keys of these certificates that objects are sealed to, mostly subkeys,
    /// sorted, without duplicates. A subkey that was replaced within its certificate makes another set: whoever has only the
    /// new one does not open what was sealed before.
    #[must_use]
    pub fn readers(&self) -> Vec<String> {
        let keys = self.members.values().flat_map(|member| &member.keys);
        let mut all: Vec<String> = keys.map(|key| key.fingerprint().to_hex()).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The certificates by fingerprint, sorted, each with those of [`readers`](Self::readers) that are keys of it.
    #[must_use]
    pub fn readers_of_each(&self) -> Vec<(String, Vec<String>)> {
        let of = |member: &Arc<Recipient>| {
            let mut readers: Vec<String> = member.keys.iter().map(|key| key.fingerprint().to_hex()).collect();
            readers.sort();
            (member.fingerprint.clone(), readers)
        };
        self.members.values().map(of).collect()
    }

    /// Number of certificates; at least one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Always false: an empty set cannot be made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Certificates of which no encryption key will be alive at `t`, each with the time that happens. For warning ahead.
    #[must_use]
    pub fn expiring_before(&self, t: SystemTime) -> Vec<(String, SystemTime)> {
        let expiry = |member: &Arc<Recipient>| member.expires.map(|at| (member.fingerprint.clone(), at));
        self.members
            .values()
            .filter_map(expiry)
            .filter(|(_, at)| *at < t)
            .collect()
    }

    /// Checks that everyone can still be sealed to at `now`. Sealing checks this by itself against the system clock.
    ///
    /// # Errors
    /// [`KeyError::Expired`] for the first certificate that is not alive any more.
    pub fn check(&self, now: SystemTime) -> Result<(), KeyError> {
        for member in self.members.values() {
            if let Some(at) = member.expires.filter(|at| *at <= now) {
                let origin = member.origin.clone();
                let fingerprint = member.fingerprint.clone();
                return Err(KeyError::Expired {
                    origin,
                    fingerprint,
                    at,
                });
            }
        }
        Ok(())
    }

    /// Returns those of [`readers`](Self::readers) that a sealed object was *not* encrypted to. A beginning of the object
    /// that holds its key packets suffices (64 KiB).
    ///
    /// # Errors
    /// [`OpenError::Damaged`] if the bytes are not the beginning of an encrypted message.
    pub fn missing_in(&self, sealed: &[u8]) -> Result<Vec<String>, OpenError> {
        missing_readers(sealed, &self.readers())
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Recipient> {
        self.members.values().map(AsRef::as_ref)
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recipients").field(&self.fingerprints()).finish()
    }
}

impl Recipient {
    fn new(cert: Cert, origin: String, now: SystemTime) -> Result<Self, KeyError> {
        let usable = certs::usable_keys(&cert, &origin, Ability::Encrypt, now)?;
        let forever = usable.iter().any(|key| key.expires.is_none());
        let expires = if forever {
            None
        } else {
            usable.iter().filter_map(|key| key.expires).max()
        };
        let keys = usable.into_iter().map(|usable| usable.key).collect();
        Ok(Self {
            fingerprint: cert.fingerprint().to_hex(),
            cert,
            keys,
            origin,
            expires,
        })
    }
}
