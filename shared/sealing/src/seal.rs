//! Seals packs under a shared session key, single objects, and streams.

use std::{
    fmt, io,
    io::{Read, Write},
    sync::Arc,
    time::SystemTime,
};

use sequoia_openpgp::{
    Packet,
    crypto::SessionKey,
    packet::{
        PKESK,
        pkesk::{PKESK3, PKESK6},
    },
    serialize::{
        Serialize,
        stream::{Encryptor, LiteralWriter, Message},
    },
    types::{AEADAlgorithm, SymmetricAlgorithm},
};

use crate::{Profile, Recipients, SealError, certs::PublicKey, seipd1};

const CIPHER: SymmetricAlgorithm = SymmetricAlgorithm::AES256;

/// Bytes of one read from a stream.
const STREAM_BUFFER: usize = 256 * 1024;

/// The AEAD mode of the encryption container; none means SEIPDv1.
fn aead(profile: Profile) -> Option<AEADAlgorithm> {
    match profile {
        Profile::Gnupg => None,
        Profile::Rfc9580 => Some(AEADAlgorithm::OCB),
    }
}

/// Seals any number of packs under one session key, with the same PKESK packets before each, so that whoever opens them
/// needs one secret-key operation for all. Each sealed pack stays a complete message of its own: the salt (or the random
/// prefix) differs. Cheap to clone, and shared between threads.
#[derive(Clone)]
pub struct PackSealer {
    shared: Arc<Shared>,
}

struct Shared {
    session_key: SessionKey,
    /// The PKESK packets as bytes.
    header: Vec<u8>,
    profile: Profile,
    recipients: Recipients,
}

impl PackSealer {
    /// Draws a session key and encrypts it to every encryption key of every recipient.
    ///
    /// # Errors
    /// [`SealError::Key`] if a recipient expired since it was loaded.
    pub fn new(recipients: &Recipients, profile: Profile) -> Result<Self, SealError> {
        recipients.check(SystemTime::now()).map_err(SealError::Key)?;
        let size = CIPHER.key_size().map_err(encrypt)?;
        let session_key = SessionKey::new(size).map_err(encrypt)?;
        let mut header = Vec::new();
        for recipient in recipients.members() {
            let fault = |source| SealError::Recipient {
                fingerprint: recipient.fingerprint.clone(),
                source,
            };
            for key in &recipient.keys {
                let packet = Packet::from(wrap(&session_key, key, profile).map_err(fault)?);
                packet.serialize(&mut header).map_err(fault)?;
            }
        }
        Ok(Self {
            shared: Arc::new(Shared {
                session_key,
                header,
                profile,
                recipients: recipients.clone(),
            }),
        })
    }

    /// Seals one pack: PKESKs, then the encrypted literal (binary, no name, no date). Never signed.
    ///
    /// # Errors
    /// [`SealError::Key`] if a recipient expired in the meantime.
    pub fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut sealed = Vec::new();
        self.seal_into(plaintext, &mut sealed)?;
        Ok(sealed)
    }

    /// Seals like [`seal`](Self::seal), into a buffer whose old content is dropped, so that sealing many packs
    /// allocates once.
    ///
    /// # Errors
    /// As [`seal`](Self::seal); what is in the buffer is then of no use.
    pub fn seal_into(&self, plaintext: &[u8], sealed: &mut Vec<u8>) -> Result<(), SealError> {
        self.recipients().check(SystemTime::now()).map_err(SealError::Key)?;
        sealed.clear();
        sealed.reserve(self.sealed_size(plaintext.len()));
        if aead(self.shared.profile).is_none() {
            sealed.extend_from_slice(&self.shared.header);
            return seipd1::append(&self.shared.session_key, plaintext, sealed).map_err(encrypt);
        }
        let mut literal = literal(self.encryptor(sealed)?)?;
        literal.write_all(plaintext).map_err(|source| encrypt(source.into()))?;
        literal.finalize().map_err(encrypt)
    }

    /// Returns the profile that packs are sealed with.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.shared.profile
    }

    /// Returns the certificates that packs are sealed to.
    #[must_use]
    pub fn recipients(&self) -> &Recipients {
        &self.shared.recipients
    }

    /// Writes the PKESKs and opens the encryption container behind them.
    pub(crate) fn encryptor<'a, W: Write + Send + Sync + 'a>(&self, mut to: W) -> Result<Message<'a>, SealError> {
        to.write_all(&self.shared.header)
            .map_err(|source| SealError::Write { source })?;
        let mut encryptor =
            Encryptor::with_session_key(Message::new(to), CIPHER, self.shared.session_key.clone()).map_err(encrypt)?;
        if let Some(aead) = aead(self.shared.profile) {
            encryptor = encryptor.aead_algo(aead);
        }
        encryptor.build().map_err(encrypt)
    }

    /// An upper bound, so that sealing allocates once: an AEAD tag of 16 bytes per 4 KiB, and the packets' own headers.
    pub(crate) fn sealed_size(&self, plain: usize) -> usize {
        self.shared.header.len() + plain + plain / 256 + 2048
    }
}

impl fmt::Debug for PackSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared {
            profile, recipients, ..
        } = &*self.shared;
        f.debug_struct("PackSealer")
            .field("profile", profile)
            .field("recipients", recipients)
            .finish_non_exhaustive()
    }
}

/// Seals one object under a session key of its own.
///
/// # Errors
/// As [`PackSealer::new`].
pub fn seal(recipients: &Recipients, profile: Profile, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
    PackSealer::new(recipients, profile)?.seal(plaintext)
}

/// Seals everything that `from` yields, in constant memory; returns the number of plaintext bytes. What was written
/// before an error is an unfinished message that cannot be opened.
///
/// # Errors
/// As [`PackSealer::new`]; [`SealError::Read`] and [`SealError::Write`] for the two sides.
pub fn seal_stream<R: Read, W: Write + Send + Sync>(
    recipients: &Recipients,
    profile: Profile,
    mut from: R,
    to: W,
) -> Result<u64, SealError> {
    let mut literal = literal(PackSealer::new(recipients, profile)?.encryptor(to)?)?;
    let mut buffer = vec![0; STREAM_BUFFER];
    let mut total = 0;
    loop {
        let got = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => got,
            Err(source) if source.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(SealError::Read { source }),
        };
        literal
            .write_all(&buffer[..got])
            .map_err(|source| SealError::Write { source })?;
        total += got as u64;
    }
    literal.finalize().map_err(written)?;
    Ok(total)
}

/// Opens the innermost packet. Its defaults are what is promised: binary, no file name, no date.
pub(crate) fn literal(inside: Message<'_>) -> Result<Message<'_>, SealError> {
    LiteralWriter::new(inside).build().map_err(encrypt)
}

pub(crate) fn encrypt(source: anyhow::Error) -> SealError {
    SealError::Encrypt { source }
}

fn written(source: anyhow::Error) -> SealError {
    match source.downcast::<io::Error>() {
        Ok(source) => SealError::Write { source },
        Err(source) => SealError::Encrypt { source },
    }
}

/// Encrypts the session key to one key. The packet's version follows the profile alone: left to itself, the library goes
/// by what the certificate advertises and writes what GnuPG 2.2 cannot read.
fn wrap(session_key: &SessionKey, key: &PublicKey, profile: Profile) -> anyhow::Result<PKESK> {
    Ok(match profile {
        Profile::Gnupg => {
            let mut packet = PKESK3::for_recipient(CIPHER, session_key, key)?;
            packet.set_recipient(Some(key.keyid()));
            PKESK::V3(packet)
        }
        Profile::Rfc9580 => {
            let mut packet = PKESK6::for_recipient(session_key, key)?;
            packet.set_recipient(Some(key.fingerprint()));
            PKESK::V6(packet)
        }
    })
}
