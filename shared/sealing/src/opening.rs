//! Decrypts one message.

use std::{
    fmt, io,
    io::{Read, Write},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use anyhow::Error;
use sequoia_openpgp::{
    parse::{
        Parse,
        stream::{Decryptor, DecryptorBuilder},
    },
    policy::{Policy, StandardPolicy},
};

use crate::{
    OpenError, SecretKeys,
    helper::{Helper, Shared, notes},
    packets::contain,
};

/// Bytes of plaintext that the decryptor holds back. They bound memory, and cost speed if they are many. They are no
/// protection here: whole objects are discarded on failure, and streams are checked by their SHA-256 beforehand.
const HELD_BACK: usize = 1024 * 1024;

static POLICY: StandardPolicy<'static> = StandardPolicy::new();

/// The plaintext of a sealed object, read from [`SecretKeys::open_reader`]. An error, once returned, is final. Reaching the
/// end without one means that the whole message was authenticated.
pub struct Opening<'a> {
    decryptor: Decryptor<'a, Helper>,
    shared: Shared,
    source_error: SourceError,
    left: u64,
    limit: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Finished,
    Failed,
}

impl SecretKeys {
    /// Opens a sealed object. Signatures in it are not looked at (see [`open_signed`](crate::open_signed)).
    ///
    /// # Errors
    /// [`OpenError`]; then no byte of plaintext is given out. A plaintext of more than `limit` bytes is refused before more
    /// than that is held.
    pub fn open(&self, sealed: &[u8], limit: usize) -> Result<Vec<u8>, OpenError> {
        if let Some(plaintext) = self.open_own(sealed, limit) {
            return Ok(plaintext);
        }
        Opening::of_bytes(self, sealed, limit)?.into_vec(sealed.len(), limit)
    }

    /// Opens a stream of any length in constant memory and returns the number of plaintext bytes.
    ///
    /// Plaintext is written before the end of the message was checked, so the caller must have compared the SHA-256 of the
    /// sealed object with a signed one first, and must discard what was written when this fails.
    ///
    /// # Errors
    /// [`OpenError`]; more than `limit` bytes are never written.
    pub fn open_stream<R, W>(&self, from: R, mut to: W, limit: u64) -> Result<u64, OpenError>
    where
        R: Read + Send + Sync,
        W: Write,
    {
        let mut opening = Opening::of_reader(self, from, limit)?;
        let mut buffer = vec![0; 256 * 1024];
        let mut total = 0;
        loop {
            let got = opening.pull(&mut buffer)?;
            if got == 0 {
                return Ok(total);
            }
            to.write_all(&buffer[..got])
                .map_err(|source| OpenError::Write { source })?;
            total += got as u64;
        }
    }

    /// Opens a stream for reading, with the same promise and the same duty as [`open_stream`](Self::open_stream).
    ///
    /// # Errors
    /// [`OpenError`] if the beginning of the message cannot be opened; later ones come out of the reader, as
    /// [`std::io::Error`] around an [`OpenError`].
    pub fn open_reader<'a, R: Read + Send + Sync + 'a>(&self, from: R, limit: u64) -> Result<Opening<'a>, OpenError> {
        Opening::of_reader(self, from, limit)
    }
}

impl<'a> Opening<'a> {
    pub(crate) fn of_bytes(keys: &SecretKeys, sealed: &'a [u8], limit: usize) -> Result<Self, OpenError> {
        Self::of_signed(Helper::unsigned(keys), sealed, &POLICY, None, limit)
    }

    /// Opens a message like [`of_bytes`](Self::of_bytes), and judges its signatures by `policy` and, if given, as of
    /// `time`.
    pub(crate) fn of_signed(
        helper: Helper,
        sealed: &'a [u8],
        policy: &'a dyn Policy,
        time: Option<SystemTime>,
        limit: usize,
    ) -> Result<Self, OpenError> {
        Self::start(
            DecryptorBuilder::from_bytes(sealed),
            helper,
            policy,
            time,
            limit as u64,
            SourceError::default(),
        )
    }

    pub(crate) fn of_reader<R>(keys: &SecretKeys, from: R, limit: u64) -> Result<Self, OpenError>
    where
        R: Read + Send + Sync + 'a,
    {
        let source_error = SourceError::default();
        let watched = Watched {
            from,
            error: source_error.clone(),
        };
        Self::start(
            DecryptorBuilder::from_reader(watched),
            Helper::unsigned(keys),
            &POLICY,
            None,
            limit,
            source_error,
        )
    }

    fn start(
        builder: anyhow::Result<DecryptorBuilder<'a>>,
        helper: Helper,
        policy: &'a dyn Policy,
        time: Option<SystemTime>,
        limit: u64,
        source_error: SourceError,
    ) -> Result<Self, OpenError> {
        let shared = Arc::clone(&helper.shared);
        let decryptor = builder
            .and_then(|builder| contain(|| builder.buffer_size(HELD_BACK).with_policy(policy, time, helper)))
            .map_err(|error| explain(&shared, &source_error, error))?;
        if !notes(&shared).encrypted {
            return Err(OpenError::damaged("not an encrypted message"));
        }
        Ok(Self {
            decryptor,
            shared,
            source_error,
            left: limit,
            limit,
            state: State::Reading,
        })
    }

    /// Reads the bytes that follow; zero at the authenticated end.
    pub(crate) fn pull(&mut self, buffer: &mut [u8]) -> Result<usize, OpenError> {
        match self.state {
            _ if buffer.is_empty() => return Ok(0),
            State::Reading => (),
            State::Finished => return Ok(0),
            // The library panics when read again after an error.
            State::Failed => return Err(OpenError::damaged("read again after an error")),
        }
        let outcome = self.step(buffer);
        match &outcome {
            Ok(0) => self.state = State::Finished,
            Ok(_) => (),
            Err(_) => self.state = State::Failed,
        }
        outcome
    }

    fn step(&mut self, buffer: &mut [u8]) -> Result<usize, OpenError> {
        // At the limit one byte more is asked for: the end is still to be authenticated, and anything else is too much.
        let mut probe = [0];
        let at_limit = self.left == 0;
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let target = if at_limit { &mut probe[..] } else { &mut buffer[..room] };
        let got = contain(|| Ok(self.decryptor.read(target)?))
            .map_err(|error| explain(&self.shared, &self.source_error, error))?;
        if at_limit && got > 0 {
            return Err(OpenError::TooLarge { limit: self.limit });
        }
        self.left -= got as u64;
        Ok(got)
    }

    /// Reads everything, allocating once: without compression a plaintext is never larger than its message.
    pub(crate) fn into_vec(mut self, sealed: usize, limit: usize) -> Result<Vec<u8>, OpenError> {
        let mut plaintext = Vec::with_capacity(sealed.min(limit));
        match self.read_to_end(&mut plaintext) {
            Ok(_) => Ok(plaintext),
            Err(error) => Err(error
                .downcast::<OpenError>()
                .unwrap_or_else(|source| OpenError::Read { source })),
        }
    }
}

impl Read for Opening<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pull(buffer).map_err(io::Error::other)
    }
}

impl fmt::Debug for Opening<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("limit", &self.limit)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// Returns the most telling account of a failure. First comes the error of the source of bytes, since what it lacks
/// looks like damage to everything above; then the refusal of the helper; else it is damage.
fn explain(shared: &Shared, source_error: &SourceError, error: Error) -> OpenError {
    if let Some(source) = source_error.take() {
        return OpenError::Read { source };
    }
    notes(shared)
        .refusal
        .take()
        .unwrap_or(OpenError::Damaged { source: error })
}

/// An error of the underlying reader. The parser reports it like damage, and a failing disk must not pass for that.
#[derive(Clone, Default)]
struct SourceError(Arc<Mutex<Option<io::Error>>>);

impl SourceError {
    fn set(&self, error: io::Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

struct Watched<R> {
    from: R,
    error: SourceError,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.from.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => {
                    let kind = error.kind();
                    self.error.set(error);
                    return Err(kind.into());
                }
                Ok(got) => return Ok(got),
            }
        }
    }
}
