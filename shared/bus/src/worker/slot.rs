//! One slot: ask for a job, have it done, ask again.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{AckKind, Message};
use holdfast_fault::chain;

use super::Worker;
use super::lease::Lease;
use crate::backoff::Backoff;
use crate::content::work_of;
use crate::error::BusError;
use crate::pull::{Pull, PullEnd};

/// The time after which a message that cannot be parked now comes again.
const PARK_AGAIN: Duration = Duration::from_secs(30);
/// The time that parking may take when the time to drain is over.
const PARK_LAST_MOMENT: Duration = Duration::from_secs(2);

impl Worker {
    pub(super) async fn slot(self: Arc<Self>) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while !self.drain.is_cancelled() {
            let opened = tokio::select! {
                biased;
                () = self.drain.cancelled() => return,
                opened = self.open() => opened,
            };
            let failure = match opened {
                Ok(pull) => match self.read(pull, &mut backoff).await {
                    None => return,
                    Some(end) if end.is_expected() => continue,
                    Some(end) => end.to_string(),
                },
                Err(error) => {
                    tracing::warn!(consumer = self.consumer, error = %chain(&error), "the worker cannot take jobs; trying again");
                    error.to_string()
                }
            };
            tracing::debug!(consumer = self.consumer, failure, "asking for jobs anew");
            tokio::select! {
                () = self.drain.cancelled() => return,
                () = tokio::time::sleep(backoff.next()) => {}
            }
        }
    }

    /// Makes the consumer and opens a pull. The consumer is looked at every time: it, its stream or the whole store may
    /// have been deleted since.
    async fn open(&self) -> Result<Pull, BusError> {
        let stream = &self.bus.names().work;
        self.bus.ensure_consumer(stream, &self.consumer_config()).await?;
        Pull::open(&self.bus, stream, &self.consumer, 1).await
    }

    /// Reads until the pull ends; `None` on drain.
    async fn read(&self, mut pull: Pull, backoff: &mut Backoff) -> Option<PullEnd> {
        loop {
            let next = tokio::select! {
                biased;
                () = self.drain.cancelled() => None,
                next = pull.next() => Some(next),
            };
            match next {
                Some(Ok(message)) => {
                    backoff.reset();
                    self.take(message).await;
                }
                Some(Err(end)) => return Some(end),
                None => {
                    for message in pull.close().await {
                        self.give_back(&message).await;
                    }
                    return None;
                }
            }
        }
    }

    async fn give_back(&self, message: &Message) {
        if let Some(lease) = Lease::of(&self.bus, message) {
            lease.answer(AckKind::Nak(None), &self.drain).await;
        }
    }

    /// Handles one message, to its answer.
    async fn take(&self, message: Message) {
        let Some(lease) = Lease::of(&self.bus, &message) else {
            tracing::warn!(subject = %message.subject, "a message that came from no stream is ignored");
            return;
        };
        let work = match work_of(self.bus.subjects(), &message.subject, &message.payload) {
            Ok(work) => work,
            Err(reason) => {
                tracing::warn!(subject = %message.subject, reason, "a message that nobody can handle is parked");
                self.park(&message, &lease, &reason).await;
                return;
            }
        };
        let Some(job) = self.running.begin(&message.subject, &lease) else {
            tracing::debug!(subject = %message.subject, "a job was delivered again while this worker does it");
            return;
        };
        self.do_job(work, message, lease, job).await;
    }

    /// Keeps a copy of the message and takes it from the queue; if no copy can be kept, it stays there.
    pub(super) async fn park(&self, message: &Message, lease: &Lease, reason: &str) {
        let copy = self
            .bus
            .park(self.options.stage, &message.subject, &message.payload, reason);
        let out_of_time = async {
            self.overdue.cancelled().await;
            tokio::time::sleep(PARK_LAST_MOMENT).await;
        };
        let parked = tokio::select! {
            parked = copy => parked,
            () = out_of_time => Err(BusError::Closed),
        };
        let answer = match parked {
            Ok(()) => AckKind::Term,
            Err(error) => {
                tracing::warn!(subject = %message.subject, error = %chain(&error), "a message could not be parked");
                AckKind::Nak(Some(PARK_AGAIN))
            }
        };
        lease.answer(answer, &self.overdue).await;
    }
}
