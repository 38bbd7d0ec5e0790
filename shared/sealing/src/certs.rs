//! Reads certificates and judges their keys at a point in time.

use std::{fs, path::Path, time::SystemTime};

use sequoia_openpgp::{
    Cert, Error as PgpError,
    cert::{CertParser, ValidCert, amalgamation::ValidAmalgamation},
    packet::{
        Key,
        key::{PublicParts, UnspecifiedRole},
    },
    parse::Parse,
    policy::StandardPolicy,
    types::RevocationStatus,
};
use zeroize::Zeroizing;

use crate::KeyError;

/// A key without secret parts, whatever its role in the certificate.
pub(crate) type PublicKey = Key<PublicParts, UnspecifiedRole>;

/// The name in errors of certificates that are given as bytes.
pub(crate) const BYTES: &str = "the given certificate";

/// A certificate, and the file it came from.
pub(crate) type Sourced = (Cert, String);

/// Reads all certificates of a file, secret parts included.
pub(crate) fn read(path: &Path) -> Result<Vec<Sourced>, KeyError> {
    let bytes = fs::read(path).map_err(|source| KeyError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&path.display().to_string(), &Zeroizing::new(bytes))
}

/// Reads all certificates in `bytes`: binary, or any number of armoured blocks.
pub(crate) fn parse(origin: &str, bytes: &[u8]) -> Result<Vec<Sourced>, KeyError> {
    let not_openpgp = |source| KeyError::NotOpenPgp {
        origin: origin.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for block in armoured_blocks(bytes) {
        for cert in CertParser::from_bytes(block).map_err(not_openpgp)? {
            found.push((cert.map_err(not_openpgp)?, origin.to_owned()));
        }
    }
    if found.is_empty() {
        return Err(not_openpgp(anyhow::anyhow!("no certificate found")));
    }
    Ok(found)
}

/// Splits a file of concatenated armoured exports, of which the parser would read only the first.
fn armoured_blocks(bytes: &[u8]) -> Vec<&[u8]> {
    const BEGIN: &[u8] = b"-----BEGIN PGP ";
    // Binary OpenPGP data starts with a packet tag, whose high bit is set.
    if bytes.first().is_some_and(|first| first & 0x80 != 0) {
        return vec![bytes];
    }
    let starts: Vec<usize> = bytes
        .windows(BEGIN.len())
        .enumerate()
        .filter(|(at, window)| *window == BEGIN && (*at == 0 || bytes[at - 1] == b'\n'))
        .map(|(at, _)| at)
        .collect();
    if starts.is_empty() {
        return vec![bytes];
    }
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| &bytes[*start..end])
        .collect()
}

/// The use that a key must be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ability {
    Encrypt,
    Sign,
}

/// A key that may be used, until it expires.
pub(crate) struct Usable {
    pub(crate) key: PublicKey,
    pub(crate) created: SystemTime,
    pub(crate) expires: Option<SystemTime>,
}

/// Returns the keys of a certificate that have an ability, are alive and not revoked at `now`. There is at least one,
/// else the error says why not.
pub(crate) fn usable_keys(
    cert: &Cert,
    origin: &str,
    ability: Ability,
    now: SystemTime,
) -> Result<Vec<Usable>, KeyError> {
    let fault = Fault {
        origin,
        fingerprint: cert.fingerprint().to_hex(),
    };
    let policy = StandardPolicy::at(now);
    let valid = cert.with_policy(&policy, now).map_err(|source| fault.invalid(source))?;
    if matches!(valid.revocation_status(), RevocationStatus::Revoked(_)) {
        return Err(fault.revoked());
    }
    valid.alive().map_err(|source| fault.not_alive(source))?;
    keys_of(&valid, &fault, ability)
}

fn keys_of(valid: &ValidCert<'_>, fault: &Fault<'_>, ability: Ability) -> Result<Vec<Usable>, KeyError> {
    let cert_expires = valid.primary_key().key_expiration_time();
    let candidates = match ability {
        Ability::Encrypt => valid
            .keys()
            .supported()
            .for_transport_encryption()
            .for_storage_encryption(),
        Ability::Sign => valid.keys().supported().for_signing(),
    };
    let mut why_not = None;
    let mut usable = Vec::new();
    for candidate in candidates {
        if matches!(candidate.revocation_status(), RevocationStatus::Revoked(_)) {
            why_not.get_or_insert_with(|| fault.revoked());
        } else if let Err(source) = candidate.alive() {
            // An expiry says more than a revocation of some other, older subkey.
            why_not = Some(fault.not_alive(source));
        } else {
            let expires = [candidate.key_expiration_time(), cert_expires]
                .into_iter()
                .flatten()
                .min();
            let key = candidate.key().clone().role_into_unspecified();
            usable.push(Usable {
                created: key.creation_time(),
                key,
                expires,
            });
        }
    }
    if usable.is_empty() {
        return Err(why_not.unwrap_or_else(|| fault.lacks(ability)));
    }
    Ok(usable)
}

/// Builds the errors about one certificate.
struct Fault<'a> {
    origin: &'a str,
    fingerprint: String,
}

impl Fault<'_> {
    fn names(&self) -> (String, String) {
        (self.origin.to_owned(), self.fingerprint.clone())
    }

    fn invalid(&self, source: anyhow::Error) -> KeyError {
        let (origin, fingerprint) = self.names();
        KeyError::Invalid {
            origin,
            fingerprint,
            source,
        }
    }

    fn revoked(&self) -> KeyError {
        let (origin, fingerprint) = self.names();
        KeyError::Revoked { origin, fingerprint }
    }

    fn not_alive(&self, source: anyhow::Error) -> KeyError {
        let (origin, fingerprint) = self.names();
        match source.downcast_ref::<PgpError>() {
            Some(PgpError::Expired(at)) => KeyError::Expired {
                origin,
                fingerprint,
                at: *at,
            },
            _ => KeyError::Invalid {
                origin,
                fingerprint,
                source,
            },
        }
    }

    fn lacks(&self, ability: Ability) -> KeyError {
        let (origin, fingerprint) = self.names();
        match ability {
            Ability::Encrypt => KeyError::NoEncryptionKey { origin, fingerprint },
            Ability::Sign => KeyError::NoSigningKey { origin, fingerprint },
        }
    }
}
