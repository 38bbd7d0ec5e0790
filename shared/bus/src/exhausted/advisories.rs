//! Reads the server's advisories that it gives a job up, checks them, and hands the jobs out.
//!
//! All services share one consumer, so an advisory reaches any of them: those of other queues are passed on.

use std::time::Duration;

use async_nats::datetime::DateTime;
use async_nats::jetstream::consumer::{AckPolicy, Config, IntoConsumerConfig, pull};
use async_nats::jetstream::{AckKind, Message};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::job::{Exhausted, Telling, acknowledge};
use super::queue::Named;
use super::rules::{Notice, Standing, is_given_up};
use super::stored::{Ask, Stored, time};
use crate::backoff::Backoff;
use crate::code;
use crate::connection::Bus;
use crate::content::work_of;
use crate::error::{ApiError, BusError};
use crate::names::EXHAUSTED;
use crate::pull::{Pull, PullEnd};

/// The time after which an advisory that was not settled comes again. Well below two sweeps: what an advisory tells must
/// reach its service before a sweep takes the job out, or a job that always fails would never end.
const ADVISORY_WAIT: Duration = Duration::from_secs(15);

/// The time after which an advisory of another queue goes to the next reader. They take turns.
const PASSED_ON_AFTER: Duration = Duration::from_millis(250);
/// The time for an advisory that went round already: its service is away.
const PASSED_ON_LATER: Duration = Duration::from_secs(4);
/// Number of deliveries after which an advisory went round.
const ROUND: i64 = 32;

#[derive(Deserialize)]
struct Advisory {
    consumer: String,
    stream_seq: u64,
    #[serde(deserialize_with = "time")]
    timestamp: DateTime,
}

/// Reads advisories, and tells the jobs of its queues.
pub(super) struct Advisories {
    bus: Bus,
    queues: Vec<Named>,
    config: Config,
    telling: Telling,
}

impl Advisories {
    pub(super) async fn open(bus: &Bus, queues: Vec<Named>) -> Result<Self, BusError> {
        let config = config(&bus.names().max_deliveries());
        bus.ensure_consumer(&bus.names().advisories, &config).await?;
        Ok(Self {
            bus: bus.clone(),
            queues,
            config,
            telling: Telling::default(),
        })
    }

    /// Reads until nobody listens any more.
    pub(super) async fn run(self, found: mpsc::Sender<Exhausted>) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while !found.is_closed() {
            match self.read(&found, &mut backoff).await {
                Ok(end) if end.is_expected() => continue,
                Ok(end) => tracing::debug!(%end, "asking for advisories anew"),
                Err(error) => tracing::warn!(%error, "cannot read the server's advisories; trying again"),
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    async fn read(&self, found: &mpsc::Sender<Exhausted>, backoff: &mut Backoff) -> Result<PullEnd, BusError> {
        let stream = &self.bus.names().advisories;
        self.bus.ensure_consumer(stream, &self.config).await?;
        let mut pull = Pull::open(&self.bus, stream, EXHAUSTED, 1).await?;
        loop {
            let message = match pull.next().await {
                Ok(message) => message,
                Err(end) => return Ok(end),
            };
            backoff.reset();
            if let Err(error) = self.on_advisory(message, found).await {
                tracing::debug!(%error, "an advisory could not be looked into and will come again");
            }
        }
    }

    async fn on_advisory(&self, message: Message, found: &mpsc::Sender<Exhausted>) -> Result<(), ApiError> {
        let Ok(advisory) = serde_json::from_slice::<Advisory>(&message.payload) else {
            tracing::warn!(subject = %message.subject, "an advisory that cannot be read is skipped");
            acknowledge(&message).await;
            return Ok(());
        };
        let Some(queue) = self.queues.iter().find(|queue| queue.consumer == advisory.consumer) else {
            pass_on(&message).await;
            return Ok(());
        };
        match self.given_up(queue, &advisory).await? {
            Some(stored) => self.tell(stored, message, found).await,
            None => acknowledge(&message).await,
        }
        Ok(())
    }

    /// The job that the advisory is about, if it is still there and still given up.
    async fn given_up(&self, queue: &Named, advisory: &Advisory) -> Result<Option<Stored>, ApiError> {
        let stored = self.bus.stored(Ask::Number(advisory.stream_seq)).await?;
        let Some(stored) = stored.filter(|stored| queue.holds(&stored.id.subject)) else {
            return Ok(None);
        };
        let Some(consumer) = self.bus.standing(&queue.consumer).await? else {
            return Ok(None);
        };
        let notice = Notice {
            sequence: advisory.stream_seq,
            told: advisory.timestamp,
        };
        Ok(is_given_up(notice, &stored.id, consumer).then_some(stored))
    }

    async fn tell(&self, stored: Stored, advisory: Message, found: &mpsc::Sender<Exhausted>) {
        let Some(told) = self.telling.begin(&stored.id) else {
            return;
        };
        match work_of(self.bus.subjects(), &stored.id.subject, &stored.body) {
            Ok(work) => {
                let exhausted = Exhausted::new(&self.bus, work, stored.id, advisory, told);
                // Whoever reads has gone: then another reader is told later.
                let _ = found.send(exhausted).await;
            }
            Err(reason) => {
                let subject = &stored.id.subject;
                tracing::warn!(subject, reason, "exhausted work that nobody can handle is removed");
                match self.bus.remove_message(&stored.id).await {
                    Ok(_) => acknowledge(&advisory).await,
                    Err(error) => tracing::debug!(subject, %error, "exhausted work stays; trying again"),
                }
            }
        }
    }
}

impl Bus {
    /// Returns how far a consumer of the work stream has come; `None` if it is not there.
    pub(super) async fn standing(&self, consumer: &str) -> Result<Option<Standing>, ApiError> {
        match self.consumer_info(&self.names().work, consumer).await {
            Ok(info) => Ok(Some(Standing {
                created: info.created,
                passed: info.delivered.stream_sequence,
                in_hand: info.num_ack_pending,
            })),
            Err(error) if matches!(error.code(), Some(code::CONSUMER_NOT_FOUND | code::STREAM_NOT_FOUND)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

async fn pass_on(advisory: &Message) {
    let deliveries = advisory.info().map_or(0, |info| info.delivered);
    let after = if deliveries < ROUND {
        PASSED_ON_AFTER
    } else {
        PASSED_ON_LATER
    };
    if let Err(error) = advisory.ack_with(AckKind::Nak(Some(after))).await {
        tracing::debug!(%error, "an advisory was not passed on and will come again");
    }
}

fn config(filter: &str) -> Config {
    pull::Config {
        durable_name: Some(EXHAUSTED.to_owned()),
        name: Some(EXHAUSTED.to_owned()),
        description: Some("holdfast: who files exhausted work".to_owned()),
        filter_subject: filter.to_owned(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ADVISORY_WAIT,
        max_deliver: -1,
        max_ack_pending: 256,
        ..pull::Config::default()
    }
    .into_consumer_config()
}
