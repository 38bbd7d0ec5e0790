//! The right to do a job: kept by signs of life, ended by an answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::{AckKind, Message};
use async_nats::{RequestErrorKind, Subject};
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::connection::ANSWER;
use crate::connection::Bus;

/// The time that an answer is tried to be given. A server that restarts is back well within it; if not, the job comes
/// again.
const PATIENCE: Duration = Duration::from_secs(60);

/// The address for answers about one delivered message. Clones are the same lease.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    bus: Bus,
    reply: Arc<Mutex<Subject>>,
}

impl Lease {
    /// Takes the lease of a message; `None` if it did not come from a stream.
    pub(crate) fn of(bus: &Bus, message: &Message) -> Option<Self> {
        message.info().ok()?;
        Some(Self {
            bus: bus.clone(),
            reply: Arc::new(Mutex::new(message.reply.clone()?)),
        })
    }

    fn reply(&self) -> Subject {
        self.reply.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes on with a later delivery of the same job.
    pub(crate) fn renew(&self, later: &Self) {
        let newest = later.reply();
        *self.reply.lock().unwrap_or_else(PoisonError::into_inner) = newest;
    }

    /// Says something about the job, and waits until the server has heard it.
    async fn say(&self, kind: AckKind) -> Result<(), async_nats::RequestError> {
        loop {
            let reply = self.reply();
            let request = async_nats::Request::new()
                .payload(Bytes::from(kind))
                .timeout(Some(ANSWER));
            self.bus.client().send_request(reply.clone(), request).await?;
            // Renewed meanwhile: whether the server takes the word of an older delivery depends on the word.
            if self.reply() == reply {
                return Ok(());
            }
        }
    }

    /// Gives an answer and sees to it that the server hears it. Returns false if the server did not, so that the job
    /// will come again.
    pub(crate) async fn answer(&self, kind: AckKind, give_up: &CancellationToken) -> bool {
        let deadline = Instant::now() + PATIENCE;
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        loop {
            let Err(error) = self.say(kind).await else { return true };
            let delay = backoff.next();
            // Without a consumer nobody takes the answer: all that the server knew of deliveries is gone with it.
            let hopeless = error.kind() == RequestErrorKind::NoResponders;
            if hopeless || give_up.is_cancelled() || Instant::now() + delay >= deadline {
                tracing::warn!(%error, answer = ?kind, "the server did not hear what became of a job; it may come again");
                return false;
            }
            tokio::time::sleep(delay).await;
            self.bus.wait_connected(deadline).await;
        }
    }

    /// Gives signs of life until dropped. Cancels `lost` when none has been heard for twice `ack_wait`.
    pub(crate) async fn keep(self, every: Duration, ack_wait: Duration, lost: CancellationToken) {
        let mut heard = Instant::now();
        loop {
            tokio::time::sleep(every).await;
            match self.say(AckKind::Progress).await {
                Ok(()) => heard = Instant::now(),
                Err(error) if heard.elapsed() > ack_wait * 2 => {
                    if !lost.is_cancelled() {
                        tracing::warn!(%error, "no sign of life reaches the server; another may be doing this job");
                        lost.cancel();
                    }
                }
                Err(error) => tracing::debug!(%error, "a sign of life did not reach the server"),
            }
        }
    }
}
