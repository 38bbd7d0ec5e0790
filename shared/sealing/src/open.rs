//! The decryptor's view of a message: the key that opens it, its structure, and its signer.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::anyhow;
use sequoia_openpgp::{
    Cert, KeyHandle, Packet,
    crypto::SessionKey,
    packet::{PKESK, SKESK},
    parse::{
        Dearmor, PacketParserBuilder, PacketParserResult, Parse,
        stream::{DecryptionHelper, MessageLayer, MessageStructure, VerificationHelper},
    },
    types::SymmetricAlgorithm,
};

use crate::{
    OpenError, SecretKeys, TrustedSigners,
    recipients::key_id,
    verify::{Judgement, judge},
};

/// Returns the key ids of everyone that an object was sealed to, as sixteen upper-case hexadecimal digits; zeros for a
/// hidden recipient. Reads only the key packets: a beginning of the object suffices (64 KiB is plenty). Needs no secret
/// key.
///
/// # Errors
/// [`OpenError::Damaged`] if the bytes are not the beginning of an encrypted message.
pub fn recipients_of(sealed: &[u8]) -> Result<Vec<String>, OpenError> {
    contain(|| key_packets(sealed))
        .map(|packets| key_ids(&packets))
        .map_err(|source| OpenError::Damaged { source })
}

/// Reads the PKESKs in front of the encryption container; at least one.
pub(crate) fn key_packets(sealed: &[u8]) -> anyhow::Result<Vec<PKESK>> {
    let mut result = PacketParserBuilder::from_bytes(sealed)?
        .dearmor(Dearmor::Disabled)
        .build()?;
    let mut packets = Vec::new();
    while let PacketParserResult::Some(parser) = result {
        if matches!(parser.packet, Packet::SEIP(_)) && !packets.is_empty() {
            return Ok(packets);
        }
        let (packet, next) = parser.next()?;
        match packet {
            Packet::PKESK(packet) => packets.push(packet),
            Packet::SKESK(_) | Packet::Marker(_) | Packet::Padding(_) => (),
            _ => break,
        }
        result = next;
    }
    Err(anyhow!("not encrypted data behind readable key packets"))
}

/// Runs the library over bytes that anyone may have written. It panics on some malformed messages, for example on one that
/// ends right after the encrypted prefix; to the reader that is one more damaged object. What `run` had borrowed is not
/// used again, but for the cache and the notes, which change in single steps.
pub(crate) fn contain<T>(run: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(anyhow!("malformed beyond what the parser can report")))
}

/// Returns the ids of the keys that PKESKs name.
pub(crate) fn key_ids(packets: &[PKESK]) -> Vec<String> {
    let name = |packet: &PKESK| {
        packet
            .recipient()
            .map_or_else(|| "0".repeat(16), |handle| key_id(&handle))
    };
    packets.iter().map(name).collect()
}

/// Observations of the helper, for the owner of the decryptor. The library passes errors through layers that would lose
/// their type.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) refusal: Option<OpenError>,
    /// True if the literal lay inside an encryption container.
    pub(crate) encrypted: bool,
    /// The verdict on the signatures, once the whole message was read; none if nobody asked.
    pub(crate) judgement: Option<Judgement>,
}

pub(crate) type Shared = Arc<Mutex<Notes>>;

/// Locks the notes. They are plain data, valid whatever happened to another thread.
pub(crate) fn notes(shared: &Shared) -> MutexGuard<'_, Notes> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers the decryptor's questions.
pub(crate) struct Helper {
    keys: SecretKeys,
    /// The certificates whose signatures count; none if signatures are not looked at.
    trusted: Option<TrustedSigners>,
    pub(crate) shared: Shared,
}

impl Helper {
    pub(crate) fn unsigned(keys: &SecretKeys) -> Self {
        Self {
            keys: keys.clone(),
            trusted: None,
            shared: Shared::default(),
        }
    }

    pub(crate) fn signed(keys: &SecretKeys, trusted: &TrustedSigners, shared: &Shared) -> Self {
        Self {
            keys: keys.clone(),
            trusted: Some(trusted.clone()),
            shared: Arc::clone(shared),
        }
    }
}

impl DecryptionHelper for Helper {
    fn decrypt(
        &mut self,
        pkesks: &[PKESK],
        _: &[SKESK],
        cipher: Option<SymmetricAlgorithm>,
        accept: &mut dyn FnMut(Option<SymmetricAlgorithm>, &SessionKey) -> bool,
    ) -> anyhow::Result<Option<Cert>> {
        let outcome = self.keys.unwrap(pkesks, cipher, accept);
        let mut notes = notes(&self.shared);
        match outcome {
            Ok(cert) => {
                notes.encrypted = true;
                Ok(Some(cert))
            }
            Err(refusal) => {
                notes.refusal = Some(refusal);
                Err(anyhow!("no session key"))
            }
        }
    }
}

impl VerificationHelper for Helper {
    fn get_certs(&mut self, ids: &[KeyHandle]) -> anyhow::Result<Vec<Cert>> {
        Ok(self
            .trusted
            .as_ref()
            .map(|trusted| trusted.find(ids))
            .unwrap_or_default())
    }

    fn check(&mut self, structure: MessageStructure<'_>) -> anyhow::Result<()> {
        let mut layers = structure.into_iter();
        if !matches!(layers.next(), Some(MessageLayer::Encryption { .. })) {
            return Err(anyhow!("encryption is not the outermost layer"));
        }
        let inside: Vec<MessageLayer<'_>> = layers.collect();
        if !inside
            .iter()
            .all(|layer| matches!(layer, MessageLayer::SignatureGroup { .. }))
        {
            return Err(anyhow!("compressed or encrypted again inside"));
        }
        if self.trusted.is_none() {
            return Ok(());
        }
        let judgement = judge(inside);
        let good = matches!(judgement, Judgement::Good { .. });
        notes(&self.shared).judgement = Some(judgement);
        if good {
            Ok(())
        } else {
            Err(anyhow!("no good signature"))
        }
    }
}
