//! The jobs of one stage and site, as one consumer delivers them.

use holdfast_events::{Subjects, WorkStage};
use holdfast_format::{PlaceName, Site};

/// The jobs of one stage at one site, to one target if the stage has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    pub stage: WorkStage,
    pub site: Site,
    /// The target, for a stage that has one.
    pub target: Option<PlaceName>,
}

/// A queue by its names on the server.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) consumer: String,
    /// The subjects of its jobs: a prefix and `>`.
    pub(super) filter: String,
}

impl Named {
    /// Tells whether a job with this subject is in the queue.
    pub(super) fn holds(&self, subject: &str) -> bool {
        let prefix = self.filter.strip_suffix('>').unwrap_or(&self.filter);
        subject.starts_with(prefix)
    }
}

pub(super) fn named(queues: &[Queue], subjects: &Subjects) -> Vec<Named> {
    let named = |queue: &Queue| Named {
        consumer: subjects.consumer(queue.stage, &queue.site, queue.target.as_ref()),
        filter: subjects.work_filter(queue.stage, &queue.site, queue.target.as_ref()),
    };
    queues.iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_queue_holds_the_jobs_of_its_stage_site_and_target_alone() {
        let subjects = Subjects::new(&"holdfast".parse().unwrap());
        let queue = |site: &str, target: Option<&str>| Queue {
            stage: WorkStage::Sync,
            site: site.parse().unwrap(),
            target: target.map(|target| target.parse().unwrap()),
        };
        let offsite = &named(&[queue("main", Some("offsite"))], &subjects)[0];
        assert!(offsite.holds("holdfast.work.sync.main.offsite.run.artefact"));
        for other in [
            "sync.main.elsewhere",
            "sync.main2.offsite",
            "seal.main",
            "sync.main.offsite2",
        ] {
            assert!(
                !offsite.holds(&format!("holdfast.work.{other}.run.artefact")),
                "{other}"
            );
        }
    }
}
