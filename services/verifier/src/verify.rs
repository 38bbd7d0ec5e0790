//! A verification from its beginning to its record.

use std::collections::BTreeMap;

use holdfast_format::{ArtefactId, ArtefactKind, Finding, Level, ObjectKey, PackId, Verification};
use holdfast_repository::Repository;
use holdfast_sealing::SecretKeys;
use jiff::Timestamp;
use uuid::{NoContext, Uuid};

use crate::judge::{Judged, judge};
use crate::{VerifyError, VerifyOptions};

/// How many findings a record holds.
const TOLD: usize = 100;

/// Findings that a failure's reason repeats.
const IN_REASON: usize = 3;

/// An artefact that was verified.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The record of it, to be written.
    pub verification: Verification,
    /// What the artefact is, if its manifest could be read.
    pub kind: Option<ArtefactKind>,
    /// Packs that are damaged or missing at the place, with what is wrong.
    pub damaged: BTreeMap<PackId, String>,
}

impl Checked {
    /// Whether everything is as it should be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.verification.good
    }

    /// What is wrong, in one line for people: how much, and the first findings.
    #[must_use]
    pub fn reason(&self) -> String {
        let v = &self.verification;
        if v.good {
            return "everything is as it was captured".to_owned();
        }
        let first = v.findings.iter().take(IN_REASON);
        let first: Vec<String> = first.map(|f| format!("{}: {}", f.object, f.problem)).collect();
        let more = if v.total_findings > first.len() as u64 {
            "; …"
        } else {
            ""
        };
        let findings = if v.total_findings == 1 { "finding" } else { "findings" };
        format!(
            "{} {findings} at place {}: {}{more}",
            v.total_findings,
            v.place,
            first.join("; ")
        )
    }
}

/// Reads an artefact back from the repository's place, to a level. Nothing is believed that is kept in memory; nothing is
/// written: see [`record`](crate::record).
///
/// `keys` are the secret backup keys; level `integrity` needs none.
///
/// # Errors
/// [`VerifyError`] if it came to no result. Whatever is wrong with the artefact is in what is returned.
pub async fn verify_artefact(
    repository: &Repository,
    keys: Option<&SecretKeys>,
    artefact: ArtefactId,
    level: Level,
    options: &VerifyOptions,
) -> Result<Checked, VerifyError> {
    let started = options.clock.now();
    let fresh = repository.at(repository.place().clone());
    let judged = Box::pin(judge(&fresh, keys, artefact, level, options)).await?;
    let Judged {
        kind,
        findings,
        total,
        bytes_read,
        recipients_proven,
    } = judged;
    let mut damaged = BTreeMap::new();
    for (object, problem) in &findings {
        if let ObjectKey::Pack(pack) = object {
            damaged.entry(*pack).or_insert_with(|| problem.clone());
        }
    }
    let told = findings.into_iter().take(TOLD);
    let finished = options.clock.now();
    let verification = Verification {
        id: version_7(finished),
        artefact,
        run: options.run,
        place: repository.place().name().clone(),
        level,
        good: total == 0,
        findings: told
            .map(|(object, problem)| Finding {
                object: object.to_string(),
                problem,
            })
            .collect(),
        total_findings: total,
        started,
        finished,
        bytes_read,
        recipients_proven,
    };
    Ok(Checked {
        verification,
        kind,
        damaged,
    })
}

fn version_7(at: Timestamp) -> Uuid {
    let seconds = u64::try_from(at.as_second()).unwrap_or_default();
    let nanoseconds = u32::try_from(at.subsec_nanosecond()).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanoseconds))
}
