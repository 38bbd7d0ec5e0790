//! Work whose deliveries ran out.
//!
//! The server keeps such a message in the work stream but delivers it no more, and says so once, in an advisory. Those are
//! kept by a stream; but the consumer that reads it can be lost with its store, so the work stream is swept as well.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Config, IntoConsumerConfig, pull};
use async_nats::jetstream::{Message, consumer};
use bytes::Bytes;
use holdfast_events::{Work, WorkStage, decode};
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::api::{ApiError, code};
use crate::backoff::Backoff;
use crate::connection::Bus;
use crate::error::BusError;
use crate::feed::Feed;
use crate::names::EXHAUSTED;
use crate::pull::{Pull, PullEnd};

const SWEEP_EVERY: Duration = Duration::from_secs(60);
const ADVISORY_WAIT: Duration = Duration::from_secs(60);

/// A job that the server has given up. It stays in the queue, and keeps the same job out of it, until [`Exhausted::remove`].
/// Dropped without that it is told again.
#[derive(Debug)]
pub struct Exhausted {
    /// The job.
    pub work: Work,
    /// Its number in the work stream.
    pub stream_sequence: u64,
    /// Its stage.
    pub stage: WorkStage,
    bus: Bus,
    subject: String,
    advisory: Option<Message>,
    _told: Told,
}

impl Exhausted {
    /// Takes it from the queue. To be called once its failure is filed.
    ///
    /// # Errors
    /// [`BusError::Remove`]; then it is told again later.
    pub async fn remove(self) -> Result<(), BusError> {
        self.bus.remove_message(self.stream_sequence, &self.subject).await?;
        if let Some(advisory) = &self.advisory {
            acknowledge(advisory).await;
        }
        Ok(())
    }
}

/// What is with the caller now.
#[derive(Clone, Debug, Default)]
struct Telling(Arc<Mutex<HashSet<(u64, String)>>>);

#[derive(Debug)]
struct Told {
    telling: Telling,
    key: (u64, String),
}

impl Telling {
    fn begin(&self, sequence: u64, subject: &str) -> Option<Told> {
        let key = (sequence, subject.to_owned());
        let new = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.clone());
        new.then(|| Told {
            telling: self.clone(),
            key,
        })
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.telling
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
    }
}

#[derive(Deserialize)]
struct Advisory {
    consumer: String,
    stream_seq: u64,
    timestamp: String,
}

/// A message as it stands in the work stream.
struct Stored {
    sequence: u64,
    subject: String,
    body: Bytes,
}

impl Bus {
    /// Jobs that the server has given up, as they are found: through its advisories at once, and by a sweep at start and
    /// every minute. The sweep can tell them from jobs in hand only while a consumer has none in hand. Of several replicas
    /// more than one may be told of the same job.
    ///
    /// # Errors
    /// The server refuses the consumer.
    pub async fn exhausted(&self) -> Result<Feed<Exhausted>, BusError> {
        let config = advisory_config(&self.names().max_deliveries());
        self.ensure_consumer(&self.names().advisories, &config).await?;
        let bus = self.clone();
        Ok(Feed::new(1, move |found| async move {
            let finder = Finder {
                bus,
                telling: Telling::default(),
                found,
            };
            tokio::join!(finder.read_advisories(&config), finder.sweep());
        }))
    }

    async fn stored(&self, request: serde_json::Value) -> Result<Option<Stored>, ApiError> {
        #[derive(Deserialize)]
        struct Got {
            message: Raw,
        }
        #[derive(Deserialize)]
        struct Raw {
            subject: String,
            seq: u64,
            #[serde(default)]
            data: String,
        }
        let got = self
            .api::<_, Got>(format!("STREAM.MSG.GET.{}", self.names().work), &request)
            .await;
        match got {
            Ok(Got { message }) => Ok(Some(Stored {
                sequence: message.seq,
                subject: message.subject,
                body: unwrapped(&message.data),
            })),
            Err(error) if matches!(error.code(), Some(code::NO_MESSAGE | code::STREAM_NOT_FOUND)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes the message if it is still the one that is meant: a stream that was made anew counts from 1 again.
    async fn remove_message(&self, sequence: u64, subject: &str) -> Result<(), BusError> {
        let stream = &self.names().work;
        let failed = |source| BusError::Remove {
            stream: stream.clone(),
            sequence,
            source,
        };
        let stored = self
            .stored(serde_json::json!({ "seq": sequence }))
            .await
            .map_err(failed)?;
        if stored.is_none_or(|stored| stored.subject != subject) {
            return Ok(());
        }
        let request = serde_json::json!({ "seq": sequence, "no_erase": true });
        let deleted = self
            .api::<_, serde_json::Value>(format!("STREAM.MSG.DELETE.{stream}"), &request)
            .await;
        match deleted {
            Err(error) if !matches!(error.code(), Some(code::NO_MESSAGE | code::SEQUENCE_NOT_FOUND)) => {
                Err(failed(error))
            }
            _ => Ok(()),
        }
    }
}

fn unwrapped(base64: &str) -> Bytes {
    use base64::Engine;
    // What the server wraps it also unwraps; an empty body is no work, and is treated as such.
    let body = base64::engine::general_purpose::STANDARD.decode(base64);
    body.unwrap_or_default().into()
}

async fn acknowledge(advisory: &Message) {
    if let Err(error) = advisory.ack().await {
        tracing::debug!(%error, "an advisory was not acknowledged and will come again");
    }
}

fn advisory_config(filter: &str) -> Config {
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

/// Finds exhausted work and tells of it.
struct Finder {
    bus: Bus,
    telling: Telling,
    found: mpsc::Sender<Exhausted>,
}

impl Finder {
    async fn read_advisories(&self, config: &Config) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while !self.found.is_closed() {
            match self.read_once(config, &mut backoff).await {
                Ok(end) if end.is_expected() => continue,
                Ok(end) => tracing::debug!(%end, "asking for advisories anew"),
                Err(error) => tracing::warn!(%error, "cannot read the server's advisories; trying again"),
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    async fn read_once(&self, config: &Config, backoff: &mut Backoff) -> Result<PullEnd, BusError> {
        let stream = &self.bus.names().advisories;
        self.bus.ensure_consumer(stream, config).await?;
        let mut pull = Pull::open(&self.bus, stream, EXHAUSTED, 1).await?;
        loop {
            let message = match pull.next().await {
                Ok(message) => message,
                Err(end) => return Ok(end),
            };
            backoff.reset();
            if let Err(error) = self.on_advisory(message).await {
                tracing::debug!(%error, "an advisory could not be looked into and will come again");
            }
        }
    }

    async fn on_advisory(&self, message: Message) -> Result<(), ApiError> {
        let Ok(advisory) = serde_json::from_slice::<Advisory>(&message.payload) else {
            tracing::warn!(subject = %message.subject, "an advisory that cannot be read is skipped");
            acknowledge(&message).await;
            return Ok(());
        };
        let stored = self
            .bus
            .stored(serde_json::json!({ "seq": advisory.stream_seq }))
            .await?;
        match stored {
            Some(stored) if self.still_holds(&advisory).await? => self.tell(stored, Some(message)).await,
            _ => acknowledge(&message).await,
        }
        Ok(())
    }

    /// A consumer, or a stream, that was made after the advisory delivers everything anew.
    async fn still_holds(&self, advisory: &Advisory) -> Result<bool, ApiError> {
        let info = match self.bus.consumer_info(&self.bus.names().work, &advisory.consumer).await {
            Ok(info) => info,
            Err(error) if matches!(error.code(), Some(code::CONSUMER_NOT_FOUND | code::STREAM_NOT_FOUND)) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let told = async_nats::datetime::parse_rfc3339(&advisory.timestamp);
        let newer = told.is_ok_and(|told| info.created > told);
        Ok(!newer && info.delivered.stream_sequence >= advisory.stream_seq)
    }

    async fn sweep(&self) {
        while !self.found.is_closed() {
            match self.sweep_once().await {
                Ok(()) => {}
                Err(error) if error.code() == Some(code::STREAM_NOT_FOUND) => {}
                Err(error) => tracing::debug!(%error, "the work stream could not be swept; trying again"),
            }
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    }

    async fn sweep_once(&self) -> Result<(), ApiError> {
        for consumer in self.consumers().await? {
            // What is in hand looks just like what was given up, so this waits for a moment without.
            if consumer.num_ack_pending > 0 || consumer.delivered.stream_sequence == 0 {
                continue;
            }
            self.sweep_consumer(&consumer).await?;
        }
        Ok(())
    }

    /// With nothing in hand, what was delivered and is still there was given up.
    async fn sweep_consumer(&self, consumer: &consumer::Info) -> Result<(), ApiError> {
        let mut from = 1;
        loop {
            let request = serde_json::json!({ "seq": from, "next_by_subj": consumer.config.filter_subject });
            let Some(stored) = self.bus.stored(request).await? else {
                return Ok(());
            };
            if stored.sequence > consumer.delivered.stream_sequence {
                return Ok(());
            }
            from = stored.sequence + 1;
            self.tell(stored, None).await;
        }
    }

    async fn consumers(&self) -> Result<Vec<consumer::Info>, ApiError> {
        #[derive(Deserialize)]
        struct Page {
            total: usize,
            #[serde(default)]
            consumers: Option<Vec<consumer::Info>>,
        }
        let mut all: Vec<consumer::Info> = Vec::new();
        loop {
            let subject = format!("CONSUMER.LIST.{}", self.bus.names().work);
            let page: Page = self
                .bus
                .api(subject, &serde_json::json!({ "offset": all.len() }))
                .await?;
            let consumers = page.consumers.unwrap_or_default();
            if consumers.is_empty() {
                return Ok(all);
            }
            all.extend(consumers);
            if all.len() >= page.total {
                return Ok(all);
            }
        }
    }

    async fn tell(&self, stored: Stored, advisory: Option<Message>) {
        let Some(told) = self.telling.begin(stored.sequence, &stored.subject) else {
            return;
        };
        let work: Work = match decode(&stored.body) {
            Ok(work) => work,
            Err(error) => {
                tracing::warn!(subject = stored.subject, %error, "exhausted work that cannot be read is removed");
                match self.bus.remove_message(stored.sequence, &stored.subject).await {
                    Ok(()) => {
                        if let Some(advisory) = &advisory {
                            acknowledge(advisory).await;
                        }
                    }
                    Err(error) => tracing::debug!(%error, "it could not be removed; trying again"),
                }
                return;
            }
        };
        let stage = work.stage();
        let exhausted = Exhausted {
            work,
            stream_sequence: stored.sequence,
            stage,
            bus: self.bus.clone(),
            subject: stored.subject,
            advisory,
            _told: told,
        };
        // Whoever reads has gone: then another reader is told later.
        let _ = self.found.send(exhausted).await;
    }
}
