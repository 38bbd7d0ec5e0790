//! What can go wrong at a place.

use std::fmt;
use std::io;
use std::path::PathBuf;

use holdfast_fault::{Retry, Retryable};
use holdfast_format::PlaceName;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Writing an object.
    Write,
    /// Reading an object.
    Read,
    /// Asking whether an object is there.
    Look,
    /// Listing objects.
    List,
    /// Deleting an object.
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

/// What the store or its client said, as text: the client prints its whole chain of causes in one line, so this has no
/// further source. Credentials are taken out and the length is bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause(String);

/// The longest text of a cause. S3 answers some mistakes with pages of XML.
const CAUSE_MAX: usize = 600;

impl Cause {
    pub(crate) fn new(error: &dyn std::error::Error, hidden: &[&str]) -> Self {
        let mut text = error.to_string();
        for secret in hidden.iter().filter(|secret| !secret.is_empty()) {
            text = text.replace(secret, "***");
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        Self(words.join(" ").chars().take(CAUSE_MAX).collect())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

/// Why a place did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The object is not there.
    #[error("{object} is not at place {place}")]
    NotFound {
        /// The place.
        place: PlaceName,
        /// The object's key.
        object: String,
    },
    /// The directory or bucket itself is not there.
    #[error("place {place} is not there: {problem}")]
    NoPlace {
        /// The place.
        place: PlaceName,
        /// What is missing, and what to do.
        problem: String,
    },
    /// The credentials are wrong, expired, or lack a permission.
    #[error("not allowed to {operation} {object} at place {place}: check its credentials and permissions")]
    Denied {
        /// What was being done.
        operation: Operation,
        /// The place.
        place: PlaceName,
        /// The object's key, or what was listed.
        object: String,
        /// What the store said.
        #[source]
        source: Cause,
    },
    /// The disk, quota or account is full.
    #[error("no space left to {operation} {object} at place {place}: free some, or give it more")]
    NoSpace {
        /// What was being done.
        operation: Operation,
        /// The place.
        place: PlaceName,
        /// The object's key.
        object: String,
        /// What the store said.
        #[source]
        source: Cause,
    },
    /// No answer, or only answers that say "later", until the retries were used up.
    #[error("cannot {operation} {object}: place {place} does not answer as it should")]
    Unreachable {
        /// What was being done.
        operation: Operation,
        /// The place.
        place: PlaceName,
        /// The object's key, or what was listed.
        object: String,
        /// What happened.
        #[source]
        source: Cause,
    },
    /// The store understood and said no; asking again will not change that.
    #[error("place {place} refuses to {operation} {object}")]
    Refused {
        /// What was being done.
        operation: Operation,
        /// The place.
        place: PlaceName,
        /// The object's key, or what was listed.
        object: String,
        /// What the store said.
        #[source]
        source: Cause,
    },
    /// The store cannot do this at all.
    #[error("place {place} has no way to {operation} {object}")]
    NotSupported {
        /// What was being done.
        operation: Operation,
        /// The place.
        place: PlaceName,
        /// The object's key.
        object: String,
        /// What the store said.
        #[source]
        source: Cause,
    },
    /// The object is larger than the reader allows. Nothing was read.
    #[error("{object} at place {place} has {size} bytes, more than the {limit} that it may have")]
    TooLarge {
        /// The place.
        place: PlaceName,
        /// The object's key.
        object: String,
        /// Its size in bytes.
        size: u64,
        /// The caller's limit in bytes.
        limit: u64,
    },
    /// Fewer or more bytes came than the store had announced.
    #[error("{object} at place {place} was announced with {expected} bytes, but {received} came")]
    Short {
        /// The place.
        place: PlaceName,
        /// The object's key.
        object: String,
        /// Bytes announced.
        expected: u64,
        /// Bytes received.
        received: u64,
    },
    /// The options for the place make no sense.
    #[error("place {place}: {problem}")]
    BadOptions {
        /// The place.
        place: PlaceName,
        /// What is wrong.
        problem: String,
    },
    /// A file of this host, from which or to which an object is copied, failed.
    #[error("cannot {doing} the file {}", path.display())]
    File {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
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
    /// Whether space is missing, at the place or on this host.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::File { source, .. } => crate::classify::is_no_space(source),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_holds_no_secret_no_line_break_and_no_pages() {
        let said = io::Error::other(format!("key AKIASECRET\n  refused {}", "x".repeat(5000)));
        let cause = Cause::new(&said, &["AKIASECRET", ""]).to_string();
        assert!(cause.starts_with("key *** refused xxx"), "{cause}");
        assert_eq!(cause.len(), CAUSE_MAX);
    }
}
