//! The one encoding of messages: a version byte, then bincode 1.3.3 (fixed little-endian integers off, varint on, no
//! trailing bytes). JSON of the same types is accepted everywhere: a message that begins with `{` is JSON.
//!
//! bincode is unmaintained (docs/decisions/0003) and not self-describing, so its use ends at this file: no field of a
//! message can claim more memory than the message has bytes, as the limit is checked before anything is decoded.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version byte of messages that this program writes and the only one it reads.
const CODEC_VERSION: u8 = 1;

/// The largest message in bytes, written or read. The server's own limit (1 MiB) would cut the connection.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// A type that goes over the bus.
pub trait Message: Serialize + DeserializeOwned {
    /// The kind of message, as errors name it.
    const NAME: &'static str;
}

/// Bytes are no message, or a message cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The message is longer than [`MAX_MESSAGE`].
    #[error("a {name} message of {size} bytes is over the limit of {MAX_MESSAGE}")]
    TooLarge {
        name: &'static str,
        /// Size in bytes; of a message that is being written, a lower bound.
        size: usize,
    },
    /// The message is empty, or of another version.
    #[error("a {name} message of unknown version {found:?}: its sender runs another version of holdfast")]
    Version {
        name: &'static str,
        /// The version byte, if there is one.
        found: Option<u8>,
    },
    /// The message cannot be decoded as bincode.
    #[error("a {name} message that cannot be decoded")]
    Bincode {
        name: &'static str,
        #[source]
        source: bincode::Error,
    },
    /// The message cannot be decoded as JSON, or not encoded.
    #[error("a {name} message that is no valid JSON of its kind")]
    Json {
        name: &'static str,
        #[source]
        source: serde_json::Error,
    },
}

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_limit(MAX_MESSAGE as u64)
}

/// Encodes a message for the bus.
///
/// # Errors
/// [`CodecError::TooLarge`] over [`MAX_MESSAGE`].
pub fn encode<T: Message>(message: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = vec![CODEC_VERSION];
    options()
        .serialize_into(&mut bytes, message)
        .map_err(|source| match *source {
            bincode::ErrorKind::SizeLimit => CodecError::TooLarge {
                name: T::NAME,
                size: MAX_MESSAGE + 1,
            },
            _ => CodecError::Bincode { name: T::NAME, source },
        })?;
    check_size::<T>(bytes.len())?;
    Ok(bytes)
}

/// Encodes a message as JSON, for people and foreign tools.
///
/// # Errors
/// [`CodecError::TooLarge`] over [`MAX_MESSAGE`].
pub fn encode_json<T: Message>(message: &T) -> Result<Vec<u8>, CodecError> {
    let bytes = serde_json::to_vec(message).map_err(|source| CodecError::Json { name: T::NAME, source })?;
    check_size::<T>(bytes.len())?;
    Ok(bytes)
}

/// Reads a message, binary or JSON.
///
/// # Errors
/// [`CodecError`]; never a panic, and never more memory than a small multiple of the message's size.
pub fn decode<T: Message>(bytes: &[u8]) -> Result<T, CodecError> {
    check_size::<T>(bytes.len())?;
    match bytes.split_first() {
        Some((b'{', _)) => serde_json::from_slice(bytes).map_err(|source| CodecError::Json { name: T::NAME, source }),
        Some((&CODEC_VERSION, body)) => options()
            .deserialize(body)
            .map_err(|source| CodecError::Bincode { name: T::NAME, source }),
        first => Err(CodecError::Version {
            name: T::NAME,
            found: first.map(|(v, _)| *v),
        }),
    }
}

fn check_size<T: Message>(size: usize) -> Result<(), CodecError> {
    if size > MAX_MESSAGE {
        Err(CodecError::TooLarge { name: T::NAME, size })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
