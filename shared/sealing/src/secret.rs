//! Secret keys that open sealed objects.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use sequoia_openpgp::{
    Cert, KeyHandle,
    crypto::{KeyPair, Password, SessionKey},
    packet::{
        Key, PKESK,
        key::{SecretKeyMaterial, SecretParts, UnspecifiedRole},
    },
    types::SymmetricAlgorithm,
};

use crate::{
    KeyError, OpenError,
    cache::{Entries, Session, SessionCache},
    certs::{self, BYTES, Sourced},
    packets::{contain, key_id, key_ids, key_packets},
    seipd1,
};

type SecretKey = Key<SecretParts, UnspecifiedRole>;

/// One or more secret certificates, unlocked. Expired and revoked keys count too: they must still open what was sealed to
/// them. Cheap to clone; clones share the cache of session keys. `Debug` shows fingerprints alone.
#[derive(Clone)]
pub struct SecretKeys {
    inner: Arc<Inner>,
}

struct Inner {
    holders: Vec<Holder>,
    sessions: SessionCache,
    operations: AtomicU64,
}

#[derive(Clone)]
struct Holder {
    /// The certificate without secret parts.
    cert: Cert,
    keys: Vec<KeyPair>,
    /// Keys of this certificate that the passphrase did not unlock, while it did unlock others.
    locked: Vec<KeyHandle>,
}

impl SecretKeys {
    /// Loads and unlocks every secret key in the files. A file may hold several, but one passphrase serves all.
    ///
    /// # Errors
    /// [`KeyError`] if a file cannot be read or is not OpenPGP; if a certificate is only public or has no encryption key;
    /// if the passphrase is missing or wrong.
    pub fn from_files(paths: &[PathBuf], passphrase: Option<&str>) -> Result<Self, KeyError> {
        let mut found = Vec::new();
        for path in paths {
            found.extend(certs::read(path)?);
        }
        Self::from_certs(found, passphrase)
    }

    /// Loads keys like [`from_files`](Self::from_files), from the contents of one such file.
    ///
    /// # Errors
    /// As [`from_files`](Self::from_files).
    pub fn from_bytes(bytes: &[u8], passphrase: Option<&str>) -> Result<Self, KeyError> {
        Self::from_certs(certs::parse(BYTES, bytes)?, passphrase)
    }

    fn from_certs(found: Vec<Sourced>, passphrase: Option<&str>) -> Result<Self, KeyError> {
        if found.is_empty() {
            return Err(KeyError::NoneGiven);
        }
        let holders = found
            .into_iter()
            .map(|(cert, origin)| Holder::unlock(cert, &origin, passphrase));
        Ok(Self::with(holders.collect::<Result<_, _>>()?))
    }

    fn with(holders: Vec<Holder>) -> Self {
        let inner = Inner {
            holders,
            sessions: SessionCache::default(),
            operations: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Joins two sets, for secret keys with different passphrases.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::with(self.inner.holders.iter().chain(&other.inner.holders).cloned().collect())
    }

    /// Upper-case hexadecimal fingerprints of the certificates, sorted, without duplicates.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<String> {
        let mut all: Vec<String> = self
            .inner
            .holders
            .iter()
            .map(|h| h.cert.fingerprint().to_hex())
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// Upper-case hexadecimal fingerprints of the unlocked keys, mostly subkeys, sorted, without duplicates. What was sealed
    /// to one of them can be opened.
    #[must_use]
    pub fn readers(&self) -> Vec<String> {
        let keys = self.inner.holders.iter().flat_map(|holder| &holder.keys);
        let mut all: Vec<String> = keys.map(|key| key.public().fingerprint().to_hex()).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Returns the one key with this fingerprint, as [`readers`](Self::readers) gives it; `None` if it is not among these.
    #[must_use]
    pub fn only(&self, reader: &str) -> Option<Self> {
        let holder = self.inner.holders.iter().find_map(|holder| holder.only(reader))?;
        Some(Self::with(vec![holder]))
    }

    /// Returns the number of secret-key operations done so far: one per distinct session key, unless more than 64 are
    /// in use.
    #[must_use]
    pub fn private_key_operations(&self) -> u64 {
        self.inner.operations.load(Ordering::Relaxed)
    }

    /// Opens what our own writer sealed with the `gnupg` profile, faster than Sequoia does. `None` says nothing.
    pub(crate) fn open_own(&self, sealed: &[u8], limit: usize) -> Option<Vec<u8>> {
        let encrypted = seipd1::encrypted_of(sealed)?;
        let packets = contain(|| key_packets(sealed)).ok()?;
        let mut found = None;
        let mut accept = |cipher: Option<SymmetricAlgorithm>, key: &SessionKey| {
            let fits = cipher == Some(SymmetricAlgorithm::AES256) && seipd1::fits(key, encrypted);
            found = fits.then(|| key.clone());
            fits
        };
        self.unwrap(&packets, None, &mut accept).ok()?;
        // Not before: others wait for their session keys meanwhile.
        seipd1::open(&found?, encrypted, limit)
    }

    /// Finds the session key of a message and gives it to `accept`, which says whether it fits. Returns the certificate
    /// that it was encrypted to.
    pub(crate) fn unwrap(
        &self,
        packets: &[PKESK],
        cipher: Option<SymmetricAlgorithm>,
        accept: &mut dyn FnMut(Option<SymmetricAlgorithm>, &SessionKey) -> bool,
    ) -> Result<Cert, OpenError> {
        let mut sessions = self.inner.sessions.lock();
        for packet in packets {
            if let Some(session) = sessions
                .get(packet)
                .filter(|session| accept(session.cipher, &session.key))
            {
                return Ok(self.inner.holders[session.holder].cert.clone());
            }
        }
        let mut tried = false;
        for packet in packets {
            let named = packet.recipient();
            for (holder, keypair) in self.candidates(named.as_ref()) {
                tried |= named.is_some();
                if let Some(session) = self.operate(packet, keypair, cipher, holder)
                    && accept(session.cipher, &session.key)
                {
                    return Ok(self.remember(&mut sessions, packet, session));
                }
            }
        }
        Err(self.refusal(packets, tried))
    }

    /// Returns the keys that a PKESK may be for: the named one, or all if the recipient is hidden.
    fn candidates(&self, named: Option<&KeyHandle>) -> impl Iterator<Item = (usize, &KeyPair)> {
        let fits = move |keypair: &KeyPair| named.is_none_or(|name| name.aliases(keypair.public().key_handle()));
        let holders = self.inner.holders.iter().enumerate();
        holders
            .flat_map(|(at, holder)| holder.keys.iter().map(move |key| (at, key)))
            .filter(move |(_, key)| fits(key))
    }

    /// Does one secret-key operation.
    fn operate(
        &self,
        packet: &PKESK,
        keypair: &KeyPair,
        cipher: Option<SymmetricAlgorithm>,
        holder: usize,
    ) -> Option<Session> {
        self.inner.operations.fetch_add(1, Ordering::Relaxed);
        // Contained here as well, so that a crafted packet does not keep a good one behind it from being tried.
        let outcome = contain(|| Ok(packet.decrypt(&mut keypair.clone(), cipher)));
        let (cipher, key) = outcome.ok().flatten()?;
        Some(Session { cipher, key, holder })
    }

    fn remember(&self, sessions: &mut Entries, packet: &PKESK, session: Session) -> Cert {
        let cert = self.inner.holders[session.holder].cert.clone();
        sessions.insert(packet.clone(), session);
        cert
    }

    fn refusal(&self, packets: &[PKESK], tried: bool) -> OpenError {
        if packets.is_empty() {
            return OpenError::damaged("no readable key packet before the encrypted data");
        }
        if tried {
            return OpenError::damaged("the session key does not fit: its packet or the encrypted data was altered");
        }
        let named: Vec<KeyHandle> = packets.iter().filter_map(PKESK::recipient).collect();
        let locked = self.inner.holders.iter().flat_map(|holder| &holder.locked);
        if let Some(key) = locked
            .into_iter()
            .find(|key| named.iter().any(|name| name.aliases(*key)))
        {
            return OpenError::Locked { key: key_id(key) };
        }
        OpenError::NoKey {
            needed: key_ids(packets),
        }
    }
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretKeys").field(&self.fingerprints()).finish()
    }
}

impl Holder {
    fn only(&self, reader: &str) -> Option<Self> {
        let key = self
            .keys
            .iter()
            .find(|key| key.public().fingerprint().to_hex() == reader)?;
        Some(Self {
            cert: self.cert.clone(),
            keys: vec![key.clone()],
            locked: Vec::new(),
        })
    }

    fn unlock(cert: Cert, origin: &str, passphrase: Option<&str>) -> Result<Self, KeyError> {
        let fingerprint = cert.fingerprint().to_hex();
        if !cert.is_tsk() {
            return Err(KeyError::NotSecret {
                origin: origin.to_owned(),
                fingerprint,
            });
        }
        let mut keys = Vec::new();
        let mut locked = Vec::new();
        let mut fault = None;
        // No policy here: what counts is that the key exists, not whether one would encrypt to it today.
        let secret = cert
            .keys()
            .secret()
            .map(|key| key.key().clone().role_into_unspecified());
        for key in secret.filter(|key| key.pk_algo().for_encryption() && !is_stub(key)) {
            let handle = key.key_handle();
            match unlock(key, passphrase) {
                Ok(keypair) => keys.push(keypair),
                Err(why) => {
                    locked.push(handle);
                    fault = Some(why);
                }
            }
        }
        if !keys.is_empty() {
            return Ok(Self {
                cert: cert.strip_secret_key_material(),
                keys,
                locked,
            });
        }
        Err(match fault {
            Some(why) => why.into_error(origin, &fingerprint),
            None if cert.keys().any(|key| key.key().pk_algo().for_encryption()) => KeyError::NotSecret {
                origin: origin.to_owned(),
                fingerprint,
            },
            None => KeyError::NoEncryptionKey {
                origin: origin.to_owned(),
                fingerprint,
            },
        })
    }
}

/// The reason for which a secret key stays locked.
pub(crate) enum Unlock {
    Needed,
    Wrong,
}

impl Unlock {
    pub(crate) fn into_error(self, origin: &str, fingerprint: &str) -> KeyError {
        let origin = origin.to_owned();
        let fingerprint = fingerprint.to_owned();
        match self {
            Self::Needed => KeyError::PassphraseNeeded { origin, fingerprint },
            Self::Wrong => KeyError::WrongPassphrase { origin, fingerprint },
        }
    }
}

/// Tells whether only a marker stands in place of the secret, which is on a card or in another export.
pub(crate) fn is_stub(key: &SecretKey) -> bool {
    matches!(key.secret(), SecretKeyMaterial::Encrypted(secret) if !secret.s2k().is_supported())
}

/// Unlocks a secret key. A passphrase given for a key that has none is ignored.
pub(crate) fn unlock(key: SecretKey, passphrase: Option<&str>) -> Result<KeyPair, Unlock> {
    let key = match (key.secret(), passphrase) {
        (SecretKeyMaterial::Unencrypted(_), _) => key,
        (SecretKeyMaterial::Encrypted(_), None) => return Err(Unlock::Needed),
        (SecretKeyMaterial::Encrypted(_), Some(passphrase)) => key
            .decrypt_secret(&Password::from(passphrase))
            .map_err(|_| Unlock::Wrong)?,
    };
    key.into_keypair().map_err(|_| Unlock::Wrong)
}
