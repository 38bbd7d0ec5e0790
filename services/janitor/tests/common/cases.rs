//! Common beginnings of tests, and questions about a plan.

use holdfast_format::{ArtefactId, Hold, ObjectKey, PackId, RunId};
use holdfast_janitor::RetentionPlan;
use holdfast_telemetry::clock::Clock as _;
use jiff::SignedDuration;

use super::Bed;

pub const LOCAL: &str = "local";
pub const WEEK: &str = "[retention.local]\ndaily = \"7d\"\n[retention.s3]\ndaily = \"14d\"";

pub fn expired(plan: &RetentionPlan) -> Vec<RunId> {
    plan.expire.iter().map(|r| r.run.run).collect()
}

pub fn pack(number: u8) -> ObjectKey {
    ObjectKey::Pack(PackId::from_bytes([number; 32]))
}

pub fn has_refused(plan: &RetentionPlan, what: &str) -> bool {
    plan.refused.iter().any(|why| why.contains(what))
}

/// Makes two old runs, one of which shares a pack with a new run, and the new run.
pub async fn three(bed: &Bed, targets: &[&str]) -> [(RunId, ArtefactId); 3] {
    let first = bed.whole(&[1, 2], targets).await;
    bed.pass(1);
    let second = bed.whole(&[2, 3], targets).await;
    bed.pass(15);
    let third = bed.whole(&[3, 4], targets).await;
    bed.pass(1);
    [first, second, third]
}

pub fn hold(bed: &Bed, run: RunId, days: Option<i64>) -> Hold {
    let at = bed.clock.now();
    let until = days.map(|days| at + SignedDuration::from_hours(24 * days));
    Hold {
        run,
        until,
        at,
        reason: None,
    }
}
