//! Questions between services: request and reply, nothing kept.

use std::time::Duration;

use async_nats::RequestErrorKind;
use bytes::Bytes;
use futures::StreamExt;
use holdfast_events::{DockerAnswer, DockerAsk, Message, decode, encode};
use holdfast_format::Site;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::connection::Bus;
use crate::error::{BusCause, BusError};
use crate::publish::encoded;
use crate::trace;

/// Number of questions that are answered at once; more wait.
const AT_ONCE: usize = 32;

impl Bus {
    /// Asks the service that speaks to the Docker engine of `site`.
    ///
    /// # Errors
    /// [`BusError::NobodyAnswers`] if nobody does; [`BusError::NotInTime`]; [`BusError::Reply`] if the answer is none.
    pub async fn ask_docker(&self, site: &Site, ask: &DockerAsk, timeout: Duration) -> Result<DockerAnswer, BusError> {
        self.ask(self.subjects().ask_docker(site), ask, timeout).await
    }

    /// Sends a question, and waits for the first answer.
    pub(crate) async fn ask<Q: Message, A: Message>(
        &self,
        subject: String,
        question: &Q,
        timeout: Duration,
    ) -> Result<A, BusError> {
        let request = async_nats::Request::new()
            .payload(encoded(&subject, question)?)
            .headers(trace::headers())
            .timeout(Some(timeout));
        let answer = self.client().send_request(subject, request).await;
        let message = answer.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => BusError::NobodyAnswers,
            RequestErrorKind::TimedOut => BusError::NotInTime { timeout },
            _ => BusError::Request {
                source: BusCause::new(error),
            },
        })?;
        decode(&message.payload).map_err(|source| BusError::Reply { source })
    }

    /// Answers questions about the Docker engine of `site` until `drain` is cancelled. Of several that do, each question
    /// reaches one.
    ///
    /// # Errors
    /// [`BusError::Subscribe`] if the connection is closed; [`BusError::Closed`] if it closes later.
    pub async fn answer_docker<F, Fut>(&self, site: &Site, handler: F, drain: CancellationToken) -> Result<(), BusError>
    where
        F: Fn(DockerAsk) -> Fut + Send + Sync,
        Fut: Future<Output = DockerAnswer> + Send + 'static,
    {
        let subject = self.subjects().ask_docker(site);
        let subscribed = self
            .client()
            .queue_subscribe(subject.clone(), "docker".to_owned())
            .await;
        let mut questions = subscribed.map_err(|error| BusError::Subscribe {
            subject: subject.clone(),
            source: BusCause::new(error),
        })?;
        let mut answering = JoinSet::new();
        loop {
            if answering.len() >= AT_ONCE {
                answering.join_next().await;
            }
            let question = tokio::select! {
                biased;
                () = drain.cancelled() => return Ok(()),
                Some(_) = answering.join_next() => continue,
                question = questions.next() => question.ok_or(BusError::Closed)?,
            };
            let Some(inbox) = inbox_of(&question, &subject) else {
                tracing::warn!(subject = %question.subject, "a message that nobody sent as a question is passed over");
                continue;
            };
            let Ok(ask) = decode::<DockerAsk>(&question.payload) else {
                tracing::warn!("a question that cannot be read is passed over");
                continue;
            };
            let client = self.client().clone();
            let answer = handler(ask);
            answering.spawn(async move {
                let answer = encode(&answer.await).unwrap_or_default();
                if let Err(error) = client.publish(inbox, Bytes::from(answer)).await {
                    tracing::warn!(%error, "a question could not be answered");
                }
            });
        }
    }
}

/// Returns the inbox that a question is to be answered to. None if the question came around the right to publish it: as a
/// message of a stream, which keeps the subject that it was stored under; or if its answer would go to a subject of ours.
fn inbox_of(question: &async_nats::Message, subject: &str) -> Option<async_nats::Subject> {
    let inbox = question.reply.as_ref()?;
    let is_inbox = inbox.starts_with("_INBOX_") || inbox.starts_with("_INBOX.");
    (is_inbox && question.subject.as_str() == subject).then(|| inbox.clone())
}
