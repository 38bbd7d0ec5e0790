//! Writing down what a verification found.

use holdfast_format::{Damaged, ObjectKey};
use holdfast_repository::{Repository, RepositoryError};

use crate::Checked;

/// Writes a verification into a repository, with a mark for each damaged pack if it is this repository's place that was
/// verified: what is damaged elsewhere may well be referenced here. The marks go first: whoever sees a bad verification
/// finds them.
///
/// # Errors
/// [`RepositoryError`] if the place does not take them.
pub async fn record(repository: &Repository, checked: &Checked) -> Result<(), RepositoryError> {
    let verification = &checked.verification;
    if verification.place == *repository.place().name() {
        for (pack, problem) in &checked.damaged {
            let damaged = Damaged {
                pack: *pack,
                at: verification.finished,
                artefact: verification.artefact,
                problem: problem.clone(),
            };
            repository.write(&ObjectKey::Damaged(*pack), &damaged).await?;
        }
    }
    let key = ObjectKey::Verified(verification.artefact, verification.id);
    repository.write(&key, verification).await?;
    Ok(())
}
