//! Signs records.

use std::{fmt, io::Write, path::Path, sync::Arc, time::SystemTime};

use sequoia_openpgp::{crypto::KeyPair, serialize::stream, types::HashAlgorithm};

use crate::{
    KeyError, PackSealer, Profile, Recipients, SealError,
    certs::{self, Ability, BYTES, Sourced},
    seal::{encrypt, literal},
    secret::unlock,
};

/// A secret key that signs. Cheap to clone; `Debug` shows the fingerprint alone.
#[derive(Clone)]
pub struct Signer {
    inner: Arc<Inner>,
}

struct Inner {
    keypair: KeyPair,
    fingerprint: String,
    origin: String,
    expires: Option<SystemTime>,
}

impl Signer {
    /// Loads the one secret key in the file and unlocks its newest signing key.
    ///
    /// # Errors
    /// [`KeyError`] if the file holds no secret key or several; if the key is expired at `now`, revoked or cannot sign; if
    /// the passphrase is missing or wrong.
    pub fn from_file(path: &Path, passphrase: Option<&str>, now: SystemTime) -> Result<Self, KeyError> {
        Self::from_certs(certs::read(path)?, passphrase, now)
    }

    /// Loads a key like [`from_file`](Self::from_file), from the contents of such a file.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file).
    pub fn from_bytes(bytes: &[u8], passphrase: Option<&str>, now: SystemTime) -> Result<Self, KeyError> {
        Self::from_certs(certs::parse(BYTES, bytes)?, passphrase, now)
    }

    fn from_certs(found: Vec<Sourced>, passphrase: Option<&str>, now: SystemTime) -> Result<Self, KeyError> {
        let (cert, origin) = the_secret_one(found)?;
        let fingerprint = cert.fingerprint().to_hex();
        let mut usable = certs::usable_keys(&cert, &origin, Ability::Sign, now)?;
        usable.sort_by_key(|key| std::cmp::Reverse(key.created));
        // The primary key of an exported secret subkey is only a stub, so look for a key whose secret is really there.
        let secret = usable.iter().find_map(|usable| {
            let wanted = usable.key.fingerprint();
            let key = cert.keys().secret().find(|key| key.key().fingerprint() == wanted)?;
            let key = key.key().clone().role_into_unspecified();
            (!crate::secret::is_stub(&key)).then_some((key, usable.expires))
        });
        let Some((key, expires)) = secret else {
            return Err(KeyError::NotSecret { origin, fingerprint });
        };
        let keypair = unlock(key, passphrase).map_err(|fault| fault.into_error(&origin, &fingerprint))?;
        Ok(Self {
            inner: Arc::new(Inner {
                keypair,
                fingerprint,
                origin,
                expires,
            }),
        })
    }

    /// Upper-case hexadecimal fingerprint of the certificate.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.inner.fingerprint
    }

    /// Returns the time at which the signing key expires; `None` means never. For warning ahead.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        self.inner.expires
    }

    fn check(&self, now: SystemTime) -> Result<(), SealError> {
        match self.inner.expires.filter(|at| *at <= now) {
            None => Ok(()),
            Some(at) => Err(SealError::Key(KeyError::Expired {
                origin: self.inner.origin.clone(),
                fingerprint: self.inner.fingerprint.clone(),
                at,
            })),
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.inner.fingerprint).finish()
    }
}

/// Signs (SHA-256) and encrypts in one message, which `gpg --decrypt` opens and verifies. The signature names the
/// recipients it is meant for, so a recipient cannot pass it on to others as if it had been made for them.
///
/// # Errors
/// [`SealError::Key`] if the signer or a recipient expired since it was loaded; otherwise as [`PackSealer::new`].
pub fn sign_and_seal(
    signer: &Signer,
    recipients: &Recipients,
    profile: Profile,
    plaintext: &[u8],
) -> Result<Vec<u8>, SealError> {
    signer.check(SystemTime::now())?;
    let sealer = PackSealer::new(recipients, profile)?;
    let fault = |source| SealError::Sign {
        fingerprint: signer.inner.fingerprint.clone(),
        source,
    };
    let mut sealed = Vec::with_capacity(sealer.sealed_size(plaintext.len()));
    let mut signing = stream::Signer::new(sealer.encryptor(&mut sealed)?, signer.inner.keypair.clone())
        .and_then(|signing| signing.hash_algo(HashAlgorithm::SHA256))
        .map_err(fault)?;
    for recipient in recipients.members() {
        signing = signing.add_intended_recipient(&recipient.cert);
    }
    let mut literal = literal(signing.build().map_err(fault)?)?;
    literal.write_all(plaintext).map_err(|source| encrypt(source.into()))?;
    literal.finalize().map_err(fault)?;
    Ok(sealed)
}

/// Picks the only certificate with secret parts.
fn the_secret_one(found: Vec<Sourced>) -> Result<Sourced, KeyError> {
    let names = found
        .first()
        .map(|(cert, origin)| (cert.fingerprint().to_hex(), origin.clone()));
    let mut secret = found.into_iter().filter(|(cert, _)| cert.is_tsk());
    match (secret.next(), secret.next(), names) {
        (Some(one), None, _) => Ok(one),
        (Some((_, origin)), Some(_), _) => Err(KeyError::SeveralKeys { origin }),
        (None, _, Some((fingerprint, origin))) => Err(KeyError::NotSecret { origin, fingerprint }),
        (None, _, None) => Err(KeyError::NoneGiven),
    }
}
