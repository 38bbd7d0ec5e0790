//! The encryption container that GnuPG 2.2 reads, written at the speed of the processor: version 1 of the Symmetrically
//! Encrypted Integrity Protected Data packet (RFC 9580, section 5.13.1) around one literal packet (section 5.9).
//!
//! Sequoia writes the same, but hashes with a SHA-1 that looks for collisions, which takes longer than everything else
//! together. Nobody can gain by a collision here: the hash covers what this program itself has just encrypted, and lies
//! inside the encryption. Whoever opens a message still goes through Sequoia (decision 6).

use anyhow::Context as _;
use openssl::{
    error::ErrorStack,
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

/// Header, version.
const CONTAINER: u8 = 0xd2;
const VERSION: u8 = 1;

/// Header; behind its length: binary, no file name, no date.
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
