//! A job that the server gave up, and the list of those that are with a caller now.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::jetstream::Message;
use holdfast_events::{Work, WorkStage};

use super::rules::MessageId;
use crate::connection::Bus;
use crate::error::BusError;

/// A job that the server has given up. It stays in the queue, and keeps the same job out of it, until [`Exhausted::remove`].
/// Dropped without that it is told again.
#[derive(Debug)]
pub struct Exhausted {
    pub work: Work,
    /// The number of the job's message in the work stream.
    pub stream_sequence: u64,
    pub stage: WorkStage,
    id: MessageId,
    bus: Bus,
    advisory: Message,
    _told: Told,
}

impl Exhausted {
    pub(super) fn new(bus: &Bus, work: Work, id: MessageId, advisory: Message, told: Told) -> Self {
        Self {
            stage: work.stage(),
            work,
            stream_sequence: id.sequence,
            id,
            bus: bus.clone(),
            advisory,
            _told: told,
        }
    }

    /// Takes it from the queue. To be called once its failure is filed. A job that came after it is spared.
    ///
    /// # Errors
    /// [`BusError::Remove`]; then it is told again later.
    pub async fn remove(self) -> Result<(), BusError> {
        self.bus.remove_message(&self.id).await?;
        acknowledge(&self.advisory).await;
        Ok(())
    }
}

/// Tells the server that an advisory is settled.
pub(super) async fn acknowledge(advisory: &Message) {
    if let Err(error) = advisory.ack().await {
        tracing::debug!(%error, "an advisory was not acknowledged and will come again");
    }
}

/// Messages that are with the caller now.
#[derive(Clone, Debug, Default)]
pub(super) struct Telling(Arc<Mutex<HashSet<MessageId>>>);

/// One message that is with the caller, until this is dropped.
#[derive(Debug)]
pub(super) struct Told {
    telling: Telling,
    id: MessageId,
}

impl Telling {
    /// Returns `None` if the message is with the caller already.
    pub(super) fn begin(&self, id: &MessageId) -> Option<Told> {
        let new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        new.then(|| Told {
            telling: self.clone(),
            id: id.clone(),
        })
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.telling
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}
