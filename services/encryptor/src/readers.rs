//! The keys that an attempt is to be sealed to, compared with those that this process seals to.

use holdfast_capture::Attempt;
use holdfast_service::{Context, JobError};

/// Checks that this process seals to the keys that the capture counts on. Both read `encryption.recipients` when they
/// start, and it may have changed in between: then the manifest would name readers that its packs are not sealed to.
pub(crate) fn check_readers(cx: &Context, attempt: &Attempt) -> Result<(), JobError> {
    let (recipients, _) = cx.recipients()?;
    let mine = recipients.readers();
    let Some(wanted) = attempt.readers()?.filter(|wanted| *wanted != mine) else {
        return Ok(());
    };
    Err(JobError::Fail(format!(
        "artefact {} was captured to be sealed to the keys {}, and this encryptor seals to {}: encryption.recipients changed \
         between the start of one service and that of the other. Restart all services, then start another run",
        attempt.artefact(),
        wanted.join(", "),
        mine.join(", ")
    )))
}
