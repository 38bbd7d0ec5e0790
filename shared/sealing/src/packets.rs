//! The key packets in front of an encrypted message, and the parser kept within bounds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::anyhow;
use sequoia_openpgp::{
    Fingerprint, KeyHandle, KeyID, Packet,
    packet::PKESK,
    parse::{Dearmor, PacketParserBuilder, PacketParserResult, Parse},
};

use crate::OpenError;

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

/// Returns those of `readers` that an object was *not* sealed to. They are fingerprints of encryption keys, as
/// [`Recipients::readers`](crate::Recipients::readers) gives them. A beginning of the object suffices, and no secret key is
/// needed.
///
/// # Errors
/// [`OpenError::Damaged`] if the bytes are not the beginning of an encrypted message.
pub fn missing_readers(sealed: &[u8], readers: &[String]) -> Result<Vec<String>, OpenError> {
    let present = recipients_of(sealed)?;
    let is_present = |reader: &str| id_of(reader).is_some_and(|id| present.contains(&id));
    Ok(readers.iter().filter(|reader| !is_present(reader)).cloned().collect())
}

/// The id of the key with this fingerprint.
fn id_of(fingerprint: &str) -> Option<String> {
    let fingerprint: Fingerprint = fingerprint.parse().ok()?;
    Some(KeyID::from(&fingerprint).to_hex())
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

/// A key's id as it is shown everywhere: sixteen upper-case hexadecimal digits.
pub(crate) fn key_id(handle: &KeyHandle) -> String {
    KeyID::from(handle).to_hex()
}
