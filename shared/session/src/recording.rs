//! A capture that goes on, as a value with steps: it may rest between them on any thread.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use holdfast_events::What;
use holdfast_service::JobError;
use jiff::Timestamp;

use crate::hand_over::{Attempted, HandOver};
use crate::history::History;
use crate::input::{Input, SourceFacts};
use crate::session::Session;

mod open;

use open::{Open, Unfinished};

/// A capture that goes on. Packs are staged, and handed to the encryptor, as they fill; that goes on while the recording
/// rests between its steps: [`precopy`](Self::precopy) if need be, [`read`](Self::read), [`Recorded::finish`].
///
/// A step that fails gives the attempt up, as dropping the recording does: its threads end and its folder is removed, so
/// that no plaintext lies there until the next attempt. Dropping waits for both, so async code uses
/// [`give_up`](Self::give_up).
pub struct Recording {
    open: Box<Open>,
    hand_over: HandOver,
}

/// A capture whose source was read. All that is left is to [`finish`](Self::finish) it.
pub struct Recorded {
    recording: Recording,
    facts: SourceFacts,
}

impl Session {
    /// Begins an attempt, and removes those before it. `started` is when the state that is captured was fixed (the
    /// snapshot), or now.
    ///
    /// # Errors
    /// [`JobError`] if staging, the repository or the bus fail.
    pub async fn recording(self, started: Timestamp) -> Result<Recording, JobError> {
        let attempt = Unfinished::begin(&self)?;
        let attempted = Attempted {
            run: self.work.run,
            site: self.work.site.clone(),
            artefact: self.artefact.id,
            number: attempt.number(),
        };
        let began = What::ArtefactStarted {
            artefact: self.artefact.id,
            attempt: attempt.number(),
        };
        self.cx.tell(self.work.run, began).await?;
        let history = History::of(&self, started).await?;
        let bytes = Arc::<AtomicU64>::default();
        let (hand_over, staged) = HandOver::start(&self.cx, attempted, bytes.clone(), self.lost.clone());
        let open = Box::new(Open::new(self, attempt, history, staged, bytes)?);
        Ok(Recording { open, hand_over })
    }

    /// Captures in one go: `read` reads the source on a thread that may block.
    ///
    /// # Errors
    /// As the steps of a [`Recording`].
    pub async fn capture<F>(self, started: Timestamp, read: F) -> Result<(), JobError>
    where
        F: FnOnce(Input<'_>) -> Result<SourceFacts, JobError> + Send + 'static,
    {
        let recording = self.recording(started).await?;
        recording.read(read).await?.finish().await
    }
}

impl Recording {
    /// Captures with `read`, on a thread that may block, while programs still write, so that the capture proper has little
    /// left to read once they do not. Counts and warnings of it do not count. All its packs are staged when this returns.
    ///
    /// The stream begins again with the next piece, and what is stored already is not stored again. If `read` answers
    /// `None`, what it saw says too little about what will be later, and nothing is compared with it.
    ///
    /// # Errors
    /// [`JobError`] of `read`, of staging or of the bus: then the attempt is given up.
    pub async fn precopy<F>(self, read: F) -> Result<Self, JobError>
    where
        F: FnOnce(Input<'_>) -> Result<Option<SourceFacts>, JobError> + Send + 'static,
    {
        let (recording, ()) = self.step(|open| open.precopy(read)).await?;
        Ok(recording)
    }

    /// Captures with `read`, on a thread that may block.
    ///
    /// # Errors
    /// [`JobError`] of `read`, of staging or of the bus: then the attempt is given up.
    pub async fn read<F>(self, read: F) -> Result<Recorded, JobError>
    where
        F: FnOnce(Input<'_>) -> Result<SourceFacts, JobError> + Send + 'static,
    {
        let (recording, facts) = self.step(|open| open.read(read)).await?;
        Ok(Recorded { recording, facts })
    }

    /// Gives the attempt up, and waits until nothing of it is left in staging.
    pub async fn give_up(self) {
        let Self { open, hand_over } = self;
        // A panic was told by its own message; what was given up may fail as it likes.
        let _ = tokio::task::spawn_blocking(move || drop(open)).await;
        let _ = hand_over.ended().await;
    }

    /// Does one step on a thread that may block. If it fails, the attempt is gone when this returns.
    async fn step<T, F>(self, step: F) -> Result<(Self, T), JobError>
    where
        F: FnOnce(&mut Open) -> Result<T, JobError> + Send + 'static,
        T: Send + 'static,
    {
        let Self { mut open, hand_over } = self;
        let done = tokio::task::spawn_blocking(move || match step(&mut open) {
            Ok(value) => Ok((open, value)),
            Err(error) => Err(open.fail(error)),
        });
        match joined(done.await) {
            Ok((open, value)) => Ok((Self { open, hand_over }, value)),
            Err(error) => Err(cause(hand_over, error).await),
        }
    }
}

impl Recorded {
    /// Returns the facts about the source, to be added to before the capture is finished.
    pub fn facts_mut(&mut self) -> &mut SourceFacts {
        &mut self.facts
    }

    /// Finishes the capture: the last pack, the contents, and last the draft, which makes the attempt whole. Then tells that
    /// the artefact is captured, and asks for its seals.
    ///
    /// # Errors
    /// [`JobError`] of staging: then the attempt is given up. Or of the bus: then the attempt stays, and the next delivery
    /// of the job hands it on.
    pub async fn finish(self) -> Result<(), JobError> {
        let Self {
            recording: Recording { open, hand_over },
            facts,
        } = self;
        let done = tokio::task::spawn_blocking(move || open.complete(facts));
        match joined(done.await) {
            Ok(staged) => {
                hand_over.ended().await?;
                Box::pin(staged.hand_on()).await
            }
            Err(error) => Err(cause(hand_over, error).await),
        }
    }

    /// Gives the attempt up, and waits until nothing of it is left in staging.
    pub async fn give_up(self) {
        self.recording.give_up().await;
    }
}

/// The result of a step, whose thread may have panicked.
fn joined<T>(done: Result<Result<T, JobError>, tokio::task::JoinError>) -> Result<T, JobError> {
    done?
}

/// Returns the reason why a capture failed. If the bus did not take its packs, that is why the capture was told to
/// stop.
async fn cause(hand_over: HandOver, error: JobError) -> JobError {
    hand_over.ended().await.err().unwrap_or(error)
}
