//! Progress of an artefact: bytes done so far, told at once and kept nowhere.

use futures::{Stream, StreamExt};
use holdfast_events::{Message, decode, encode};
use holdfast_format::{ArtefactId, RunId};
use serde::{Deserialize, Serialize};

use crate::connection::Bus;
use crate::error::{BusCause, BusError};

/// The progress of an artefact in one stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtefactProgress {
    pub run: RunId,
    pub artefact: ArtefactId,
    /// Bytes that are done.
    pub bytes: u64,
    /// Bytes in all, if that is known.
    pub total: Option<u64>,
}

impl Message for ArtefactProgress {
    const NAME: &'static str = "progress";
}

impl Bus {
    /// Publishes the progress of an artefact. The message may be lost, and never waits for the server: without a
    /// connection it is not sent at all.
    pub async fn tell_progress(&self, run: RunId, artefact: ArtefactId, bytes: u64, total: Option<u64>) {
        if !self.is_connected() {
            return;
        }
        let progress = ArtefactProgress {
            run,
            artefact,
            bytes,
            total,
        };
        let Ok(body) = encode(&progress) else { return };
        if let Err(error) = self.client().publish(self.subjects().progress(run), body.into()).await {
            tracing::debug!(%error, "progress was not sent");
        }
    }

    /// Hears how far the artefacts of a run come, from now on. Progress of another run under this one's subject is passed
    /// over.
    ///
    /// # Errors
    /// [`BusError::Subscribe`] if the connection is closed.
    pub async fn subscribe_progress(
        &self,
        run: RunId,
    ) -> Result<impl Stream<Item = ArtefactProgress> + use<>, BusError> {
        let subject = self.subjects().progress(run);
        let subscribed = self.client().subscribe(subject.clone()).await;
        let messages = subscribed.map_err(|error| BusError::Subscribe {
            subject,
            source: BusCause::new(error),
        })?;
        let of_run = move |told: &ArtefactProgress| told.run == run;
        Ok(messages.filter_map(move |message| {
            let told = decode::<ArtefactProgress>(&message.payload).ok();
            std::future::ready(told.filter(of_run))
        }))
    }
}
