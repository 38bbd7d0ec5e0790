//! The ids of runs.

use holdfast_format::{RunId, ScheduleName};
use jiff::Timestamp;

/// Returns the id of the run of a schedule's slot. Every replica gets the same id at any time. So the process that
/// writes the run's expectations first has started the run, and the others find it started.
#[must_use]
pub(crate) fn run_id(schedule: &ScheduleName, slot: Timestamp) -> RunId {
    let mut hasher = blake3::Hasher::new_derive_key("holdfast 2026-11 scheduled run id");
    hasher.update(&slot.as_millisecond().to_le_bytes());
    hasher.update(schedule.as_str().as_bytes());
    let mut random = [0; 10];
    hasher.finalize_xof().fill(&mut random);
    RunId::new(u64::try_from(slot.as_millisecond()).unwrap_or(0), random)
}

/// Returns a new id for a run that is requested now.
#[must_use]
pub fn new_run_id(now: Timestamp) -> RunId {
    let mut random = [0; 10];
    random.copy_from_slice(&uuid::Uuid::new_v4().as_bytes()[..10]);
    RunId::new(u64::try_from(now.as_millisecond()).unwrap_or(0), random)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn replicas_agree_and_slots_and_schedules_differ() {
        let slot: Timestamp = "2026-11-24T01:30:00Z".parse().unwrap();
        let other: Timestamp = "2026-11-25T01:30:00Z".parse().unwrap();
        let nightly: ScheduleName = "nightly".parse().unwrap();
        let hourly: ScheduleName = "hourly".parse().unwrap();
        let run = run_id(&nightly, slot);
        assert_eq!(run, run_id(&nightly, slot));
        assert_eq!(run.unix_ms(), 1_795_483_800_000);
        // Written down, since replicas of different versions must agree as well.
        assert_eq!(run.to_string(), "01a20b2c-91c0-7886-97ba-c1778cecf42c");
        assert!(run < run_id(&nightly, other));
        assert_ne!(run, run_id(&hourly, slot));
        assert_eq!(run_id(&nightly, "1960-01-01T00:00:00Z".parse().unwrap()).unix_ms(), 0);
    }
}
