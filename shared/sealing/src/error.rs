//! Errors of keys, sealing and opening.

use std::{io, path::PathBuf, time::SystemTime};

use holdfast_fault::{Retry, Retryable};
use jiff::Timestamp;

/// A certificate or secret key cannot be used. `origin` is the file it came from.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the key file {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file holds no certificate, or something after one that is none.
    #[error("{origin} is not an OpenPGP certificate or keyring; export one with `gpg --armor --export KEY`")]
    NotOpenPgp {
        /// The file, or another source of the bytes.
        origin: String,
        source: anyhow::Error,
    },
    /// No file, or no certificate, was given.
    #[error("no certificate was given; name at least one key file")]
    NoneGiven,
    /// A certificate without a key that may encrypt.
    #[error("{origin}: the key {fingerprint} has no encryption subkey; add one or give another key")]
    NoEncryptionKey {
        /// The file of the certificate.
        origin: String,
        /// Fingerprint of the certificate.
        fingerprint: String,
    },
    /// A certificate without a key that may sign.
    #[error("{origin}: the key {fingerprint} has no signing key; add one or give another key")]
    NoSigningKey {
        /// The file of the certificate.
        origin: String,
        /// Fingerprint of the certificate.
        fingerprint: String,
    },
    /// The certificate, or all of its usable keys, expired.
    #[error("{origin}: the key {fingerprint} expired on {}; extend it and give the new export", date(*at))]
    Expired {
        /// The file of the certificate.
        origin: String,
        /// Fingerprint of the certificate.
        fingerprint: String,
        at: SystemTime,
    },
    /// The certificate, or all of its usable keys, were revoked.
    #[error("{origin}: the key {fingerprint} is revoked; give another key")]
    Revoked {
        /// The file of the certificate.
        origin: String,
        /// Fingerprint of the certificate.
        fingerprint: String,
    },
    /// The certificate is not valid for another reason: not yet alive, bound with an algorithm that is no longer trusted.
    #[error("{origin}: the key {fingerprint} is not valid; check its date, its self-signatures and this host's clock")]
    Invalid {
        /// The file of the certificate.
        origin: String,
        /// Fingerprint of the certificate.
        fingerprint: String,
        source: anyhow::Error,
    },
    /// A public key where a secret one is needed.
    #[error("{origin}: only the public part of {fingerprint}; export with `gpg --armor --export-secret-keys`")]
    NotSecret {
        /// The file of the certificate.
        origin: String,
        /// Fingerprint of the certificate.
        fingerprint: String,
    },
    /// A secret key where a public one is needed.
    #[error(
        "{origin} holds the secret key {fingerprint}: whoever has the file reads every backup; name its public part, from \
         `gpg --armor --export`, and move the secret key away"
    )]
    NotPublic {
        /// The file of the certificate.
        origin: String,
        /// Fingerprint of the certificate.
        fingerprint: String,
    },
    /// More than one secret key where one is needed.
    #[error("{origin} holds several secret keys; put the one to sign with into a file of its own")]
    SeveralKeys {
        /// The file of the keys.
        origin: String,
    },
    /// More than one certificate where one is needed.
    #[error(
        "{origin} holds several certificates, {}; leave the one that is meant in the file",
        fingerprints.join(", ")
    )]
    SeveralCertificates {
        /// The file of the certificates.
        origin: String,
        fingerprints: Vec<String>,
    },
    /// The secret key is locked, and no passphrase was given.
    #[error("{origin}: the secret key {fingerprint} is locked; give its passphrase")]
    PassphraseNeeded {
        /// The file of the key.
        origin: String,
        /// Fingerprint of the certificate.
        fingerprint: String,
    },
    /// The passphrase does not unlock the secret key.
    #[error("{origin}: wrong passphrase for the secret key {fingerprint}")]
    WrongPassphrase {
        /// The file of the key.
        origin: String,
        /// Fingerprint of the certificate.
        fingerprint: String,
    },
    /// The user id of a new key is empty, too long or holds control characters.
    #[error("the user id of a new key must be 1 to 200 characters without control characters")]
    UserId,
    /// A new key could not be made.
    #[error("cannot generate a key")]
    Generate { source: anyhow::Error },
}

impl Retryable for KeyError {
    fn retry(&self) -> Retry {
        match self {
            Self::Read { source, .. } => Retry::of_io(source),
            Self::NotOpenPgp { .. }
            | Self::NoneGiven
            | Self::NoEncryptionKey { .. }
            | Self::NoSigningKey { .. }
            | Self::Expired { .. }
            | Self::Revoked { .. }
            | Self::Invalid { .. }
            | Self::NotSecret { .. }
            | Self::NotPublic { .. }
            | Self::SeveralKeys { .. }
            | Self::SeveralCertificates { .. }
            | Self::PassphraseNeeded { .. }
            | Self::WrongPassphrase { .. }
            | Self::UserId
            | Self::Generate { .. } => Retry::Never,
        }
    }
}

/// An object could not be sealed. Nothing usable was written.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A recipient or the signer became unusable after it was loaded.
    #[error("cannot seal: a key became unusable; reload the keys")]
    Key(#[source] KeyError),
    /// The session key could not be encrypted to a recipient.
    #[error("cannot seal to the recipient {fingerprint}")]
    Recipient {
        /// Fingerprint of the recipient's certificate.
        fingerprint: String,
        source: anyhow::Error,
    },
    /// The library failed to encrypt.
    #[error("cannot seal the object")]
    Encrypt { source: anyhow::Error },
    /// The library failed to sign.
    #[error("cannot sign with the key {fingerprint}")]
    Sign {
        /// Fingerprint of the signer's certificate.
        fingerprint: String,
        source: anyhow::Error,
    },
    /// The plaintext could not be read.
    #[error("cannot read what is to be sealed")]
    Read { source: io::Error },
    /// The sealed bytes could not be written.
    #[error("cannot write the sealed object")]
    Write { source: io::Error },
}

impl Retryable for SealError {
    fn retry(&self) -> Retry {
        match self {
            Self::Read { source } | Self::Write { source } => of_stream(source),
            Self::Key(source) => source.retry(),
            Self::Recipient { .. } | Self::Encrypt { .. } | Self::Sign { .. } => Retry::Never,
        }
    }
}

/// A sealed object could not be opened. The variants tell apart a wrong key, a broken object and a forged one.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// None of the loaded keys is a recipient. The object may be in perfect order.
    #[error("cannot decrypt: needs the secret key {}, which is not loaded", needed.join(" or "))]
    NoKey {
        /// Ids of the keys that the object was sealed to; any one of them opens it.
        needed: Vec<String>,
    },
    /// The right key is loaded, but the passphrase given at load time did not unlock it.
    #[error("cannot decrypt: the secret key {key} is loaded but locked; give its passphrase")]
    Locked {
        /// Id of the key.
        key: String,
    },
    /// The object was truncated or altered, or never was a sealed one.
    #[error("the sealed object is damaged (truncated or altered); keep it and look for another copy")]
    Damaged {
        /// The fault that was noticed first.
        source: anyhow::Error,
    },
    /// The plaintext is larger than the caller allowed.
    #[error("the opened object would exceed {limit} bytes")]
    TooLarge {
        /// The caller's limit in bytes.
        limit: u64,
    },
    /// The object carries no signature, where one is required.
    #[error("the object is not signed; it does not count")]
    NotSigned,
    /// The object is signed, but by none of the trusted signers.
    #[error("the object is signed by {}, which is not a trusted signer", signers.join(", "))]
    UnknownSigner {
        /// Ids of the signing keys as the signature states them (not proven).
        signers: Vec<String>,
    },
    /// The signature is not valid, or the signing key was not valid when it was made.
    #[error("the object's signature by {signer} is bad")]
    BadSignature {
        /// The alleged signer: a fingerprint if its certificate is trusted, else a key id.
        signer: String,
        source: anyhow::Error,
    },
    /// The sealed bytes could not be read.
    #[error("cannot read the sealed object")]
    Read { source: io::Error },
    /// The opened bytes could not be written.
    #[error("cannot write the opened object")]
    Write { source: io::Error },
}

impl Retryable for OpenError {
    fn retry(&self) -> Retry {
        match self {
            Self::Read { source } | Self::Write { source } => of_stream(source),
            Self::NoKey { .. }
            | Self::Locked { .. }
            | Self::Damaged { .. }
            | Self::TooLarge { .. }
            | Self::NotSigned
            | Self::UnknownSigner { .. }
            | Self::BadSignature { .. } => Retry::Never,
        }
    }
}

/// Formats a time as people read it in an error.
fn date(at: SystemTime) -> String {
    Timestamp::try_from(at).map_or_else(
        |_| format!("{at:?}"),
        |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    )
}

/// Judges a failure of the caller's own stream. It may come from a network, so all passes but a full disk.
fn of_stream(error: &io::Error) -> Retry {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    Retry::later_if(!full)
}

impl OpenError {
    pub(crate) fn damaged(what: &'static str) -> Self {
        Self::Damaged {
            source: anyhow::anyhow!(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: io::ErrorKind) -> io::Error {
        io::Error::new(kind, "said the stream")
    }

    #[test]
    fn a_stream_that_broke_may_come_again_and_a_full_disk_or_a_wrong_key_stays() {
        for kind in [
            io::ErrorKind::Other,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::UnexpectedEof,
        ] {
            assert_eq!(SealError::Read { source: failed(kind) }.retry(), Retry::Later);
            assert_eq!(SealError::Write { source: failed(kind) }.retry(), Retry::Later);
            assert_eq!(OpenError::Read { source: failed(kind) }.retry(), Retry::Later);
            assert_eq!(OpenError::Write { source: failed(kind) }.retry(), Retry::Later);
        }
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            assert_eq!(SealError::Write { source: failed(kind) }.retry(), Retry::Never);
            assert_eq!(OpenError::Write { source: failed(kind) }.retry(), Retry::Never);
        }
        let needed = vec!["0123456789ABCDEF".to_owned()];
        assert_eq!(OpenError::NoKey { needed }.retry(), Retry::Never);
        assert_eq!(OpenError::damaged("cut").retry(), Retry::Never);
        assert_eq!(SealError::Key(KeyError::NoneGiven).retry(), Retry::Never);
    }

    #[test]
    fn a_key_file_is_read_again_only_if_the_read_was_interrupted() {
        let unread = |kind| KeyError::Read {
            path: "/keys/backup.asc".into(),
            source: failed(kind),
        };
        assert_eq!(unread(io::ErrorKind::Interrupted).retry(), Retry::Later);
        assert_eq!(unread(io::ErrorKind::NotFound).retry(), Retry::Never);
    }
}
