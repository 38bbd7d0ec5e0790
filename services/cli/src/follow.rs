//! Following a run to its end: facts from the bus while they come, the repository where they do not.

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use holdfast_bus::{ArtefactProgress, BusError};
use holdfast_events::{Fact, Outcome, RunState};
use holdfast_fault::Retryable as _;
use holdfast_format::RunId;
use holdfast_service::proven_facts;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::CliError;
use crate::link::Link;
use crate::progress::View;

/// The number of waits after which the repository is asked whether the run has ended: the bus may have lost the word of it.
const ASK_REPOSITORY: u32 = 5;

/// The reason why the following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The run has ended.
    Finished(Outcome),
    /// The process that did the work has gone.
    Orphaned,
    /// The time limit has passed.
    TimedOut,
    /// We were told to stop.
    Interrupted,
}

/// One run that is followed.
pub(crate) struct Follower<'a> {
    pub(crate) link: &'a Link,
    pub(crate) run: RunId,
    pub(crate) until: Instant,
    pub(crate) interrupt: &'a CancellationToken,
}

impl Follower<'_> {
    /// Follows until the run or our patience ends, and gives the state then.
    ///
    /// # Errors
    /// If the repository does not know the run, or the bus refuses for good.
    pub(crate) async fn follow(&self, view: &mut View) -> Result<(End, RunState), CliError> {
        let mut state = self.state().await?;
        let bus = self.link.bus();
        let mut progress = std::pin::pin!(bus.subscribe_progress(self.run).await?);
        let mut facts = bus.facts(self.run).await?;
        view.state(&state);
        let end = self.read(&mut state, view, &mut facts, &mut progress).await?;
        if let End::Finished(_) = end {
            // What the bus did not tell, the repository does.
            self.add_evidence(&mut state).await?;
        }
        view.state(&state);
        Ok((end, state))
    }

    async fn state(&self) -> Result<RunState, CliError> {
        let found = proven_facts(self.link.catalogue(), self.run).await?;
        let found = found.ok_or_else(|| CliError::failed(format!("run {} is not in the repository", self.run)))?;
        Ok(found.state())
    }

    async fn add_evidence(&self, state: &mut RunState) -> Result<(), CliError> {
        if let Some(found) = proven_facts(self.link.catalogue(), self.run).await? {
            for fact in &found.facts {
                take(state, fact);
            }
        }
        Ok(())
    }

    async fn ask_repository(&self, state: &mut RunState) -> Result<(), CliError> {
        match self.link.catalogue().finished(self.run).await {
            Ok(Some(_)) => self.add_evidence(state).await,
            Ok(None) => Ok(()),
            Err(error) if error.retry().is_later() => {
                tracing::debug!(reason = %holdfast_fault::chain(&error), "the repository does not answer");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn read(
        &self,
        state: &mut RunState,
        view: &mut View,
        facts: &mut (impl Stream<Item = Result<Fact, BusError>> + Unpin),
        progress: &mut (impl Stream<Item = ArtefactProgress> + Unpin),
    ) -> Result<End, CliError> {
        let mut every = tokio::time::interval(Duration::from_secs(1));
        let mut ticks = 0u32;
        loop {
            if let Some(outcome) = state.finished {
                return Ok(End::Finished(outcome));
            }
            tokio::select! {
                () = self.interrupt.cancelled() => return Ok(End::Interrupted),
                () = tokio::time::sleep_until(self.until) => return Ok(End::TimedOut),
                fact = facts.next() => match fact {
                    Some(fact) => {
                        take(state, &fact?);
                        view.state(state);
                    }
                    // The feed ends with an error before it ends; then the repository alone tells.
                    None => tokio::time::sleep(Duration::from_millis(200)).await,
                },
                Some(told) = progress.next() => view.told(&told),
                _ = every.tick() => {
                    ticks += 1;
                    if self.link.is_orphaned() {
                        return Ok(End::Orphaned);
                    }
                    if ticks.is_multiple_of(ASK_REPOSITORY) {
                        self.ask_repository(state).await?;
                    }
                }
            }
        }
    }
}

fn take(state: &mut RunState, fact: &Fact) {
    if let Err(error) = state.apply(fact) {
        tracing::debug!(run = %fact.run, %error, "a fact of no consequence");
    }
}
