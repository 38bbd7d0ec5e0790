//! Sealing one pack: zstd, OpenPGP, the repository, then the receipt in place of the plaintext.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use holdfast_capture::{Attempt, Receipt, Staging};
use holdfast_format::{ArtefactId, Digest, ObjectKey, PackId, RunId, SourceName};
use holdfast_sealing::PackSealer;
use holdfast_service::{Context, JobError, ask_for_seals};
use holdfast_storage::Put;
use holdfast_telemetry::failpoint;
use sha2::{Digest as _, Sha256};

/// Sealers kept at most; more artefacts than that are not captured at once.
const SEALERS_MAX: usize = 256;

/// One sealer an artefact: all packs that this worker seals for it share a session key, so that a restore needs one
/// operation of the secret key.
#[derive(Default)]
pub(crate) struct Sealers(Mutex<HashMap<ArtefactId, PackSealer>>);

impl Sealers {
    fn of(&self, cx: &Context, artefact: ArtefactId) -> Result<PackSealer, JobError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sealer) = kept.get(&artefact) {
            return Ok(sealer.clone());
        }
        let (recipients, profile) = cx.recipients()?;
        let sealer = PackSealer::new(recipients, profile);
        let sealer = sealer.map_err(|e| JobError::new(e.is_transient(), &e))?;
        if kept.len() >= SEALERS_MAX {
            kept.clear();
        }
        kept.insert(artefact, sealer.clone());
        Ok(sealer)
    }

    /// Drops the sealer of an artefact that is closed.
    pub(crate) fn forget(&self, artefact: ArtefactId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&artefact);
    }
}

/// Seals one pack of an attempt, and asks for the attempt's close if it was the last one.
pub(crate) async fn seal(
    cx: &Context,
    staging: &Arc<Staging>,
    sealers: &Sealers,
    run: RunId,
    (artefact, number): (ArtefactId, u32),
    pack: PackId,
) -> Result<(), JobError> {
    let Some(attempt) = staging.attempt(run, artefact, number)? else {
        return gone(cx, artefact).await;
    };
    let attempt = Arc::new(attempt);
    if attempt.receipt(pack)?.is_none() {
        let sealer = sealers.of(cx, artefact)?;
        let level = cx.settings.encryption.compression_level;
        let reading = attempt.clone();
        let sealed = tokio::task::spawn_blocking(move || read_and_seal(&reading, pack, &sealer, level)).await??;
        let Some((sealed, plain)) = sealed else {
            return gone(cx, artefact).await;
        };
        let receipt = store(cx, pack, sealed, plain).await?;
        failpoint::hit_async("encryptor.after_pack")
            .await
            .map_err(|e| JobError::Retry(e.to_string()))?;
        attempt.put_receipt(pack, &receipt)?;
    }
    let Some(draft) = attempt.draft()? else {
        return Ok(());
    };
    if attempt.unsealed()?.is_empty() {
        let source: SourceName = draft.source;
        ask_for_seals(cx, &attempt, &source).await?;
    }
    Ok(())
}

/// The attempt is not there: it is closed, or another one took its place.
async fn gone(cx: &Context, artefact: ArtefactId) -> Result<(), JobError> {
    if cx.repository.manifest(artefact).await?.is_some() {
        return Ok(());
    }
    Err(JobError::Superseded(format!(
        "the attempt at artefact {artefact} is gone from staging"
    )))
}

fn read_and_seal(
    attempt: &Attempt,
    pack: PackId,
    sealer: &PackSealer,
    level: i32,
) -> Result<Option<(Vec<u8>, u32)>, JobError> {
    let Some(plaintext) = attempt.read_pack(pack)? else {
        return Ok(None);
    };
    let compressed = zstd::bulk::compress(&plaintext, level);
    let compressed = compressed.map_err(|e| JobError::Retry(format!("compress pack {pack}: {e}")))?;
    let sealed = sealer
        .seal(&compressed)
        .map_err(|e| JobError::new(e.is_transient(), &e))?;
    let plain = u32::try_from(plaintext.len()).map_err(|_| JobError::Fail(format!("pack {pack} is too large")))?;
    holdfast_telemetry::metrics::global().bytes(holdfast_telemetry::metrics::Flow::Sealed, "pack", sealed.len() as u64);
    Ok(Some((sealed, plain)))
}

/// Puts the pack into the repository. One that is there already, from an attempt that ended, has the same plaintext for
/// the same readers, as its id says: its own size and hash are what the manifest must name.
async fn store(cx: &Context, pack: PackId, sealed: Vec<u8>, plain: u32) -> Result<Receipt, JobError> {
    let key = ObjectKey::Pack(pack);
    let place = cx.repository.place();
    let mine = Bytes::from(sealed);
    let put = place.put(&key, mine.clone(), None).await?;
    let stored = match put {
        Put::Created => mine,
        Put::AlreadyThere { size } => {
            let stored = place.get(&key, size).await?;
            let (recipients, _) = cx.recipients()?;
            let lacking = recipients
                .missing_in(&stored)
                .map_err(|e| JobError::new(e.is_transient(), &e))?;
            if !lacking.is_empty() {
                let lacking = lacking.join(", ");
                return Err(JobError::Fail(format!(
                    "{key} is there and not sealed to {lacking}: somebody else put it"
                )));
            }
            stored
        }
    };
    let sha256 = tokio::task::spawn_blocking({
        let stored = stored.clone();
        move || Digest::from_bytes(Sha256::digest(&stored).into())
    });
    Ok(Receipt {
        size: stored.len() as u64,
        sha256: sha256.await?,
        plain,
    })
}
