//! A verification, from the first read to the record.

use std::collections::BTreeMap;

use holdfast_format::{ArtefactId, ArtefactKind, Finding, Level, ObjectKey, PackId, Verdict, Verification};
use holdfast_repository::Repository;
use holdfast_sealing::SecretKeys;
use jiff::Timestamp;
use uuid::{NoContext, Uuid};

use crate::judge::judge;
use crate::judged::Judged;
use crate::{VerifyError, VerifyOptions};

/// The largest number of findings in a record.
const FINDINGS_MAX: usize = 100;

/// The number of findings that the reason of a failure repeats.
const IN_REASON: usize = 3;

/// The result of verifying an artefact.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The record of the verification, not written yet.
    pub verification: Verification,
    /// The kind of artefact, if its manifest could be read.
    pub kind: Option<ArtefactKind>,
    /// Packs that are damaged or missing at the place, each with its problem.
    pub damaged: BTreeMap<PackId, String>,
}

impl Checked {
    /// True if everything is as it was captured.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.verification.is_good()
    }

    /// Describes the findings in one line for people: their number, and the first of them; or why there is no judgement.
    #[must_use]
    pub fn reason(&self) -> String {
        let v = &self.verification;
        if v.is_good() {
            return "everything is as it was captured".to_owned();
        }
        let first = v.findings.iter().take(IN_REASON);
        let first: Vec<String> = first.map(|f| format!("{}: {}", f.object, f.problem)).collect();
        let more = if v.total_findings > first.len() as u64 {
            "; …"
        } else {
            ""
        };
        let first = first.join("; ");
        if !v.is_damaged() {
            return format!(
                "it could not be judged at place {}, which says nothing against it: {first}{more}",
                v.place
            );
        }
        let findings = if v.total_findings == 1 { "finding" } else { "findings" };
        format!("{} {findings} at place {}: {first}{more}", v.total_findings, v.place)
    }
}

/// Reads an artefact back from the repository's place, to a level. Ignores everything that `repository` has in memory,
/// and writes nothing: see [`record`](crate::record).
///
/// `keys` are the secret backup keys. Level `integrity` needs none.
///
/// # Errors
/// [`VerifyError`] if the verification came to no result. Damage of the artefact is no error, but part of the result; and so
/// is that a key is not at hand, with which it cannot be judged.
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
        verdict,
        findings,
        total,
        bytes_read,
        recipients_proven,
    } = judged;
    let mut damaged = BTreeMap::new();
    // A pack that could not be opened for want of a key is none.
    for (object, problem) in findings.iter().filter(|_| verdict == Verdict::Damaged) {
        if let ObjectKey::Pack(pack) = object {
            damaged.entry(*pack).or_insert_with(|| problem.clone());
        }
    }
    let kept = findings.into_iter().take(FINDINGS_MAX);
    let finished = options.clock.now();
    let verification = Verification {
        id: version_7(finished),
        artefact,
        run: options.run,
        place: repository.place().name().clone(),
        level,
        verdict,
        findings: kept
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
