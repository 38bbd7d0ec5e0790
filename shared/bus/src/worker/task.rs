//! One job: a task of its own, a span of its own, signs of life, an answer.

use std::any::Any;
use std::time::Duration;

use async_nats::jetstream::{AckKind, Message};
use holdfast_events::Work;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, Span};

use super::lease::Lease;
use super::running::OngoingJob;
use super::{Delivery, Disposition, Worker};
use crate::trace;

/// The time after which a job whose handler panicked comes again: at once it would panic again.
const AFTER_PANIC: Duration = Duration::from_secs(30);

/// The time that a handler gets after `lost` was cancelled by a drain, to leave things as they should be.
const LAST_MOMENT: Duration = Duration::from_secs(1);

impl Worker {
    pub(super) async fn do_job(&self, work: Work, message: Message, lease: Lease, job: OngoingJob) {
        let count = message
            .info()
            .map_or(1, |info| u64::try_from(info.delivered).unwrap_or(1));
        let delivery = Delivery {
            count,
            lost: CancellationToken::new(),
        };
        let span = job_span(&work, &delivery, &message);
        async {
            let disposition = self.have_done(work, delivery, &lease).await;
            tracing::debug!(?disposition, "job answered");
            match disposition {
                Disposition::Done => drop(lease.answer(AckKind::Ack, &self.overdue).await),
                Disposition::RetryAfter(delay) => {
                    let delay = (!delay.is_zero()).then_some(delay);
                    lease.answer(AckKind::Nak(delay), &self.overdue).await;
                }
                Disposition::Park(reason) => {
                    tracing::warn!(subject = %message.subject, reason, "a job that cannot be done is parked");
                    self.park(&message, &lease, &reason).await;
                }
            }
        }
        .instrument(span)
        .await;
        // Only now: until the server has heard the answer it may deliver the job again, to a slot of ours as well.
        drop(job);
    }

    /// Runs the handler to its end, or until the time to drain is over.
    async fn have_done(&self, work: Work, delivery: Delivery, lease: &Lease) -> Disposition {
        let lost = delivery.lost.clone();
        let every = self.options.progress_every.min(self.options.ack_wait / 3);
        let keep = lease.clone().keep(every, self.options.ack_wait, lost.clone());
        let _keeping = AbortOnDropHandle::new(tokio::spawn(keep));
        let handler = self.handler.clone();
        let handling = async move { handler.handle(work, &delivery).await };
        let mut task = AbortOnDropHandle::new(tokio::spawn(handling.instrument(Span::current())));
        tokio::select! {
            outcome = &mut task => return of_outcome(outcome),
            () = self.overdue.cancelled() => {}
        }
        lost.cancel();
        match tokio::time::timeout(LAST_MOMENT, &mut task).await {
            Ok(outcome) => of_outcome(outcome),
            Err(_) => {
                tracing::warn!("a job is given back unfinished, as the worker stops");
                Disposition::RetryAfter(Duration::ZERO)
            }
        }
    }
}

fn job_span(work: &Work, delivery: &Delivery, message: &Message) -> Span {
    let span = tracing::info_span!(
        "work",
        otel.name = %work.stage(),
        stage = %work.stage(),
        run = %work.run,
        artefact = tracing::field::Empty,
        delivery = delivery.count,
    );
    if let Some(artefact) = work.artefact() {
        span.record("artefact", tracing::field::display(artefact));
    }
    trace::set_parent(&span, message.headers.as_ref());
    span
}

fn of_outcome(outcome: Result<Disposition, JoinError>) -> Disposition {
    match outcome {
        Ok(disposition) => disposition,
        Err(error) => {
            let panic = error
                .try_into_panic()
                .map_or_else(|_| "aborted".to_owned(), |panic| panic_text(&*panic));
            tracing::error!(panic, "the handler of a job panicked; the job comes again");
            Disposition::RetryAfter(AFTER_PANIC)
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}
