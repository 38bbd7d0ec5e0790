//! Reading facts: those of one run for people, all of them for the record.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Config, DeliverPolicy, IntoConsumerConfig, pull};
use async_nats::jetstream::stream::Info;
use holdfast_events::Fact;
use holdfast_fault::Retryable as _;
use holdfast_format::RunId;
use tokio::sync::mpsc;

use crate::backoff::Backoff;
use crate::connection::Bus;
use crate::content::fact_of;
use crate::error::BusError;
use crate::feed::Feed;
use crate::pull::{Pull, PullEnd};

const BATCH: usize = 128;
const AHEAD: usize = 128;
/// The time after which the server removes the consumer of a reader that is gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

impl Bus {
    /// Follows all facts of a run from its beginning, then those to come, without end. Survives the loss of the
    /// connection and of the stream; after the latter, facts that are told again come again. A message that is no fact,
    /// or that stands under another subject than its content has, is passed over with a warning.
    ///
    /// # Errors
    /// The first look at the stream failed. Later the stream ends with an error only if trying again cannot help.
    pub async fn facts(&self, run: RunId) -> Result<Feed<Result<Fact, BusError>>, BusError> {
        let mut follower = Follower {
            bus: self.clone(),
            filters: self.subjects().facts_of(run).to_vec(),
            created: None,
            last: 0,
        };
        let first = follower.open().await?;
        Ok(Feed::new(AHEAD, move |facts| follower.run(first, facts)))
    }

    /// Follows the facts of all runs from now on, without end, for every reader that asks. Survives the same losses as
    /// [`Bus::facts`].
    ///
    /// # Errors
    /// The first look at the stream failed.
    pub async fn new_facts(&self) -> Result<Feed<Result<Fact, BusError>>, BusError> {
        let filters = vec![self.subjects().all_facts()];
        let mut follower = Follower {
            bus: self.clone(),
            filters,
            created: None,
            last: 0,
        };
        follower.skip_to_end().await?;
        let first = follower.open().await?;
        Ok(Feed::new(AHEAD, move |facts| follower.run(first, facts)))
    }
}

/// Reads the stream in order through consumers that live as long as one pull, and knows where it was.
struct Follower {
    bus: Bus,
    filters: Vec<String>,
    /// The creation time of the stream. Another time means that it is another stream.
    created: Option<String>,
    last: u64,
}

impl Follower {
    async fn run(mut self, first: Pull, facts: mpsc::Sender<Result<Fact, BusError>>) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut opened: Result<Pull, BusError> = Ok(first);
        while !facts.is_closed() {
            match opened {
                Ok(pull) => {
                    let before = self.last;
                    let end = self.read(pull, &facts).await;
                    if self.last > before {
                        backoff.reset();
                    }
                    if !end.is_expected() {
                        tokio::time::sleep(backoff.next()).await;
                    }
                }
                Err(error) if !error.retry().is_later() => {
                    let _ = facts.send(Err(error)).await;
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot read facts; trying again");
                    tokio::time::sleep(backoff.next()).await;
                }
            }
            opened = self.open().await;
        }
    }

    /// Moves behind the last message of the stream.
    async fn skip_to_end(&mut self) -> Result<(), BusError> {
        let info = self.info().await?;
        self.last = info.state.last_sequence;
        self.created = Some(info.created.to_string());
        Ok(())
    }

    async fn info(&self) -> Result<Info, BusError> {
        let stream = &self.bus.names().events;
        let info = self.bus.api(format!("STREAM.INFO.{stream}"), &()).await;
        info.map_err(|source| BusError::Topology {
            stream: stream.clone(),
            source,
        })
    }

    async fn open(&mut self) -> Result<Pull, BusError> {
        let stream = self.bus.names().events.clone();
        let created = self.info().await?.created.to_string();
        if self.created.as_ref().is_some_and(|known| *known != created) {
            tracing::warn!(
                stream,
                "the stream is another one than before; reading it from its beginning"
            );
            self.last = 0;
        }
        self.created = Some(created);
        let name = format!("facts-{}", uuid::Uuid::new_v4().simple());
        let config = self.config(&name);
        let made = self.bus.create_consumer(&stream, &name, &config).await;
        made.map_err(|source| BusError::Consumer {
            stream: stream.clone(),
            consumer: name.clone(),
            source,
        })?;
        Pull::open(&self.bus, &stream, &name, BATCH).await
    }

    fn config(&self, name: &str) -> Config {
        pull::Config {
            name: Some(name.to_owned()),
            ack_policy: AckPolicy::None,
            filter_subjects: self.filters.clone(),
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.last + 1,
            },
            inactive_threshold: FORGOTTEN_AFTER,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        }
        .into_consumer_config()
    }

    /// Reads until the pull ends or a message is missing: each comes with its number, from 1 for a new consumer.
    async fn read(&mut self, mut pull: Pull, facts: &mpsc::Sender<Result<Fact, BusError>>) -> PullEnd {
        let mut number = 0;
        loop {
            let message = match pull.next().await {
                Ok(message) => message,
                Err(end) => return end,
            };
            let Ok(info) = message.info() else { continue };
            number += 1;
            if info.consumer_sequence != number {
                return PullEnd::Gone("a message was lost".to_owned());
            }
            self.last = info.stream_sequence;
            let fact = match fact_of(self.bus.subjects(), &message.subject, &message.payload) {
                Ok(fact) => fact,
                Err(reason) => {
                    tracing::warn!(subject = %message.subject, reason, "a message among the facts is passed over");
                    continue;
                }
            };
            if facts.send(Ok(fact)).await.is_err() {
                return PullEnd::Closed;
            }
        }
    }
}
