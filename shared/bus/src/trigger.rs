//! Asking for a run, and answering those who ask.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use bytes::Bytes;
use futures::StreamExt;
use holdfast_events::{Refusal, Trigger, TriggerReply, decode, encode, encode_json};
use holdfast_fault::chain;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::connection::Bus;
use crate::error::{BusCause, BusError};
use crate::names::TRIGGER_GROUP;
use crate::trace;

/// Number of requests that are answered at once; more wait.
const AT_ONCE: usize = 32;
/// The time that requests in hand may take after a drain has begun.
const DRAIN: Duration = Duration::from_secs(10);

impl Bus {
    /// Asks for a run and waits for the answer.
    ///
    /// # Errors
    /// [`BusError::NobodyAnswers`] if no scheduler is connected; [`BusError::NotInTime`] if it does not answer within
    /// `timeout` (it may have started the run all the same); [`BusError::Reply`] if its answer is none.
    pub async fn request(&self, trigger: &Trigger, timeout: Duration) -> Result<TriggerReply, BusError> {
        self.ask(self.subjects().trigger(), trigger, timeout).await
    }

    /// Answers requests for runs until `drain` is cancelled; requests in hand are finished. Of several schedulers each
    /// request reaches one. Requests come in bincode or JSON and are answered in kind; what is neither is refused in
    /// JSON, without the handler.
    ///
    /// # Errors
    /// [`BusError::Subscribe`] if the connection is closed; [`BusError::Closed`] if it closes later.
    pub async fn serve_triggers<F, Fut>(&self, handler: F, drain: CancellationToken) -> Result<(), BusError>
    where
        F: Fn(Trigger) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = TriggerReply> + Send + 'static,
    {
        let subject = self.subjects().trigger();
        let subscribed = self
            .client()
            .queue_subscribe(subject.clone(), TRIGGER_GROUP.to_owned())
            .await;
        let mut requests = subscribed.map_err(|error| BusError::Subscribe {
            subject,
            source: BusCause::new(error),
        })?;
        let handler = Arc::new(handler);
        let mut answering = JoinSet::new();
        loop {
            if answering.len() >= AT_ONCE {
                answering.join_next().await;
            }
            tokio::select! {
                biased;
                () = drain.cancelled() => break,
                Some(_) = answering.join_next() => {}
                request = requests.next() => match request {
                    Some(request) => drop(answering.spawn(self.clone().answer(request, handler.clone()))),
                    None => return Err(BusError::Closed),
                },
            }
        }
        let deadline = Instant::now() + DRAIN;
        // Requests that the server had sent already are answered too: their senders would wait in vain.
        if requests.drain().await.is_ok() {
            while let Ok(Some(request)) = tokio::time::timeout_at(deadline, requests.next()).await {
                answering.spawn(self.clone().answer(request, handler.clone()));
            }
        }
        while let Ok(Some(_)) = tokio::time::timeout_at(deadline, answering.join_next()).await {}
        Ok(())
    }

    async fn answer<F, Fut>(self, request: Message, handler: Arc<F>)
    where
        F: Fn(Trigger) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = TriggerReply> + Send + 'static,
    {
        let span = tracing::info_span!("trigger");
        trace::set_parent(&span, request.headers.as_ref());
        let (reply, json) = match decode::<Trigger>(&request.payload) {
            Ok(trigger) => {
                // In a task of its own, so that whoever asked hears of a panic.
                let handled = tokio::spawn(async move { handler(trigger).await }.instrument(span));
                let failed =
                    |_| TriggerReply::Refused(Refusal::NotReady("the scheduler failed; see its log".to_owned()));
                (handled.await.unwrap_or_else(failed), request.payload.starts_with(b"{"))
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "a request for a run that cannot be read is refused");
                (TriggerReply::Refused(Refusal::Invalid(chain(&error).to_string())), true)
            }
        };
        let encoded = if json { encode_json(&reply) } else { encode(&reply) };
        let (Some(inbox), Ok(body)) = (request.reply, encoded) else {
            return;
        };
        if let Err(error) = self.client().publish(inbox, Bytes::from(body)).await {
            tracing::warn!(%error, "a request for a run could not be answered");
        }
    }
}
