//! Asking for a run, and answering those who ask.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subject};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use holdfast_events::{Refusal, Trigger, TriggerReply, decode, encode, encode_json};
use holdfast_fault::chain;
use holdfast_format::BusUser;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::connection::Bus;
use crate::error::{BusCause, BusError};
use crate::names::TRIGGER_GROUP;
use crate::trace;

/// Number of requests of one user that are in hand at once. Further ones are told to ask again, so that no user keeps
/// another waiting.
const AT_ONCE: usize = 8;
/// The time that requests in hand may take after a drain has begun.
const DRAIN: Duration = Duration::from_secs(10);

/// A request for a run, with the user of the bus who sent it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub user: BusUser,
    pub trigger: Trigger,
}

/// The answer to a request for a run.
pub enum Answer {
    /// The answer at once.
    Now(TriggerReply),
    /// The answer when the run has ended. Until then the request is not in hand any more, and takes nobody's place.
    AtEnd(BoxFuture<'static, TriggerReply>),
}

impl Bus {
    /// Asks for a run and waits for the answer.
    ///
    /// # Errors
    /// [`BusError::NobodyAnswers`] if no scheduler is connected; [`BusError::NotInTime`] if it does not answer within
    /// `timeout` (it may have started the run all the same); [`BusError::Reply`] if its answer is none.
    pub async fn request(&self, trigger: &Trigger, timeout: Duration) -> Result<TriggerReply, BusError> {
        // A server without users lets everybody do everything, as the operator may.
        let user = self.user().cloned().unwrap_or_else(BusUser::operator);
        self.ask(self.subjects().trigger(&user), trigger, timeout).await
    }

    /// Answers requests for runs until `drain` is cancelled; requests in hand are finished. Of several schedulers each
    /// request reaches one. Requests come in bincode or JSON and are answered in kind; what is neither is refused in
    /// JSON, without the handler. A message that no user sent as a request is passed over.
    ///
    /// # Errors
    /// [`BusError::Subscribe`] if the connection is closed; [`BusError::Closed`] if it closes later.
    pub async fn serve_triggers<F, Fut>(&self, handler: F, drain: CancellationToken) -> Result<(), BusError>
    where
        F: Fn(Asked) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        let subject = self.subjects().all_triggers();
        let subscribed = self
            .client()
            .queue_subscribe(subject.clone(), TRIGGER_GROUP.to_owned())
            .await;
        let mut requests = subscribed.map_err(|error| BusError::Subscribe {
            subject,
            source: BusCause::new(error),
        })?;
        let mut desk = Desk {
            bus: self.clone(),
            handler: Arc::new(handler),
            places: HashMap::new(),
            answering: JoinSet::new(),
        };
        loop {
            tokio::select! {
                biased;
                () = drain.cancelled() => break,
                Some(_) = desk.answering.join_next() => {}
                request = requests.next() => match request {
                    Some(request) => desk.take(request),
                    None => return Err(BusError::Closed),
                },
            }
        }
        let deadline = Instant::now() + DRAIN;
        // Requests that the server had sent already are answered too: their senders would wait in vain.
        if requests.drain().await.is_ok() {
            while let Ok(Some(request)) = tokio::time::timeout_at(deadline, requests.next()).await {
                desk.take(request);
            }
        }
        while let Ok(Some(_)) = tokio::time::timeout_at(deadline, desk.answering.join_next()).await {}
        Ok(())
    }

    /// Returns the user who sent a request for a run, and the inbox in which that user waits for the answer. None if the
    /// message does not prove both.
    ///
    /// The right to publish on a subject is no proof by itself: the server delivers what a stream holds to any subject
    /// that a reader names, whatever that reader may publish. Such a message keeps the subject that it was stored under,
    /// and the server puts a reply of its own in it; an answer of the server's API has no reply at all. A message whose
    /// subject and reply are those of one user was published by a client that may publish for this user.
    fn sender(&self, message: &Message) -> Option<(BusUser, Subject)> {
        let user = self.subjects().asker(&message.subject)?;
        let inbox = message.reply.clone()?;
        let of = |prefix: &str| {
            inbox
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.starts_with('.') && rest.len() > 1)
        };
        // Where this service has no name, nobody needs one.
        let is_open = self.user().is_none();
        (of(&user.inbox()) || (is_open && of("_INBOX"))).then_some((user, inbox))
    }
}

/// The requests that are being answered.
struct Desk<F> {
    bus: Bus,
    handler: Arc<F>,
    /// The places of the users who have requests in hand.
    places: HashMap<BusUser, Arc<Semaphore>>,
    answering: JoinSet<()>,
}

impl<F, Fut> Desk<F>
where
    F: Fn(Asked) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    /// Begins to answer a request.
    fn take(&mut self, message: Message) {
        let Some((user, inbox)) = self.bus.sender(&message) else {
            tracing::warn!(
                subject = %message.subject, reply = ?message.reply,
                "a message came as a request for a run, but no user sent it as one; it is passed over"
            );
            return;
        };
        let place = self.place(&user);
        let request = Request {
            bus: self.bus.clone(),
            inbox,
            is_json: message.payload.starts_with(b"{"),
        };
        self.answering
            .spawn(request.answer(user, message, self.handler.clone(), place));
    }

    /// Returns a place for a request of this user, if one is free.
    fn place(&mut self, user: &BusUser) -> Option<OwnedSemaphorePermit> {
        self.places.retain(|_, places| places.available_permits() < AT_ONCE);
        let places = self.places.entry(user.clone());
        let places = places.or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE)));
        places.clone().try_acquire_owned().ok()
    }
}

/// A request for a run that waits for its answer.
struct Request {
    bus: Bus,
    inbox: Subject,
    /// True if the answer is to be JSON, as the request was.
    is_json: bool,
}

impl Request {
    async fn answer<F, Fut>(
        mut self,
        user: BusUser,
        message: Message,
        handler: Arc<F>,
        place: Option<OwnedSemaphorePermit>,
    ) where
        F: Fn(Asked) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        let trigger = match decode::<Trigger>(&message.payload) {
            Ok(trigger) => trigger,
            Err(error) => {
                tracing::warn!(%user, error = %chain(&error), "a request for a run that cannot be read is refused");
                self.is_json = true;
                let refusal = Refusal::Invalid(chain(&error).to_string());
                return self.reply(&TriggerReply::Refused(refusal)).await;
            }
        };
        let Some(place) = place else {
            let why = format!("{AT_ONCE} requests of the user {user} are being answered");
            return self.reply(&TriggerReply::Refused(Refusal::AskAgain(why))).await;
        };
        let span = tracing::info_span!("trigger", %user);
        trace::set_parent(&span, message.headers.as_ref());
        // In a task of its own, so that whoever asked hears of a panic.
        let asked = Asked { user, trigger };
        let handled = tokio::spawn(async move { handler(asked).await }.instrument(span)).await;
        drop(place);
        let reply = match handled {
            Ok(Answer::Now(reply)) => reply,
            Ok(Answer::AtEnd(end)) => end.await,
            Err(_) => TriggerReply::Refused(Refusal::NotReady("the scheduler failed; see its log".to_owned())),
        };
        self.reply(&reply).await;
    }

    async fn reply(self, reply: &TriggerReply) {
        let encoded = if self.is_json {
            encode_json(reply)
        } else {
            encode(reply)
        };
        let body = match encoded {
            Ok(body) => body,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the answer to a request for a run cannot be sent");
                return;
            }
        };
        if let Err(error) = self.bus.client().publish(self.inbox, Bytes::from(body)).await {
            tracing::warn!(%error, "a request for a run could not be answered");
        }
    }
}
