//! The encryption container that GnuPG 2.2 reads, written and read at the speed of the processor: version 1 of the
//! Symmetrically Encrypted Integrity Protected Data packet (RFC 9580, section 5.13.1) around one literal packet (section 5.9).
//!
//! Sequoia does the same, but hashes with a SHA-1 that looks for collisions, which takes longer than everything else
//! together. Nobody can gain by a collision here: the hash covers what this program itself has encrypted, and lies inside
//! the encryption. The reader only ever says yes, and only to exactly what the writer writes; everything else, damage
//! too, is left to Sequoia's judgement (decision 6).

use anyhow::Context as _;
use openssl::{
    error::ErrorStack,
    memcmp,
    rand::rand_bytes,
    sha::Sha1,
    symm::{Cipher, Crypter, Mode},
};

/// AES's block; the container begins with one block of random bytes, the last two of them repeated.
const BLOCK: usize = 16;
const PREFIX: usize = BLOCK + 2;

/// The header of the modification detection code packet (section 5.13.1), which is hashed too, and its SHA-1.
const MDC: [u8; 2] = [0xd3, 0x14];
const MDC_SIZE: usize = MDC.len() + 20;

/// The container's header and version.
const CONTAINER: u8 = 0xd2;
const VERSION: u8 = 1;

/// The literal packet's header; behind its length: binary, no file name, no date.
const LITERAL: u8 = 0xcb;
const LITERAL_HEADER: usize = 6;
const LITERAL_FIELDS: [u8; 6] = [b'b', 0, 0, 0, 0, 0];

/// Bytes hashed and encrypted at once, while they are in the nearest cache.
const STEP: usize = 16 * 1024;

/// The five-octet form of a packet's length (section 4.2.1.4).
fn length(bytes: usize) -> anyhow::Result<[u8; 5]> {
    let bytes = u32::try_from(bytes).context("4 GiB or more in one object")?;
    let [a, b, c, d] = bytes.to_be_bytes();
    Ok([0xff, a, b, c, d])
}

/// Appends the container around `plaintext`, which must be below 4 GiB, to `sealed`.
pub(crate) fn append(key: &[u8], plaintext: &[u8], sealed: &mut Vec<u8>) -> anyhow::Result<()> {
    let inside = LITERAL_FIELDS.len() + plaintext.len();
    let inside_length = length(inside)?;
    let container_length = length(1 + PREFIX + LITERAL_HEADER + inside + MDC_SIZE)?;
    sealed.push(CONTAINER);
    sealed.extend_from_slice(&container_length);
    sealed.push(VERSION);

    let mut head = [0; PREFIX];
    rand_bytes(&mut head[..BLOCK])?;
    head.copy_within(BLOCK - 2..BLOCK, BLOCK);
    let mut writer = Writer {
        crypter: Crypter::new(Cipher::aes_256_cfb128(), Mode::Encrypt, key, Some(&[0; BLOCK]))?,
        hash: Sha1::new(),
        sealed,
    };
    writer.hashed(&head)?;
    writer.hashed(&[LITERAL])?;
    writer.hashed(&inside_length)?;
    writer.hashed(&LITERAL_FIELDS)?;
    for step in plaintext.chunks(STEP) {
        writer.hashed(step)?;
    }
    writer.hashed(&MDC)?;
    let Writer {
        mut crypter,
        hash,
        sealed,
    } = writer;
    Ok(encrypt(&mut crypter, &hash.finish(), sealed)?)
}

struct Writer<'a> {
    crypter: Crypter,
    hash: Sha1,
    sealed: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn hashed(&mut self, bytes: &[u8]) -> Result<(), ErrorStack> {
        self.hash.update(bytes);
        encrypt(&mut self.crypter, bytes, self.sealed)
    }
}

/// CFB is a stream cipher: as many bytes come out as went in.
fn encrypt(crypter: &mut Crypter, bytes: &[u8], sealed: &mut Vec<u8>) -> Result<(), ErrorStack> {
    let start = sealed.len();
    sealed.resize(start + bytes.len(), 0);
    crypter.update(bytes, &mut sealed[start..])?;
    Ok(())
}

/// Bytes inside the encryption before the plaintext.
const BEFORE: usize = PREFIX + LITERAL_HEADER + LITERAL_FIELDS.len();
const DIGEST: usize = MDC_SIZE - MDC.len();

/// Returns the encrypted bytes of a message that consists of public-key encrypted session keys and one container of
/// known length to its end, as [`append`] writes it behind the key packets. Returns `None` for anything else.
pub(crate) fn encrypted_of(message: &[u8]) -> Option<&[u8]> {
    const KEY_PACKET: u8 = 0xc1;
    let mut rest = message;
    loop {
        let (&header, behind) = rest.split_first()?;
        let (length, body) = length_of(behind)?;
        match header {
            KEY_PACKET => rest = body.get(length..)?,
            CONTAINER if length == body.len() => return body.strip_prefix(&[VERSION]),
            _ => return None,
        }
    }
}

/// A new-format length, and what stands behind it (section 4.2.1). No partial lengths.
fn length_of(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match *bytes {
        [one @ ..192, ref rest @ ..] => Some((usize::from(one), rest)),
        [high @ 192..224, low, ref rest @ ..] => Some(((usize::from(high) - 192) * 256 + usize::from(low) + 192, rest)),
        [0xff, a, b, c, d, ref rest @ ..] => {
            let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
            Some((length, rest))
        }
        _ => None,
    }
}

/// Tells whether this key fits, as far as the beginning shows: one wrong key in 65,536 passes.
pub(crate) fn fits(key: &[u8], encrypted: &[u8]) -> bool {
    let mut head = [0; PREFIX];
    let (Some(beginning), Ok(mut blocks)) = (encrypted.get(..PREFIX), Blocks::new(key)) else {
        return false;
    };
    blocks.decrypt(encrypted, 0, &mut head[..beginning.len()]).is_ok() && head[BLOCK - 2..BLOCK] == head[BLOCK..]
}

/// Returns the plaintext of what [`append`] wrote with this key. Returns `None` if the bytes are anything else, were
/// altered, or have more than `limit` bytes of plaintext.
pub(crate) fn open(key: &[u8], encrypted: &[u8], limit: usize) -> Option<Vec<u8>> {
    let size = encrypted.len().checked_sub(BEFORE + MDC_SIZE)?;
    if size > limit {
        return None;
    }
    let hashed = encrypted.len() - DIGEST;
    let behind = BEFORE + size;
    let mut blocks = Blocks::new(key).ok()?;
    let mut hash = Sha1::new();
    let mut head = Vec::new();
    let mut plaintext = Vec::with_capacity(size);
    let mut tail = Vec::new();
    let mut step = vec![0; STEP.min(encrypted.len())];
    for start in (0..encrypted.len()).step_by(STEP) {
        let decrypted = &mut step[..STEP.min(encrypted.len() - start)];
        blocks.decrypt(encrypted, start, decrypted).ok()?;
        let within = |from: usize, to: usize| {
            let at = |place: usize| place.saturating_sub(start).min(decrypted.len());
            &decrypted[at(from)..at(to)]
        };
        hash.update(within(0, hashed));
        head.extend_from_slice(within(0, BEFORE));
        plaintext.extend_from_slice(within(BEFORE, behind));
        tail.extend_from_slice(within(behind, encrypted.len()));
    }
    let mut literal = vec![LITERAL];
    literal.extend_from_slice(&length(LITERAL_FIELDS.len() + size).ok()?);
    literal.extend_from_slice(&LITERAL_FIELDS);
    let whole = head.ends_with(&literal) && tail.starts_with(&MDC) && memcmp::eq(&tail[MDC.len()..], &hash.finish());
    whole.then_some(plaintext)
}

/// AES-256 in CFB, read: each block is the ciphertext's, changed by the encryption of the ciphertext's block before it. So
/// all blocks of a step can be had at once, which OpenSSL's own CFB does not do.
struct Blocks {
    cipher: Crypter,
    pad: Vec<u8>,
}

impl Blocks {
    fn new(key: &[u8]) -> Result<Self, ErrorStack> {
        let cipher = Cipher::aes_256_ecb();
        if key.len() != cipher.key_len() {
            return Err(ErrorStack::get());
        }
        let mut cipher = Crypter::new(cipher, Mode::Encrypt, key, None)?;
        cipher.pad(false);
        Ok(Self {
            cipher,
            pad: vec![0; STEP + 2 * BLOCK],
        })
    }

    /// Decrypts what stands at `start`, which is the beginning of a block, into the whole of `out`, at most a step.
    fn decrypt(&mut self, encrypted: &[u8], start: usize, out: &mut [u8]) -> Result<(), ErrorStack> {
        let needed = out.len().div_ceil(BLOCK) * BLOCK;
        let mut done = 0;
        let before = if start == 0 {
            done += self.cipher.update(&[0; BLOCK], &mut self.pad)?;
            0
        } else {
            start - BLOCK
        };
        let more = &encrypted[before..before + needed - done];
        self.cipher.update(more, &mut self.pad[done..])?;
        let ciphertext = &encrypted[start..start + out.len()];
        for ((plain, cipher), pad) in out.iter_mut().zip(ciphertext).zip(&self.pad) {
            *plain = cipher ^ pad;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn sealed(plaintext: &[u8]) -> Vec<u8> {
        // A key packet of two bytes before it.
        let mut message = vec![0xc1, 2, 0, 0];
        append(&KEY, plaintext, &mut message).unwrap();
        message
    }

    #[test]
    fn what_is_written_is_read_at_every_length_around_a_step() {
        for size in (0..70).chain(STEP - 70..STEP + 70).chain([3 * STEP + 1]) {
            let plaintext: Vec<u8> = (0..size).map(|n| (n * 31 % 251) as u8).collect();
            let message = sealed(&plaintext);
            let encrypted = encrypted_of(&message).unwrap();
            assert!(fits(&KEY, encrypted));
            assert_eq!(open(&KEY, encrypted, size).unwrap(), plaintext, "{size}");
            assert!(size == 0 || open(&KEY, encrypted, size - 1).is_none());
        }
    }

    #[test]
    fn another_key_opens_nothing() {
        let message = sealed(b"plaintext");
        let encrypted = encrypted_of(&message).unwrap();
        assert!(open(&[8; 32], encrypted, 100).is_none());
        assert!(open(&KEY[..16], encrypted, 100).is_none());
        assert!(!fits(&KEY[..16], encrypted));
    }

    proptest! {
        #[test]
        fn one_changed_bit_or_missing_byte_is_refused(
            plaintext in proptest::collection::vec(any::<u8>(), 0..300),
            place in any::<proptest::sample::Index>(),
            bit in 0u8..8,
        ) {
            let message = sealed(&plaintext);
            let encrypted = encrypted_of(&message).unwrap().to_vec();
            let mut changed = encrypted.clone();
            changed[place.index(encrypted.len())] ^= 1u8 << bit;
            prop_assert_eq!(open(&KEY, &changed, 300), None);
            prop_assert_eq!(open(&KEY, &encrypted[..place.index(encrypted.len())], 300), None);
        }

        #[test]
        fn any_bytes_are_taken_apart_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(encrypted) = encrypted_of(&bytes) {
                fits(&KEY, encrypted);
                prop_assert_eq!(open(&KEY, encrypted, 300), None);
            }
        }
    }
}
