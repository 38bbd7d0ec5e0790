//! The sweep: jobs that stand still in the work stream are taken out, so that they are asked for again.

use std::collections::HashMap;
use std::time::Duration;

use super::queue::Named;
use super::rules::{Behind, MessageId, behind, stood_still};
use super::stored::Ask;
use crate::connection::Bus;
use crate::error::{ApiError, BusError};

/// Looks through queues again and again.
pub(super) struct Sweep {
    bus: Bus,
    queues: Vec<Named>,
    every: Duration,
    /// Findings of the sweep before, by consumer.
    found: HashMap<String, Behind>,
}

impl Sweep {
    pub(super) fn new(bus: &Bus, queues: Vec<Named>, every: Duration) -> Self {
        Self {
            bus: bus.clone(),
            queues,
            every,
            found: HashMap::new(),
        }
    }

    /// Sweeps without end.
    pub(super) async fn run(mut self) {
        loop {
            for queue in self.queues.clone() {
                if let Err(error) = self.sweep(&queue).await {
                    tracing::debug!(consumer = queue.consumer, %error, "a queue could not be swept; trying again");
                }
            }
            tokio::time::sleep(self.every).await;
        }
    }

    async fn sweep(&mut self, queue: &Named) -> Result<(), BusError> {
        // Two findings count only if no failure came between.
        let earlier = self.found.remove(&queue.consumer);
        let swept = self.look(queue).await.map_err(|source| BusError::Consumer {
            stream: self.bus.names().work.clone(),
            consumer: queue.consumer.clone(),
            source,
        });
        let Some(later) = swept? else { return Ok(()) };
        if let Some(earlier) = &earlier {
            self.take_out(stood_still(earlier, &later)).await?;
        }
        self.found.insert(queue.consumer.clone(), later);
        Ok(())
    }

    /// Finds what is behind the consumer now; `None` if it has work in hand, or is not there.
    async fn look(&self, queue: &Named) -> Result<Option<Behind>, ApiError> {
        let before = self.bus.standing(&queue.consumer).await?;
        // What is in hand looks just like what was given up, so this waits for a moment without.
        let Some(before) = before.filter(|consumer| consumer.in_hand == 0) else {
            return Ok(None);
        };
        let messages = self.messages(&queue.filter, before.passed).await?;
        let after = self.bus.standing(&queue.consumer).await?;
        Ok(after.map(|after| behind(before, messages, after)))
    }

    /// The messages of a queue up to a number.
    async fn messages(&self, filter: &str, last: u64) -> Result<Vec<MessageId>, ApiError> {
        let mut found = Vec::new();
        let mut from = 1;
        while from <= last {
            let next = self.bus.stored(Ask::Next(from, filter)).await?;
            let Some(next) = next.filter(|next| next.id.sequence <= last) else {
                break;
            };
            from = next.id.sequence + 1;
            found.push(next.id);
        }
        Ok(found)
    }

    async fn take_out(&self, messages: impl Iterator<Item = &MessageId>) -> Result<(), BusError> {
        let mut removed = false;
        for id in messages {
            if self.bus.remove_message(id).await? {
                removed = true;
                let sequence = id.sequence;
                tracing::warn!(
                    subject = id.subject,
                    sequence,
                    "a job that the server delivers no more is taken out of the queue, to be asked for again"
                );
            }
        }
        if removed {
            self.bus.prompt();
        }
        Ok(())
    }
}
