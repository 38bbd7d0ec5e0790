//! How a job that did not succeed is to be treated.

use std::error::Error;
use std::time::Duration;

use holdfast_bus::BusError;
use holdfast_capture::{CaptureError, Retry, StagingError};
use holdfast_fault::chain;
use holdfast_repository::RepositoryError;

/// Delays before the second, third and fourth attempt; after that a failure is final.
const RETRY_DELAYS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15)];

/// Why a job did not succeed, with what follows from it.
#[derive(Debug)]
pub enum JobError {
    /// It may succeed later: a server that does not answer, a full disk.
    Retry(String),
    /// It will never succeed: wrong key, damaged object, refused credentials.
    Fail(String),
    /// Another worker has taken the job over; what this one did is void. Nothing failed.
    Superseded(String),
}

impl JobError {
    /// A job error from a cause that knows whether trying again may help.
    pub fn new(retry: bool, error: &(dyn Error + 'static)) -> Self {
        let text = chain(error).to_string();
        if retry { Self::Retry(text) } else { Self::Fail(text) }
    }

    /// The same, with what was being done in front.
    #[must_use]
    pub fn during(self, what: &str) -> Self {
        let add = |text: String| format!("{what}: {text}");
        match self {
            Self::Retry(text) => Self::Retry(add(text)),
            Self::Fail(text) => Self::Fail(add(text)),
            Self::Superseded(text) => Self::Superseded(add(text)),
        }
    }

    /// The same, with what is to be said besides.
    #[must_use]
    pub fn and(self, besides: &str) -> Self {
        match self {
            Self::Retry(text) => Self::Retry(text + besides),
            Self::Fail(text) => Self::Fail(text + besides),
            Self::Superseded(text) => Self::Superseded(text + besides),
        }
    }

    /// Why, for people.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Retry(text) | Self::Fail(text) | Self::Superseded(text) => text,
        }
    }

    /// How long to wait before the next attempt, or `None` if this was the last. `delivery` counts from 1.
    #[must_use]
    pub fn next_attempt(&self, delivery: u64) -> Option<Duration> {
        match self {
            Self::Retry(_) => RETRY_DELAYS
                .get(usize::try_from(delivery.saturating_sub(1)).ok()?)
                .copied(),
            Self::Fail(_) | Self::Superseded(_) => None,
        }
    }
}

impl From<RepositoryError> for JobError {
    fn from(error: RepositoryError) -> Self {
        Self::new(error.retry(), &error)
    }
}

impl From<BusError> for JobError {
    fn from(error: BusError) -> Self {
        Self::new(error.retry() == holdfast_bus::Retry::Later, &error)
    }
}

impl From<holdfast_storage::StorageError> for JobError {
    fn from(error: holdfast_storage::StorageError) -> Self {
        Self::new(error.retry(), &error)
    }
}

impl From<CaptureError> for JobError {
    fn from(error: CaptureError) -> Self {
        if let CaptureError::Staging {
            source: StagingError::Superseded { .. },
            ..
        } = &error
        {
            return Self::Superseded(error.to_string());
        }
        Self::new(error.retry() == Retry::Later, &error)
    }
}

impl From<StagingError> for JobError {
    fn from(error: StagingError) -> Self {
        if let StagingError::Superseded { .. } = &error {
            return Self::Superseded(error.to_string());
        }
        Self::new(error.retry() == Retry::Later, &error)
    }
}

impl From<tokio::task::JoinError> for JobError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Retry(format!("a worker thread ended: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_end() {
        let error = JobError::Retry("x".to_owned());
        let delays: Vec<_> = (1..).map_while(|n| error.next_attempt(n)).collect();
        assert_eq!(delays, RETRY_DELAYS);
        assert_eq!(JobError::Fail("x".to_owned()).next_attempt(1), None);
    }
}
