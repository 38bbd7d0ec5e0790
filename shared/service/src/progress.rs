//! The progress of an artefact's job, published at intervals while the job goes on.

use std::time::Duration;

use holdfast_bus::Bus;
use holdfast_format::{ArtefactId, RunId};
use tokio::time::Interval;

use crate::Context;

/// The time between two messages of progress.
const EVERY: Duration = Duration::from_millis(500);

/// Publishes the progress of one artefact at intervals.
pub struct ProgressTeller {
    bus: Bus,
    run: RunId,
    artefact: ArtefactId,
    tick: Interval,
}

impl ProgressTeller {
    /// Waits until the next message is due, and publishes the number of bytes that are done then. If this is dropped
    /// before it ends, the message may be lost, and the next one follows in time.
    pub async fn tell(&mut self, bytes: impl Fn() -> u64) {
        self.tick.tick().await;
        self.bus.tell_progress(self.run, self.artefact, bytes(), None).await;
    }
}

impl Context {
    /// Begins to publish the progress of an artefact. The first message is due at once.
    #[must_use]
    pub fn progress_of(&self, run: RunId, artefact: ArtefactId) -> ProgressTeller {
        ProgressTeller {
            bus: self.bus.clone(),
            run,
            artefact,
            tick: tokio::time::interval(EVERY),
        }
    }
}
