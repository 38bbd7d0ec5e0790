//! Records of verifications.

use holdfast_format::{Damaged, ObjectKey};
use holdfast_repository::{Repository, RepositoryError};

use crate::Checked;

/// Writes a verification into a repository. If it was made at the repository's own place, also writes a mark for each
/// damaged pack; a pack that is damaged elsewhere may still be good here. The marks are written first, so that a reader
/// of a bad verification finds them.
///
/// # Errors
/// [`RepositoryError`] if the place does not accept the records.
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
