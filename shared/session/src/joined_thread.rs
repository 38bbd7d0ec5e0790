//! Threads that work beside a capture.

use std::thread::{Builder, JoinHandle};

use holdfast_service::JobError;

/// A thread that nobody outlives: dropping this waits until it has ended.
pub(crate) struct JoinedThread(Option<JoinHandle<()>>);

impl JoinedThread {
    /// Starts a thread of this name.
    ///
    /// # Errors
    /// [`JobError::Retry`] if the system gives no thread.
    pub(crate) fn start(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<Self, JobError> {
        let started = Builder::new().name(name.to_owned()).spawn(work);
        let thread = started.map_err(|error| JobError::Retry(format!("start the thread {name}: {error}")))?;
        Ok(Self(Some(thread)))
    }

    /// Waits until the thread has ended.
    ///
    /// # Errors
    /// [`JobError::Retry`] if the thread panicked.
    pub(crate) fn join(mut self) -> Result<(), JobError> {
        match self.0.take().map(JoinHandle::join) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(JobError::Retry("a thread beside the capture panicked".to_owned())),
        }
    }
}

impl Drop for JoinedThread {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // A panic was told by its own message, and the capture is given up already.
            let _ = thread.join();
        }
    }
}
