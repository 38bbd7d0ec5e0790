//! Errors of places.

use std::fmt;
use std::io;
use std::path::PathBuf;

use holdfast_fault::{Retry, Retryable};
use holdfast_format::PlaceName;

/// An operation at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Write an object.
    Write,
    /// Read an object.
    Read,
    /// Ask whether an object is there.
    Look,
    /// List the objects below a prefix.
    List,
    /// Delete an object.
    Delete,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Look => "look for",
            Self::List => "list",
            Self::Delete => "delete",
        })
    }
}

/// The words of the store or its client. The client prints its whole chain of causes in one line, so a cause has no
/// further source. Credentials are taken out and the length is bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageCause(String);

/// Characters of the longest text of a cause. S3 answers some mistakes with pages of XML.
const CAUSE_MAX: usize = 600;

impl StorageCause {
    pub(crate) fn new(error: &dyn std::error::Error, hidden: &[&str]) -> Self {
        let mut text = error.to_string();
        for secret in hidden.iter().filter(|secret| !secret.is_empty()) {
            text = text.replace(secret, "***");
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        Self(words.join(" ").chars().take(CAUSE_MAX).collect())
    }
}

impl fmt::Display for StorageCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StorageCause {}

/// A failure at a place.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The object is not there.
    #[error("{object} is not at place {place}")]
    NotFound {
        place: PlaceName,
        /// Key of the object.
        object: String,
    },
    /// The directory or bucket itself is not there.
    #[error("place {place} is not there: {problem}")]
    NoPlace {
        place: PlaceName,
        /// The missing thing, and the way to mend it.
        problem: String,
    },
    /// The credentials are wrong, expired, or lack a permission.
    #[error("not allowed to {operation} {object} at place {place}: check its credentials and permissions")]
    Denied {
        operation: Operation,
        place: PlaceName,
        /// Key of the object, or the prefix that was listed.
        object: String,
        #[source]
        source: StorageCause,
    },
    /// The disk, quota or account is full.
    #[error("no space left to {operation} {object} at place {place}: free some, or give it more")]
    NoSpace {
        operation: Operation,
        place: PlaceName,
        /// Key of the object.
        object: String,
        #[source]
        source: StorageCause,
    },
    /// The store gave no answer, or only answers that say "later", until the retries were used up.
    #[error("cannot {operation} {object}: place {place} does not answer as it should")]
    Unreachable {
        operation: Operation,
        place: PlaceName,
        /// Key of the object, or the prefix that was listed.
        object: String,
        #[source]
        source: StorageCause,
    },
    /// The store understood and said no; asking again will not change that.
    #[error("place {place} refuses to {operation} {object}")]
    Refused {
        operation: Operation,
        place: PlaceName,
        /// Key of the object, or the prefix that was listed.
        object: String,
        #[source]
        source: StorageCause,
    },
    /// The store cannot do this at all.
    #[error("place {place} has no way to {operation} {object}")]
    NotSupported {
        operation: Operation,
        place: PlaceName,
        /// Key of the object.
        object: String,
        #[source]
        source: StorageCause,
    },
    /// The object is larger than the reader allows. Nothing was read.
    #[error("{object} at place {place} has {size} bytes, more than the {limit} that it may have")]
    TooLarge {
        place: PlaceName,
        /// Key of the object.
        object: String,
        /// Size of the object in bytes.
        size: u64,
        /// The caller's limit in bytes.
        limit: u64,
    },
    /// Fewer or more bytes came than the store had announced.
    #[error("{object} at place {place} was announced with {expected} bytes, but {received} came")]
    Short {
        place: PlaceName,
        /// Key of the object.
        object: String,
        /// Bytes that the store announced.
        expected: u64,
        /// Bytes that came.
        received: u64,
    },
    /// The options for the place make no sense.
    #[error("place {place}: {problem}")]
    BadOptions {
        place: PlaceName,
        /// The option and the rule that it breaks.
        problem: String,
    },
    /// A file of this host, from which or to which an object is copied, failed.
    #[error("cannot {doing} the file {}", path.display())]
    File {
        /// The verb for the message: `read` or `write`.
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Retryable for StorageError {
    /// Missing space and denied access count as [`Retry::Never`]: a worker that repeats those at once only makes noise.
    fn retry(&self) -> Retry {
        match self {
            Self::Unreachable { .. } | Self::Short { .. } | Self::NoPlace { .. } => Retry::Later,
            Self::File { source, .. } => Retry::of_io(source),
            Self::NotFound { .. }
            | Self::Denied { .. }
            | Self::NoSpace { .. }
            | Self::Refused { .. }
            | Self::NotSupported { .. }
            | Self::TooLarge { .. }
            | Self::BadOptions { .. } => Retry::Never,
        }
    }
}

impl StorageError {
    /// Tells whether space is missing, at the place or on this host.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::File { source, .. } => is_no_space(source),
            _ => false,
        }
    }
}

/// Tells whether the disk or the quota is full.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_holds_no_secret_no_line_break_and_no_pages() {
        let said = io::Error::other(format!("key AKIASECRET\n  refused {}", "x".repeat(5000)));
        let cause = StorageCause::new(&said, &["AKIASECRET", ""]).to_string();
        assert!(cause.starts_with("key *** refused xxx"), "{cause}");
        assert_eq!(cause.len(), CAUSE_MAX);
    }
}
