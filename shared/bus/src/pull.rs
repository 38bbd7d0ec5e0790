//! Pulling messages from a consumer: one request at a time, and never trusting silence.
//!
//! The client's own message stream asks again after a reconnect without knowing whether its old request still stands. With
//! several readers of one consumer it can then hold two messages (the second one's time is running while nobody works on
//! it) or wait for one that was never asked for. Here every doubt ends the pull, and its owner opens a new one with a new
//! inbox: the server drops requests whose inbox nobody listens to.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::{StatusCode, Subscriber};
use futures::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::connection::Bus;
use crate::error::{BusCause, BusError};

/// The time for which a request stands, and the time after which a lost request is noticed.
#[derive(Clone, Copy)]
struct Pace {
    expires: Duration,
    heartbeat: Duration,
    /// Two heartbeats missed, and a little for the network.
    silence: Duration,
}

const BUSY: Pace = Pace {
    expires: Duration::from_secs(30),
    heartbeat: Duration::from_secs(5),
    silence: Duration::from_secs(12),
};

/// A request is lost in silence only with the node of a cluster that held it; every heartbeat wakes each process that waits.
const IDLE: Pace = Pace {
    expires: Duration::from_secs(120),
    heartbeat: Duration::from_secs(30),
    silence: Duration::from_secs(65),
};

/// The time after the last message from which a reader is idle.
const IDLE_AFTER: Duration = Duration::from_secs(60);

/// The end of a pull.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PullEnd {
    /// The consumer is not there, or refuses: look at it before asking again.
    #[error("the consumer does not serve us: {0}")]
    Gone(String),
    /// The server was silent for too long.
    #[error("the server is silent")]
    Silent,
    /// The connection was made anew, or a stream was: ask again at once.
    #[error("the connection was made anew")]
    Reconnected,
    /// The connection was closed for good.
    #[error("the connection is closed")]
    Closed,
}

impl PullEnd {
    /// Tells whether to ask again at once.
    pub(crate) fn is_expected(&self) -> bool {
        matches!(self, Self::Reconnected)
    }
}

/// A reader of one consumer.
pub(crate) struct Pull {
    bus: Bus,
    request_subject: String,
    inbox: String,
    subscriber: Subscriber,
    prompts: watch::Receiver<u64>,
    batch: usize,
    outstanding: usize,
    pace: Pace,
    heard: Instant,
    last_message: Instant,
}

impl Pull {
    /// Opens a reader that asks for `batch` messages at a time.
    pub(crate) async fn open(bus: &Bus, stream: &str, consumer: &str, batch: usize) -> Result<Self, BusError> {
        // Watched from before the first request on, so that no loss of it goes unnoticed.
        let prompts = bus.reconnected();
        let inbox = bus.client().new_inbox();
        let subscribed = bus.client().subscribe(inbox.clone()).await;
        let subscriber = subscribed.map_err(|error| BusError::Subscribe {
            subject: inbox.clone(),
            source: BusCause::new(error),
        })?;
        Ok(Self {
            bus: bus.clone(),
            request_subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            inbox,
            subscriber,
            prompts,
            batch,
            outstanding: 0,
            pace: BUSY,
            heard: Instant::now(),
            last_message: Instant::now(),
        })
    }

    /// The next message. Asks for more only when all that was asked for has come, so with a batch of 1 nothing is
    /// fetched ahead. May be cancelled; then only [`Pull::close`] may follow.
    pub(crate) async fn next(&mut self) -> Result<Message, PullEnd> {
        loop {
            if self.outstanding == 0 {
                self.ask().await?;
            }
            let message = tokio::select! {
                biased;
                message = self.subscriber.next() => message.ok_or(PullEnd::Closed)?,
                _ = self.prompts.changed() => return Err(PullEnd::Reconnected),
                () = tokio::time::sleep_until(self.heard + self.pace.silence) => return Err(PullEnd::Silent),
            };
            self.heard = Instant::now();
            let status = message.status.unwrap_or(StatusCode::OK);
            if status == StatusCode::OK {
                self.outstanding = self.outstanding.saturating_sub(1);
                self.last_message = self.heard;
                return Ok(Message {
                    message,
                    context: self.bus.jetstream().clone(),
                });
            }
            self.on_status(status, message.description.unwrap_or_default())?;
        }
    }

    fn on_status(&mut self, status: StatusCode, description: String) -> Result<(), PullEnd> {
        match status {
            StatusCode::IDLE_HEARTBEAT => Ok(()),
            StatusCode::TIMEOUT | StatusCode::NOT_FOUND => {
                self.outstanding = 0;
                Ok(())
            }
            StatusCode::NO_RESPONDERS => Err(PullEnd::Gone("no such consumer".to_owned())),
            _ => Err(PullEnd::Gone(description)),
        }
    }

    async fn ask(&mut self) -> Result<(), PullEnd> {
        self.pace = if self.last_message.elapsed() < IDLE_AFTER {
            BUSY
        } else {
            IDLE
        };
        let request = serde_json::json!({
            "batch": self.batch,
            "expires": self.pace.expires.as_nanos() as u64,
            "idle_heartbeat": self.pace.heartbeat.as_nanos() as u64,
        });
        let subject = self.request_subject.clone();
        let inbox = self.inbox.clone();
        let asked = self
            .bus
            .client()
            .publish_with_reply(subject, inbox, request.to_string().into());
        // While the connection is down the client's queue can be full; then this would wait without hearing of anything.
        match tokio::time::timeout(BUSY.silence, asked).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(PullEnd::Closed),
            Err(_) => return Err(PullEnd::Silent),
        }
        self.outstanding = self.batch;
        self.heard = Instant::now();
        Ok(())
    }

    /// Stops asking, and returns what the server had sent already: whoever closes must give it back.
    pub(crate) async fn close(mut self) -> Vec<Message> {
        let mut left = Vec::new();
        if self.subscriber.drain().await.is_err() {
            return left;
        }
        let deadline = Instant::now() + Duration::from_secs(1);
        while let Ok(Some(message)) = tokio::time::timeout_at(deadline, self.subscriber.next()).await {
            if message.status.is_none_or(|status| status == StatusCode::OK) {
                let context = self.bus.jetstream().clone();
                left.push(Message { message, context });
            }
        }
        left
    }
}
