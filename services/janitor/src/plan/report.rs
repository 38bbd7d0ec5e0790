//! The report of retention, which the place keeps as a record.

use holdfast_format::{CleanReport, Deleted, ObjectKey, RunId};

use super::{Action, RetentionPlan};

/// The largest number of deletions that a report lists.
const LISTED_MAX: usize = 1000;

impl RetentionPlan {
    /// Returns the report of the steps `done`, for the run `run`. With all of [`RetentionPlan::steps`] it reports the whole
    /// plan.
    #[must_use]
    pub fn report(&self, run: RunId, done: &[Action]) -> CleanReport {
        let mut report = CleanReport {
            run,
            place: self.place.clone(),
            at: self.at,
            kept_runs: self.keep.len() as u64,
            expired_runs: Vec::new(),
            condemned: 0,
            spared: 0,
            deleted: Vec::new(),
            total_deleted: 0,
            freed_bytes: 0,
            refused: self.refused.clone(),
        };
        let spared: std::collections::BTreeSet<_> = self.spare.iter().map(|(pack, _)| *pack).collect();
        for action in done {
            match action {
                Action::WriteTombstone { run, .. } => report.expired_runs.push(*run),
                Action::Condemn(_) => report.condemned += 1,
                Action::Delete { object, rule } => {
                    if matches!(&object.key, ObjectKey::Condemned(pack) if spared.contains(pack)) {
                        report.spared += 1;
                    }
                    report.total_deleted += 1;
                    report.freed_bytes = report.freed_bytes.saturating_add(object.size);
                    if report.deleted.len() < LISTED_MAX {
                        let object = object.key.to_string();
                        let rule = rule.clone();
                        report.deleted.push(Deleted { object, rule });
                    }
                }
            }
        }
        report
    }
}
