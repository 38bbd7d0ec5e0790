//! The jobs that are being done here.
//!
//! After a restart the server delivers again what was in hand. A job that is still being done here needs no second doer:
//! its later delivery only renews the lease of the first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lease::Lease;

#[derive(Clone, Default)]
pub(super) struct Running {
    jobs: Arc<Mutex<HashMap<String, Lease>>>,
}

/// A job that is being done; it ends when this is dropped.
pub(super) struct OngoingJob {
    running: Running,
    subject: String,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Lease>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a job. Returns `None` if it is being done already, and renews that one's lease.
    pub(super) fn begin(&self, subject: &str, lease: &Lease) -> Option<OngoingJob> {
        let mut jobs = self.lock();
        if let Some(first) = jobs.get(subject) {
            first.renew(lease);
            return None;
        }
        jobs.insert(subject.to_owned(), lease.clone());
        Some(OngoingJob {
            running: self.clone(),
            subject: subject.to_owned(),
        })
    }
}

impl Drop for OngoingJob {
    fn drop(&mut self) {
        self.running.lock().remove(&self.subject);
    }
}
