//! One word, over all errors, for whether an operation that failed may be tried again.

use std::error::Error;
use std::io;

/// Says whether a later attempt at the same operation can end otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The cause may pass by itself: a server that does not answer, a staging folder that others will empty.
    Later,
    /// The cause stays until somebody changes something: a wrong key, a damaged object, refused credentials, a full disk.
    Never,
    /// The operation is this worker's no more: another one has it, or will have it. Nothing failed, and nothing is left to
    /// do here.
    Superseded,
}

impl Retry {
    /// Returns [`Retry::Later`] if `transient`, else [`Retry::Never`].
    #[must_use]
    pub fn later_if(transient: bool) -> Self {
        if transient { Self::Later } else { Self::Never }
    }

    /// Judges what the system said about a file, folder or process of this host.
    ///
    /// [`Retry::Later`] if the call was interrupted or came too early, or if the process or the host was out of memory, of
    /// file descriptors or of processes: others give those back. All else stays as it is, a full disk among it.
    #[must_use]
    pub fn of_io(error: &io::Error) -> Self {
        // ENFILE and EMFILE have no kind of their own.
        const NO_DESCRIPTORS: [i32; 2] = [23, 24];
        let passes = matches!(
            error.kind(),
            io::ErrorKind::Interrupted
                | io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::OutOfMemory
                | io::ErrorKind::ResourceBusy
        );
        let returned = error
            .raw_os_error()
            .is_some_and(|number| NO_DESCRIPTORS.contains(&number));
        Self::later_if(passes || returned)
    }

    /// True if whoever got the error may try the same operation again.
    #[must_use]
    pub fn is_later(self) -> bool {
        self == Self::Later
    }
}

/// An error that knows whether trying again may help.
///
/// Implementations match exhaustively, so that a new variant has to be decided, and ask their cause where the cause decides.
pub trait Retryable: Error {
    /// Says whether the failed operation may be tried again.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_give_back_passes_and_a_full_disk_stays() {
        let retry = |number| Retry::of_io(&io::Error::from_raw_os_error(number));
        let (eintr, eagain, enomem, ebusy, enfile, emfile) = (4, 11, 12, 16, 23, 24);
        for number in [eintr, eagain, enomem, ebusy, enfile, emfile] {
            assert_eq!(retry(number), Retry::Later, "{number}");
        }
        let (enoent, eio, eacces, enospc, erofs, edquot) = (2, 5, 13, 28, 30, 122);
        for number in [enoent, eio, eacces, enospc, erofs, edquot] {
            assert_eq!(retry(number), Retry::Never, "{number}");
        }
        let own = io::Error::new(io::ErrorKind::TimedOut, "no answer");
        assert_eq!(Retry::of_io(&own), Retry::Later);
        assert_eq!(Retry::of_io(&io::Error::other("odd")), Retry::Never);
    }

    #[test]
    fn a_box_says_what_its_error_says() {
        #[derive(Debug)]
        struct Taken;
        impl std::fmt::Display for Taken {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("taken")
            }
        }
        impl Error for Taken {}
        impl Retryable for Taken {
            fn retry(&self) -> Retry {
                Retry::Superseded
            }
        }
        assert_eq!(Box::new(Taken).retry(), Retry::Superseded);
    }
}
