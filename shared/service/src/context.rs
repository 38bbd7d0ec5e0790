//! The context of a stage: everything that it may touch.

use std::path::PathBuf;
use std::sync::Arc;

use holdfast_bus::Bus;
use holdfast_config::Settings;
use holdfast_events::{Fact, RunState, What, Work};
use holdfast_format::{Artefact, Expected, Failure, FailureSubject, RunId, Site, SourceName, Stage};
use holdfast_repository::{Catalogue, Repository};
use holdfast_sealing::{Profile, Recipients};
use holdfast_telemetry::clock::SharedClock;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{JobError, proven_facts};

/// The parts that the stages of one process share. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub settings: Arc<Settings>,
    /// The site whose sources this process's workers can reach.
    pub site: Site,
    /// The repository at its own place.
    pub repository: Repository,
    /// Runs and artefacts of that place.
    pub catalogue: Arc<Catalogue>,
    pub bus: Bus,
    pub clock: SharedClock,
    /// A folder for sealed or small temporary files; never for plaintext.
    pub scratch: PathBuf,
    /// Cancelled when the process is to end.
    pub drain: CancellationToken,
}

impl Context {
    /// Returns the present time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The certificates that backups are sealed to, and how they are.
    ///
    /// # Errors
    /// If this host only restores.
    pub fn recipients(&self) -> Result<(&Recipients, Profile), JobError> {
        let keys = self.repository.keys();
        let recipients = keys.recipients.as_ref();
        let recipients =
            recipients.ok_or_else(|| JobError::Fail("no encryption.recipients: this host only restores".to_owned()))?;
        Ok((recipients, keys.profile))
    }

    /// Returns the expectations of a run.
    ///
    /// # Errors
    /// If it cannot be read, or the repository does not know the run: then the work is a stray.
    pub async fn expected(&self, run: RunId) -> Result<Arc<Expected>, JobError> {
        let expected = self.catalogue.expected(run).await?;
        expected.ok_or_else(|| JobError::Fail(format!("run {run} is not in the repository: the work is a stray")))
    }

    /// Returns an artefact's record in its source's listing.
    ///
    /// # Errors
    /// If it cannot be read, or was not listed.
    pub async fn listed(
        &self,
        run: RunId,
        source: &SourceName,
        artefact: holdfast_format::ArtefactId,
    ) -> Result<Artefact, JobError> {
        let listed = self.catalogue.listed(run, source).await?;
        let found = listed.and_then(|l| l.artefacts.iter().find(|a| a.id == artefact).cloned());
        found.ok_or_else(|| JobError::Fail(format!("artefact {artefact} is not in the listing of {source}")))
    }

    /// The state of a run, from the repository alone.
    ///
    /// # Errors
    /// If the repository cannot be read, or does not know the run.
    pub async fn state(&self, run: RunId) -> Result<RunState, JobError> {
        let found = proven_facts(&self.catalogue, run).await?;
        let found = found.ok_or_else(|| JobError::Fail(format!("run {run} is not in the repository")))?;
        Ok(found.state())
    }

    /// Tells a fact.
    ///
    /// # Errors
    /// If the bus does not confirm it.
    pub async fn tell(&self, run: RunId, what: What) -> Result<(), JobError> {
        Ok(self
            .bus
            .publish_fact(&Fact {
                run,
                at: self.now(),
                what,
            })
            .await?)
    }

    /// Publishes the next work, then the fact that what came before is done: whoever sees the fact finds the work.
    ///
    /// # Errors
    /// If the bus does not confirm both.
    pub async fn hand_on(&self, next: &[Work], run: RunId, what: What) -> Result<(), JobError> {
        self.bus.publish_works(next).await?;
        self.tell(run, what).await
    }

    /// Writes down that something will not come, and tells it.
    ///
    /// # Errors
    /// If either cannot be done.
    pub async fn fail(&self, run: RunId, subject: FailureSubject, stage: Stage, reason: &str) -> Result<(), JobError> {
        let reason: String = reason.chars().take(4096).collect();
        let failure = Failure {
            run,
            subject: subject.clone(),
            stage,
            reason: reason.clone(),
            at: self.now(),
        };
        self.repository.write(&failure.key(), &failure).await?;
        self.tell(run, What::Failed { subject, stage, reason }).await
    }
}
