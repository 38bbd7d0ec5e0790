//! The verdict on the signatures of a message.

use std::time::SystemTime;

use anyhow::{Error, anyhow};
use sequoia_openpgp::{
    packet::Signature,
    parse::stream::{MessageLayer, VerificationError, VerificationResult},
};

use crate::{OpenError, packets::key_id};

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
    pub(crate) fn into_error(self) -> OpenError {
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
