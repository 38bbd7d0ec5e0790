//! Opens signed records.

use std::time::SystemTime;

use sequoia_openpgp::{policy::StandardPolicy, types::HashAlgorithm};

use crate::{
    OpenError, Opening, SecretKeys, TrustedSigners,
    helper::{Helper, Shared, notes},
    judgement::Judgement,
};

/// Hashes that prove nothing, whenever the signature says it was made.
const BROKEN: [HashAlgorithm; 3] = [HashAlgorithm::MD5, HashAlgorithm::SHA1, HashAlgorithm::RipeMD];

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
