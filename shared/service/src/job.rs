//! The errors of jobs, and their consequences.

use std::time::Duration;

use holdfast_fault::{Retry, Retryable, chain};

/// Delays before the second, third and fourth attempt; after that a failure is final.
const RETRY_DELAYS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15)];

/// The error of a job: the reason for people, and the answer to whether the job is tried again.
#[derive(Clone, Debug)]
pub enum JobError {
    /// The job is tried again: a server did not answer, or the staging folder was full.
    Retry(String),
    /// The job has failed for good: wrong key, damaged object, refused credentials.
    Fail(String),
    /// Another worker has taken the job over; what this one did is void. Nothing failed.
    Superseded(String),
}

impl JobError {
    /// Returns what an error means for the job that it ended, with all its causes as the reason.
    pub fn of(error: &impl Retryable) -> Self {
        let reason = chain(error).to_string();
        match error.retry() {
            Retry::Later => Self::Retry(reason),
            Retry::Never => Self::Fail(reason),
            Retry::Superseded => Self::Superseded(reason),
        }
    }

    /// Puts what was being done in front of the reason.
    #[must_use]
    pub fn during(self, what: &str) -> Self {
        self.map(|reason| format!("{what}: {reason}"))
    }

    /// Adds text to the end of the reason.
    #[must_use]
    pub fn and(self, besides: &str) -> Self {
        self.map(|reason| reason + besides)
    }

    fn map(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Retry(reason) => Self::Retry(change(reason)),
            Self::Fail(reason) => Self::Fail(change(reason)),
            Self::Superseded(reason) => Self::Superseded(change(reason)),
        }
    }

    /// Returns the reason, for people.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Retry(text) | Self::Fail(text) | Self::Superseded(text) => text,
        }
    }

    /// Says whether the job is tried again. A job's error is no [`Retryable`] itself, since all of those turn into it.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Retry(_) => Retry::Later,
            Self::Fail(_) => Retry::Never,
            Self::Superseded(_) => Retry::Superseded,
        }
    }

    /// Returns how long to wait before the next attempt, or `None` if this was the last. `delivery` counts from 1.
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

/// Every error that knows whether trying again may help ends a job accordingly, so `?` does.
impl<E: Retryable> From<E> for JobError {
    fn from(error: E) -> Self {
        Self::of(&error)
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

    #[derive(Debug, thiserror::Error)]
    #[error("the server said")]
    struct Said(Retry, #[source] std::fmt::Error);

    impl Retryable for Said {
        fn retry(&self) -> Retry {
            self.0
        }
    }

    #[test]
    fn a_job_ends_as_its_error_says_with_every_cause_in_the_reason() {
        for retry in [Retry::Later, Retry::Never, Retry::Superseded] {
            let job = JobError::from(Said(retry, std::fmt::Error));
            assert_eq!(job.retry(), retry);
            assert_eq!(job.reason(), format!("the server said: {}", std::fmt::Error));
            let job = job.during("ask").and("; twice");
            assert_eq!(job.retry(), retry);
            assert_eq!(
                job.reason(),
                format!("ask: the server said: {}; twice", std::fmt::Error)
            );
        }
    }

    #[tokio::test]
    async fn a_job_whose_thread_panicked_is_tried_again() {
        let ended = tokio::task::spawn_blocking(|| std::panic::resume_unwind(Box::new("told to"))).await;
        let job = JobError::from(ended.map(drop::<()>).unwrap_err());
        assert_eq!(job.retry(), Retry::Later, "{job:?}");
    }
}
