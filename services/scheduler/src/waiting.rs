//! Requesters who wait for the end of a run. One look at the repository serves all who wait for the same run, and
//! waiting takes no place of other requests.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_events::{Refusal, TriggerReply};
use holdfast_format::{BusUser, RunId};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The number of requests of one user that wait for the same run. Nobody tells when a requester is gone, so one more
/// takes the place of the user's own oldest: whoever asks again is served, and nobody else is shut out.
const EACH: usize = 8;

/// The longest time that a request waits: as long as the server lets its answer through (`allow_responses` in
/// deploy/nats/users.conf).
const LONGEST: Duration = Duration::from_secs(12 * 3_600);

/// A request that waits.
struct Waiter {
    user: BusUser,
    until: Instant,
    answer: oneshot::Sender<TriggerReply>,
}

/// All requests that wait, by the run that they wait for.
#[derive(Default)]
pub(crate) struct Waiting(Mutex<BTreeMap<RunId, Vec<Waiter>>>);

impl Waiting {
    /// Waits for the end of a run.
    pub(crate) async fn end_of(&self, run: RunId, user: BusUser) -> TriggerReply {
        let (answer, end) = oneshot::channel();
        let waiter = Waiter {
            user,
            until: Instant::now() + LONGEST,
            answer,
        };
        self.add(run, waiter);
        let late = |_| {
            again(format!(
                "run {run} has not ended for {} hours",
                LONGEST.as_secs() / 3_600
            ))
        };
        end.await.unwrap_or_else(late)
    }

    fn add(&self, run: RunId, waiter: Waiter) {
        let mut all = self.lock();
        let waiters = all.entry(run).or_default();
        let own = waiters.iter().filter(|other| other.user == waiter.user).count();
        if own >= EACH
            && let Some(oldest) = waiters.iter().position(|other| other.user == waiter.user)
        {
            let why = format!("{EACH} later requests of {} wait for run {run}", waiter.user);
            let _ = waiters.remove(oldest).answer.send(again(why));
        }
        waiters.push(waiter);
    }

    /// Returns the runs that somebody waits for. Those who have waited too long are sent away first.
    pub(crate) fn runs(&self) -> Vec<RunId> {
        let now = Instant::now();
        let mut all = self.lock();
        all.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.answer.is_closed() && waiter.until > now);
            !waiters.is_empty()
        });
        all.keys().copied().collect()
    }

    /// Answers everybody who waits for this run.
    pub(crate) fn tell(&self, run: RunId, reply: &TriggerReply) {
        for waiter in self.lock().remove(&run).unwrap_or_default() {
            let _ = waiter.answer.send(reply.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, Vec<Waiter>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn again(why: String) -> TriggerReply {
    TriggerReply::Refused(Refusal::AskAgain(format!("{why}: ask again with this run's id")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use tokio::task::JoinHandle;

    use super::*;

    fn run(number: u64) -> RunId {
        RunId::new(number, [0; 10])
    }

    fn finished(run: RunId) -> TriggerReply {
        TriggerReply::Finished {
            run,
            complete: true,
            failures: Vec::new(),
        }
    }

    /// Lets one more request wait, and returns when it does.
    async fn waits(all: &Arc<Waiting>, number: u64, user: &str) -> JoinHandle<TriggerReply> {
        let waiting = all.clone();
        let user = BusUser::new(user);
        let task = tokio::spawn(async move { waiting.end_of(run(number), user).await });
        // On one thread, the task runs up to where it waits.
        tokio::task::yield_now().await;
        task
    }

    #[tokio::test]
    async fn all_who_wait_for_a_run_hear_of_its_end() {
        let all = Arc::new(Waiting::default());
        let one = waits(&all, 1, "gate").await;
        let other = waits(&all, 1, "operator").await;
        let later = waits(&all, 2, "gate").await;
        assert_eq!(all.runs(), [run(1), run(2)]);
        all.tell(run(1), &finished(run(1)));
        assert_eq!(one.await.unwrap(), finished(run(1)));
        assert_eq!(other.await.unwrap(), finished(run(1)));
        assert_eq!(all.runs(), [run(2)]);
        // One who does not wait any more is forgotten.
        later.abort();
        assert!(later.await.unwrap_err().is_cancelled());
        assert!(all.runs().is_empty());
    }

    #[tokio::test]
    async fn one_more_takes_the_place_of_the_users_own_oldest() {
        let all = Arc::new(Waiting::default());
        let other = waits(&all, 1, "operator").await;
        let oldest = waits(&all, 1, "gate").await;
        let mut later = Vec::new();
        for _ in 0..EACH {
            later.push(waits(&all, 1, "gate").await);
        }
        assert!(matches!(
            oldest.await.unwrap(),
            TriggerReply::Refused(Refusal::AskAgain(_))
        ));
        all.tell(run(1), &finished(run(1)));
        for waiter in later {
            assert_eq!(waiter.await.unwrap(), finished(run(1)));
        }
        assert_eq!(other.await.unwrap(), finished(run(1)));
    }

    #[tokio::test]
    async fn nobody_waits_for_longer_than_an_answer_is_let_through() {
        let all = Waiting::default();
        let (answer, end) = oneshot::channel();
        let waiter = Waiter {
            user: BusUser::gate(),
            until: Instant::now(),
            answer,
        };
        all.add(run(1), waiter);
        assert!(all.runs().is_empty());
        assert!(end.await.is_err());
    }
}
