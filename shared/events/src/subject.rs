//! Subjects and names on the server: the only place where they are built.

use holdfast_format::{BusUser, PlaceName, RunId, Site, SubjectPrefix};

use crate::{Fact, Job, Work, WorkStage};

/// The work queue, without the prefix.
pub const WORK_STREAM: &str = "WORK";
/// The facts, without the prefix.
pub const EVENTS_STREAM: &str = "EVENTS";

/// Builds subjects below one prefix: two deployments on one server use different ones and never meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subjects {
    prefix: SubjectPrefix,
}

impl Subjects {
    /// Subjects below `prefix`.
    #[must_use]
    pub fn new(prefix: &SubjectPrefix) -> Self {
        Self { prefix: prefix.clone() }
    }

    /// A stream's name: `HOLDFAST_WORK` for the default prefix.
    #[must_use]
    pub fn stream(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix.as_str().to_uppercase().replace('-', "_"))
    }

    /// The subject of one job: `<prefix>.work.<stage>.<site>.<run>.<what>[.<detail>]`. The same job always has the same
    /// one, and the stream holds one message a subject: publishing again while it waits changes nothing.
    #[must_use]
    pub fn work(&self, work: &Work) -> String {
        let head = format!("{}.work.{}.{}", self.prefix, work.stage(), work.site);
        let run = work.run;
        match &work.job {
            Job::List { source, .. } => format!("{head}.{run}.{source}"),
            Job::Capture { artefact, .. } => format!("{head}.{run}.{artefact}"),
            Job::Seal {
                artefact,
                attempt,
                pack,
            } => format!("{head}.{run}.{artefact}.{attempt}.{pack}"),
            Job::Close { artefact, attempt, .. } => format!("{head}.{run}.{artefact}.{attempt}"),
            Job::Verify { artefact, .. } => format!("{head}.{run}.{artefact}"),
            Job::Sync { artefact, target, .. } => format!("{head}.{target}.{run}.{artefact}"),
            Job::SyncPoint { target } => format!("{head}.{target}.{run}.point"),
            Job::Clean { place } => format!("{head}.{run}.{place}"),
        }
    }

    /// Matches the subjects of all work.
    #[must_use]
    pub fn all_work(&self) -> String {
        format!("{}.work.>", self.prefix)
    }

    /// The work of one stage at one site; for the syncer, to one target.
    #[must_use]
    pub fn work_filter(&self, stage: WorkStage, site: &Site, target: Option<&PlaceName>) -> String {
        match target {
            Some(target) => format!("{}.work.{stage}.{site}.{target}.>", self.prefix),
            None => format!("{}.work.{stage}.{site}.>", self.prefix),
        }
    }

    /// The durable consumer of one stage at one site; for the syncer, of one target.
    #[must_use]
    pub fn consumer(&self, stage: WorkStage, site: &Site, target: Option<&PlaceName>) -> String {
        match target {
            Some(target) => format!("{stage}_{site}_{target}"),
            None => format!("{stage}_{site}"),
        }
    }

    /// The subject of a fact: `<prefix>.event.<noun>.<fact>.<run>[.<artefact>]`. Readers refuse a fact that stands under
    /// another one.
    #[must_use]
    pub fn fact(&self, fact: &Fact) -> String {
        let (noun, verb) = fact.what.name();
        match fact.what.artefact() {
            Some(artefact) => format!("{}.event.{noun}.{verb}.{}.{artefact}", self.prefix, fact.run),
            None => format!("{}.event.{noun}.{verb}.{}", self.prefix, fact.run),
        }
    }

    /// Matches the subjects of all facts.
    #[must_use]
    pub fn all_facts(&self) -> String {
        format!("{}.event.>", self.prefix)
    }

    /// All facts of one run: one filter for those with and without an artefact.
    #[must_use]
    pub fn facts_of(&self, run: RunId) -> [String; 2] {
        [
            format!("{}.event.*.*.{run}", self.prefix),
            format!("{}.event.*.*.{run}.>", self.prefix),
        ]
    }

    /// The subject of a user's requests for runs: `<prefix>.trigger.<user>`. A user may publish on its own alone.
    #[must_use]
    pub fn trigger(&self, user: &BusUser) -> String {
        format!("{}.trigger.{}", self.prefix, user.token())
    }

    /// Matches the requests of all users.
    #[must_use]
    pub fn all_triggers(&self) -> String {
        format!("{}.trigger.*", self.prefix)
    }

    /// Returns the user whose requests have this subject.
    #[must_use]
    pub fn asker(&self, subject: &str) -> Option<BusUser> {
        let below = subject.strip_prefix(self.prefix.as_str())?;
        BusUser::of_token(below.strip_prefix(".trigger.")?)
    }

    /// The subject of questions about the Docker engine of a site.
    #[must_use]
    pub fn ask_docker(&self, site: &Site) -> String {
        format!("{}.ask.docker.{site}", self.prefix)
    }

    /// The subject of progress: bytes done so far. No stream keeps it.
    #[must_use]
    pub fn progress(&self, run: RunId) -> String {
        format!("{}.progress.{run}", self.prefix)
    }

    /// The subject of copies of messages that nobody can handle.
    #[must_use]
    pub fn parked(&self, stage: WorkStage) -> String {
        format!("{}.parked.{stage}", self.prefix)
    }
}

#[cfg(test)]
mod tests;
