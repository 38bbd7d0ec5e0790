//! Publishing work and facts, confirmed.

use std::error::Error as _;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_events::{Fact, Message, Work, encode};
use holdfast_fault::{Retry, Retryable as _};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::code;
use crate::connection::Bus;
use crate::error::{BusCause, BusError};
use crate::trace;

/// The time that a publish is tried. A server that restarts is back well within it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Number of publishes on their way at once.
const IN_FLIGHT: usize = 64;

/// The place of a published job in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// The job was not in the queue before.
    New,
    /// The job was in the queue already, waiting or being done.
    AlreadyThere,
}

impl Bus {
    /// Puts a job into the queue and waits until the server confirms that it has it. A job that is there already is
    /// success. Tries again for half a minute where that can help; publishing the same job again is harmless.
    ///
    /// # Errors
    /// [`BusError::Publish`], [`BusError::Full`], [`BusError::Encode`].
    pub async fn publish_work(&self, work: &Work) -> Result<Queued, BusError> {
        let subject = self.subjects().work(work);
        let body = encoded(&subject, work)?;
        self.publish_confirmed(&self.names().work, &subject, trace::headers(), body)
            .await
    }

    /// Puts jobs into the queue, many at once, and waits until the server confirms all of them.
    ///
    /// # Errors
    /// As [`Bus::publish_work`], of the first that failed; others may or may not be in the queue.
    pub async fn publish_works(&self, works: &[Work]) -> Result<(), BusError> {
        // Owned items: a borrowed one would tie the future to one lifetime, which a spawned task cannot have.
        stream::iter(works.to_vec())
            .map(|work| async move { self.publish_work(&work).await })
            .buffer_unordered(IN_FLIGHT)
            .try_for_each(async |_| Ok(()))
            .await
    }

    /// Tells a fact, and waits until the server confirms that it has it.
    ///
    /// # Errors
    /// [`BusError::Publish`]; [`BusError::Encode`] if it is too large for a message.
    pub async fn publish_fact(&self, fact: &Fact) -> Result<(), BusError> {
        let subject = self.subjects().fact(fact);
        let body = encoded(&subject, fact)?;
        let mut headers = trace::headers();
        // A publish whose answer was lost is tried again; the id keeps the second copy out.
        headers.insert(
            async_nats::header::NATS_MESSAGE_ID,
            uuid::Uuid::new_v4().simple().to_string(),
        );
        self.publish_confirmed(&self.names().events, &subject, headers, body)
            .await?;
        Ok(())
    }

    /// Tells facts, many at once, and waits until the server confirms all of them.
    ///
    /// # Errors
    /// As [`Bus::publish_fact`], of the first that failed.
    pub async fn publish_facts(&self, facts: &[Fact]) -> Result<(), BusError> {
        stream::iter(facts.to_vec())
            .map(|fact| async move { self.publish_fact(&fact).await })
            .buffered(IN_FLIGHT)
            .try_for_each(async |()| Ok(()))
            .await
    }

    /// Publishes until the server confirms, refuses for good, or patience ends.
    pub(crate) async fn publish_confirmed(
        &self,
        stream: &str,
        subject: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Queued, BusError> {
        let deadline = Instant::now() + PATIENCE;
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        loop {
            self.wait_connected(deadline).await;
            let message = PublishMessage::build()
                .payload(body.clone())
                .headers(headers.clone())
                .expected_stream(stream);
            let failure = match self.publish_once(subject, message).await {
                Ok(()) => return Ok(Queued::New),
                Err(failure) => failure,
            };
            let verdict = judge(&failure);
            match verdict {
                Verdict::AlreadyThere => return Ok(Queued::AlreadyThere),
                Verdict::Full => {
                    return Err(BusError::Full {
                        stream: stream.to_owned(),
                    });
                }
                Verdict::Refused => return Err(publish_error(subject, Retry::Never, failure)),
                Verdict::NoStream | Verdict::Passing => {}
            }
            let delay = backoff.next();
            if Instant::now() + delay >= deadline {
                return Err(publish_error(subject, Retry::Later, failure));
            }
            if matches!(verdict, Verdict::NoStream) {
                tracing::warn!(stream, "no stream takes the message; setting the streams up again");
                if let Err(error) = self.ensure_topology().await
                    && !error.retry().is_later()
                {
                    return Err(error);
                }
            }
            tracing::debug!(subject, error = %failure, "publish failed, trying again");
            tokio::time::sleep(delay).await;
        }
    }

    async fn publish_once(&self, subject: &str, message: PublishMessage) -> Result<(), PublishError> {
        self.jetstream()
            .send_publish(subject.to_owned(), message)
            .await?
            .await?;
        Ok(())
    }
}

pub(crate) fn encoded<T: Message>(subject: &str, message: &T) -> Result<Bytes, BusError> {
    encode(message).map(Bytes::from).map_err(|source| BusError::Encode {
        subject: subject.to_owned(),
        source,
    })
}

fn publish_error(subject: &str, retry: Retry, source: PublishError) -> BusError {
    BusError::Publish {
        subject: subject.to_owned(),
        retry,
        source: BusCause::new(source),
    }
}

enum Verdict {
    AlreadyThere,
    Full,
    NoStream,
    Passing,
    Refused,
}

fn judge(error: &PublishError) -> Verdict {
    match error.kind() {
        PublishErrorKind::StreamNotFound => Verdict::NoStream,
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe | PublishErrorKind::MaxAckPending => Verdict::Passing,
        PublishErrorKind::MaxPayloadExceeded
        | PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence => Verdict::Refused,
        PublishErrorKind::Other => match error.source().and_then(|s| s.downcast_ref::<jetstream::Error>()) {
            Some(refusal) => judge_refusal(refusal),
            None => Verdict::Passing,
        },
    }
}

/// One code stands for every way in which storing fails, so the text has to be read as well.
fn judge_refusal(refusal: &jetstream::Error) -> Verdict {
    let text = refusal.to_string();
    match refusal.error_code().0 {
        code::STORE_FAILED if text.contains("messages per subject") => Verdict::AlreadyThere,
        code::STORE_FAILED if text.contains("maximum") => Verdict::Full,
        _ if refusal.code() >= 500 => Verdict::Passing,
        _ => Verdict::Refused,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refusal(code: u64, status: u16, text: &str) -> jetstream::Error {
        serde_json::from_value(serde_json::json!({"code": status, "err_code": code, "description": text})).unwrap()
    }

    #[test]
    fn a_full_stream_is_not_mistaken_for_a_job_that_waits() {
        let there = refusal(10077, 503, "maximum messages per subject exceeded");
        assert!(matches!(judge_refusal(&there), Verdict::AlreadyThere));
        assert!(matches!(
            judge_refusal(&refusal(10077, 503, "maximum bytes exceeded")),
            Verdict::Full
        ));
        assert!(matches!(
            judge_refusal(&refusal(10023, 503, "insufficient resources")),
            Verdict::Passing
        ));
        assert!(matches!(
            judge_refusal(&refusal(10054, 400, "message size exceeds maximum allowed")),
            Verdict::Refused
        ));
    }
}
