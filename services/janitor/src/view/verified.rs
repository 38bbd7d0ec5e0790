//! Conclusions from all verifications of an artefact.

use holdfast_format::{Level, PlaceName, Verdict, Verification};
use jiff::Timestamp;

/// Sorts verifications by the time at which they ended.
pub(crate) fn in_time(mut all: Vec<Verification>) -> Vec<Verification> {
    all.sort_by_key(|v| (v.finished, v.id));
    all
}

/// True if a verification at this place found the artefact bad, and no later one at least as deep found it good. The
/// same rule as [`Catalogue::is_known_bad`](holdfast_repository::Catalogue::is_known_bad), for records that were read
/// already and are sorted by time.
pub(crate) fn is_known_bad(all: &[Verification], here: &PlaceName) -> bool {
    let mut deepest_good = None;
    for verification in all.iter().rev().filter(|v| v.place == *here) {
        match verification.verdict {
            Verdict::Good => deepest_good = deepest_good.max(Some(verification.level)),
            Verdict::Damaged if deepest_good < Some(verification.level) => return true,
            Verdict::Damaged | Verdict::Unknown => {}
        }
    }
    false
}

/// Returns the time at which the artefact was last found good at this place.
pub(crate) fn last_good(all: &[Verification], here: &PlaceName) -> Option<Timestamp> {
    let good = all.iter().filter(|v| v.is_good() && v.place == *here);
    good.map(|v| v.finished).max()
}

/// Returns the deepest level at which the artefact was found good, here or at the repository's own place. A target has
/// the same bytes, which were compared when they were copied.
pub(crate) fn deepest_good(all: &[Verification], here: &PlaceName) -> Option<Level> {
    let local = PlaceName::local();
    let good = all
        .iter()
        .filter(|v| v.is_good() && (v.place == *here || v.place == local));
    good.map(|v| v.level).max()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use holdfast_format::ArtefactId;
    use uuid::Uuid;

    use super::*;

    fn verification(minute: i64, place: &str, level: Level, verdict: Verdict) -> Verification {
        let at = Timestamp::from_second(minute * 60).unwrap();
        Verification {
            id: Uuid::from_u128(u128::try_from(minute).unwrap()),
            artefact: ArtefactId::from_bytes([1; 16]),
            run: None,
            place: place.parse().unwrap(),
            level,
            verdict,
            findings: Vec::new(),
            total_findings: 0,
            started: at,
            finished: at,
            bytes_read: 0,
            recipients_proven: false,
        }
    }

    #[test]
    fn the_last_word_of_this_place_counts_if_it_went_as_deep() {
        let bad = verification(2, "local", Level::Decrypt, Verdict::Damaged);
        let local = PlaceName::local();
        let shallow = verification(3, "local", Level::Integrity, Verdict::Good);
        let elsewhere = verification(4, "s3", Level::Restore, Verdict::Good);
        let deep = verification(5, "local", Level::Decrypt, Verdict::Good);
        let all = in_time(vec![elsewhere.clone(), bad.clone(), shallow.clone()]);
        assert!(is_known_bad(&all, &local));
        assert_eq!(deepest_good(&all, &local), Some(Level::Integrity));
        assert!(!is_known_bad(&all, &"s3".parse().unwrap()));
        assert_eq!(deepest_good(&all, &"s3".parse().unwrap()), Some(Level::Restore));
        let all = in_time(vec![deep, elsewhere, shallow, bad]);
        assert!(!is_known_bad(&all, &local));
        assert_eq!(last_good(&all, &local), Some(Timestamp::from_second(300).unwrap()));
    }

    #[test]
    fn a_verification_without_a_judgement_proves_nothing_and_clears_nothing() {
        let local = PlaceName::local();
        let unknown = verification(3, "local", Level::Restore, Verdict::Unknown);
        let alone = vec![unknown.clone()];
        assert!(!is_known_bad(&alone, &local));
        assert_eq!((deepest_good(&alone, &local), last_good(&alone, &local)), (None, None));
        let bad = verification(2, "local", Level::Integrity, Verdict::Damaged);
        assert!(is_known_bad(&in_time(vec![unknown.clone(), bad]), &local));
        let good = verification(2, "local", Level::Integrity, Verdict::Good);
        let all = in_time(vec![unknown, good]);
        assert_eq!(deepest_good(&all, &local), Some(Level::Integrity));
        assert!(!is_known_bad(&all, &local));
    }
}
