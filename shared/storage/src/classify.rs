//! Sorts the failures that the client library reports into those that a caller can act on.

use std::error::Error;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};

use crate::error::is_no_space;
use crate::http::HttpStatus;

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The object is not there.
    NotFound,
    /// The bucket is not there.
    NoPlace,
    /// The object was there before, or another writer is creating it.
    Exists,
    Denied,
    NoSpace,
    /// The request may or may not have been carried out: repeating it is safe only if it is idempotent.
    Interrupted,
    Unreachable,
    Refused,
    NotSupported,
}

pub(crate) fn classify(error: &object_store::Error) -> Class {
    match error {
        object_store::Error::NotFound { source, .. } if source.to_string().contains("NoSuchBucket") => Class::NoPlace,
        object_store::Error::NotFound { .. } => Class::NotFound,
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => Class::Exists,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => Class::Denied,
        object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. } => Class::NotSupported,
        object_store::Error::InvalidPath { .. } | object_store::Error::UnknownConfigurationKey { .. } => Class::Refused,
        other => by_cause(other),
    }
}

/// Looks through the causes. An HTTP error lies outside the I/O error that it may wrap, and is met first.
fn by_cause(error: &(dyn Error + 'static)) -> Class {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(status) = error.downcast_ref::<HttpStatus>() {
            return of_status(status);
        }
        if let Some(http) = error.downcast_ref::<HttpError>()
            && http.source().is_none_or(|source| !source.is::<HttpStatus>())
        {
            return match http.kind() {
                HttpErrorKind::Timeout | HttpErrorKind::Interrupted | HttpErrorKind::Unknown => Class::Interrupted,
                _ => Class::Unreachable,
            };
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return of_io(io);
        }
        cause = error.source();
    }
    // The rest are answers that were retried in vain (5xx, 429), and answers that no one understands.
    Class::Unreachable
}

fn of_status(status: &HttpStatus) -> Class {
    match status.status {
        401 | 403 => Class::Denied,
        404 => Class::NoPlace,
        501 => Class::NotSupported,
        507 => Class::NoSpace,
        // B2 answers 400 with this code where others answer 501.
        _ if status.text.contains("NotImplemented") => Class::NotSupported,
        _ if status.text.contains("QuotaExceeded") => Class::NoSpace,
        _ => Class::Refused,
    }
}

fn of_io(error: &io::Error) -> Class {
    if is_no_space(error) {
        return Class::NoSpace;
    }
    if cannot_link(error) {
        return Class::NotSupported;
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Class::Denied,
        io::ErrorKind::NotFound => Class::NotFound,
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory | io::ErrorKind::InvalidFilename => Class::Refused,
        _ => Class::Unreachable,
    }
}

/// Tells whether the file system may lack hard links. `link` says EPERM then, which writing never does.
pub(crate) fn cannot_link(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_errno(errno: rustix::io::Errno) -> Class {
        classify(&object_store::Error::Generic {
            store: "directory",
            source: Box::new(io::Error::from(errno)),
        })
    }

    #[test]
    fn what_a_file_system_says_is_understood() {
        use rustix::io::Errno;
        assert_eq!(of_errno(Errno::NOSPC), Class::NoSpace);
        assert_eq!(of_errno(Errno::DQUOT), Class::NoSpace);
        assert_eq!(of_errno(Errno::ACCESS), Class::Denied);
        assert_eq!(of_errno(Errno::ROFS), Class::Denied);
        assert_eq!(of_errno(Errno::PERM), Class::NotSupported);
        assert_eq!(of_errno(Errno::OPNOTSUPP), Class::NotSupported);
        assert_eq!(of_errno(Errno::IO), Class::Unreachable);
    }

    #[test]
    fn a_reset_connection_is_not_taken_for_a_disk() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let error = object_store::Error::Generic {
            store: "S3",
            source: Box::new(HttpError::new(HttpErrorKind::Interrupted, reset)),
        };
        assert_eq!(classify(&error), Class::Interrupted);
        let full = HttpStatus {
            status: 507,
            text: String::new(),
        };
        let error = object_store::Error::Generic {
            store: "S3",
            source: Box::new(HttpError::new(HttpErrorKind::Unknown, full)),
        };
        assert_eq!(classify(&error), Class::NoSpace);
    }
}
