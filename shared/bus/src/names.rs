//! Names on the server that only this crate uses. The names of messages are in `holdfast_events::Subjects`.

use holdfast_events::{EVENTS_STREAM, Subjects, WORK_STREAM};
use holdfast_format::{RunId, SubjectPrefix};

const PARKED_STREAM: &str = "PARKED";
const ADVISORIES_STREAM: &str = "ADVISORIES";

/// The durable consumer that reads of exhausted work.
pub(crate) const EXHAUSTED: &str = "exhausted";
/// The queue group of those who answer triggers.
pub(crate) const TRIGGER_GROUP: &str = "scheduler";

/// Streams and wildcards below one prefix.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    prefix: SubjectPrefix,
    pub(crate) work: String,
    pub(crate) events: String,
    pub(crate) parked: String,
    pub(crate) advisories: String,
}

impl Names {
    pub(crate) fn new(prefix: &SubjectPrefix) -> Self {
        let subjects = Subjects::new(prefix);
        Self {
            prefix: prefix.clone(),
            work: subjects.stream(WORK_STREAM),
            events: subjects.stream(EVENTS_STREAM),
            parked: subjects.stream(PARKED_STREAM),
            advisories: subjects.stream(ADVISORIES_STREAM),
        }
    }

    /// The wildcard of all parked copies.
    pub(crate) fn all_parked(&self) -> String {
        format!("{}.parked.>", self.prefix)
    }

    /// The subject of the server's notices that it gives up messages of the work stream.
    pub(crate) fn max_deliveries(&self) -> String {
        format!("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{}.*", self.work)
    }

    /// The subject of the server's notices that a worker refused messages of the work stream.
    pub(crate) fn terminated(&self) -> String {
        format!("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.{}.*", self.work)
    }

    /// The subjects of all work of one run, in every stage and site. The second one is for the stages with a target in
    /// their subject.
    pub(crate) fn work_of(&self, run: RunId) -> [String; 2] {
        [
            format!("{}.work.*.*.{run}.>", self.prefix),
            format!("{}.work.*.*.*.{run}.>", self.prefix),
        ]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_follow_the_prefix() {
        let names = Names::new(&"my-backup".parse().unwrap());
        assert_eq!(names.work, "MY_BACKUP_WORK");
        assert_eq!(names.all_parked(), "my-backup.parked.>");
        assert_eq!(
            names.max_deliveries(),
            "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.MY_BACKUP_WORK.*"
        );
    }
}
