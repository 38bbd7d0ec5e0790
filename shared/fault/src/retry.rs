//! Whether an operation that failed may be tried again: one word for it, over all errors.

use std::error::Error;

/// Whether a later attempt at the same operation can end otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The cause may pass by itself: a server that does not answer, a full disk.
    Later,
    /// The cause stays until somebody changes something: wrong key, damaged object, refused credentials.
    Never,
    /// Another worker has taken the operation over. Nothing failed, and nothing is left to do.
    Superseded,
}

impl Retry {
    /// [`Retry::Later`] if `transient`, else [`Retry::Never`].
    #[must_use]
    pub fn later_if(transient: bool) -> Self {
        if transient { Self::Later } else { Self::Never }
    }

    /// Whether the same operation is worth another attempt by whoever got this error.
    #[must_use]
    pub fn is_later(self) -> bool {
        self == Self::Later
    }
}

/// An error that knows whether trying again may help.
///
/// Implementations match exhaustively, so that a new variant has to be decided, and ask their cause where the cause decides.
pub trait Retryable: Error {
    /// Whether, and by whom, the failed operation may be tried again.
    fn retry(&self) -> Retry;
}

impl<E: Retryable> Retryable for Box<E> {
    fn retry(&self) -> Retry {
        (**self).retry()
    }
}

/// A task that panicked or was cancelled: its work may go through at the next attempt.
impl Retryable for tokio::task::JoinError {
    fn retry(&self) -> Retry {
        Retry::Later
    }
}
