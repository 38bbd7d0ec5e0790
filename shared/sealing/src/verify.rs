//! Checks signed records: decides whose signatures count, and whether one is good.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use anyhow::{Error, anyhow};
use sequoia_openpgp::{
    Cert, KeyHandle,
    packet::Signature,
    parse::stream::{MessageLayer, VerificationError, VerificationResult},
    policy::StandardPolicy,
    types::HashAlgorithm,
};

use crate::{
    KeyError, OpenError, Opening, Recipients, SecretKeys, Signer,
    certs::{self, BYTES, Sourced},
    open::{Helper, Shared, notes},
    recipients::key_id,
};

/// Hashes that prove nothing, whenever the signature says it was made.
const BROKEN: [HashAlgorithm; 3] = [HashAlgorithm::MD5, HashAlgorithm::SHA1, HashAlgorithm::RipeMD];

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

    /// Loads certificates like [`from_files`](Self::from_files), from the contents of one such file.
    ///
    /// # Errors
    /// As [`from_files`](Self::from_files).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        Ok(Self::from_certs(certs::parse(BYTES, bytes)?))
    }

    /// Trusts the signatures of these certificates.
    #[must_use]
    pub fn from_recipients(recipients: &Recipients) -> Self {
        Self {
            certs: Arc::new(recipients.members().map(|member| member.cert.clone()).collect()),
        }
    }

    /// Trusts the signatures of this signer.
    #[must_use]
    pub fn from_signer(signer: &Signer) -> Self {
        Self {
            certs: Arc::new(vec![signer.cert().clone()]),
        }
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

/// The plaintext of a record that a trusted signer signed.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened {
    /// The bytes that were signed.
    pub plaintext: Vec<u8>,
    /// Upper-case hexadecimal fingerprint of the signer's certificate.
    pub signer: String,
    /// The time of the signature, by the signer's clock. It may lie in the future of this host's clock.
    pub signed_at: SystemTime,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            plaintext,
            signer,
            signed_at,
        } = self;
        let mut shown = f.debug_struct("Opened");
        shown.field("plaintext", &format_args!("{} bytes", plaintext.len()));
        shown.field("signer", signer).field("signed_at", signed_at).finish()
    }
}

/// Opens a record and requires exactly one signature, good, of a trusted signer, meant for the key that opened it.
///
/// The signature is judged as of the time it was made: a key that expired or was retired since, or an algorithm that is no
/// longer accepted for new signatures, does not make old records worthless. A key revoked as compromised does.
///
/// # Errors
/// [`OpenError::NotSigned`], [`OpenError::UnknownSigner`], [`OpenError::BadSignature`]; otherwise as [`SecretKeys::open`].
pub fn open_signed(
    keys: &SecretKeys,
    trusted: &TrustedSigners,
    sealed: &[u8],
    limit: usize,
) -> Result<Opened, OpenError> {
    let first = attempt(keys, trusted, sealed, limit, None)?;
    let judgement = match first {
        (plaintext, Judgement::Good { signer, signed_at }) => {
            return Ok(Opened {
                plaintext,
                signer,
                signed_at,
            });
        }
        (_, judgement) => judgement,
    };
    if let Judgement::Bad {
        signed_at: Some(then), ..
    } = judgement
        && let (plaintext, Judgement::Good { signer, signed_at }) = attempt(keys, trusted, sealed, limit, Some(then))?
    {
        return Ok(Opened {
            plaintext,
            signer,
            signed_at,
        });
    }
    Err(judgement.into_error())
}

/// Opens and judges by today's rules, or by those of another time. The plaintext is empty unless the judgement is good.
fn attempt(
    keys: &SecretKeys,
    trusted: &TrustedSigners,
    sealed: &[u8],
    limit: usize,
    time: Option<SystemTime>,
) -> Result<(Vec<u8>, Judgement), OpenError> {
    let mut policy = time.map_or_else(StandardPolicy::new, StandardPolicy::at);
    BROKEN.into_iter().for_each(|hash| policy.reject_hash(hash));
    let shared = Shared::default();
    let helper = Helper::signed(keys, trusted, &shared);
    let outcome = Opening::of_signed(helper, sealed, &policy, time, limit)
        .and_then(|opening| opening.into_vec(sealed.len(), limit));
    let judgement = notes(&shared).judgement.take();
    match (outcome, judgement) {
        (Ok(plaintext), Some(judgement)) => Ok((plaintext, judgement)),
        (Ok(_), None) => Ok((Vec::new(), Judgement::Unsigned)),
        // The decryption stopped because of what was found out about the signature.
        (Err(_), Some(judgement @ (Judgement::Unsigned | Judgement::Unknown { .. } | Judgement::Bad { .. }))) => {
            Ok((Vec::new(), judgement))
        }
        (Err(error), _) => Err(error),
    }
}

/// The verdict on the signatures of a message.
pub(crate) enum Judgement {
    Good {
        signer: String,
        signed_at: SystemTime,
    },
    Unsigned,
    Unknown {
        signers: Vec<String>,
    },
    Bad {
        signer: String,
        signed_at: Option<SystemTime>,
        source: Error,
    },
}

impl Judgement {
    fn into_error(self) -> OpenError {
        match self {
            Self::Unsigned => OpenError::NotSigned,
            Self::Unknown { signers } => OpenError::UnknownSigner { signers },
            Self::Bad { signer, source, .. } => OpenError::BadSignature { signer, source },
            Self::Good { signer, .. } => OpenError::BadSignature {
                signer,
                source: anyhow!("the signature was not accepted"),
            },
        }
    }
}

/// Judges what lies inside the encryption: exactly one signature is expected.
pub(crate) fn judge(inside: Vec<MessageLayer<'_>>) -> Judgement {
    let mut results = Vec::new();
    for layer in inside {
        if let MessageLayer::SignatureGroup { results: group } = layer {
            results.extend(group);
        }
    }
    let count = results.len();
    match results.pop() {
        None => Judgement::Unsigned,
        Some(only) if count == 1 => judge_one(only),
        Some(_) => Judgement::Bad {
            signer: "several signers".to_owned(),
            signed_at: None,
            source: anyhow!("{count} signatures where exactly one is allowed"),
        },
    }
}

fn judge_one(result: VerificationResult<'_>) -> Judgement {
    match result {
        Ok(good) => match good.sig.signature_creation_time() {
            Some(signed_at) => Judgement::Good {
                signer: good.ka.cert().fingerprint().to_hex(),
                signed_at,
            },
            None => bad(alleged(good.sig), None, anyhow!("no creation time")),
        },
        Err(VerificationError::MissingKey { sig }) => {
            // Usually named twice, by id and by fingerprint.
            let mut signers: Vec<String> = sig.get_issuers().iter().map(key_id).collect();
            signers.sort();
            signers.dedup();
            Judgement::Unknown { signers }
        }
        Err(VerificationError::UnboundKey { sig, cert, error }) => bad(cert.fingerprint().to_hex(), Some(sig), error),
        Err(VerificationError::BadKey { sig, ka, error } | VerificationError::BadSignature { sig, ka, error }) => {
            bad(ka.cert().fingerprint().to_hex(), Some(sig), error)
        }
        Err(VerificationError::MalformedSignature { sig, error }) => bad(alleged(sig), Some(sig), error),
        Err(other) => bad("an unreadable key".to_owned(), None, anyhow!(other.to_string())),
    }
}

fn bad(signer: String, sig: Option<&Signature>, source: Error) -> Judgement {
    Judgement::Bad {
        signer,
        signed_at: sig.and_then(|sig| sig.signature_creation_time()),
        source,
    }
}

/// The signer as the signature states it.
fn alleged(sig: &Signature) -> String {
    sig.get_issuers()
        .first()
        .map_or_else(|| "an unnamed key".to_owned(), key_id)
}
