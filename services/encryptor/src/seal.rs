//! Sealing one pack, which capture has compressed: OpenPGP, the repository, then the receipt in place of the plaintext.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use holdfast_capture::{Attempt, Receipt, Staging};
use holdfast_format::{ArtefactId, ObjectKey, PackId, RunId, SourceName};
use holdfast_sealing::PackSealer;
use holdfast_service::{Context, JobError};
use holdfast_session::ask_for_next;
use holdfast_storage::Put;
use holdfast_telemetry::failpoint;

use crate::readers::check_readers;

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
        let sealer = PackSealer::new(recipients, profile)?;
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

/// The buffers for sealing one pack, kept from pack to pack: a pack is as large as all caches together, and fresh
/// memory for each would cost more than reading it.
#[derive(Default)]
struct Bench {
    frame: Vec<u8>,
    sealed: Vec<u8>,
}

/// The benches that no task uses now. There are never more than packs that were sealed at the same time.
#[derive(Default)]
pub(crate) struct Benches(Mutex<Vec<Bench>>);

impl Benches {
    fn take(&self) -> Bench {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop().unwrap_or_default()
    }

    fn put_back(&self, bench: Bench) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(bench);
    }

    /// Gives the memory back, once nothing more is to be sealed for now.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Seals one pack of an attempt, and asks for the attempt's close if it was the last one.
pub(crate) async fn seal(
    cx: &Context,
    staging: &Arc<Staging>,
    (sealers, benches): (&Sealers, &Benches),
    run: RunId,
    (artefact, number): (ArtefactId, u32),
    pack: PackId,
) -> Result<(), JobError> {
    let Some(attempt) = staging.attempt(run, artefact, number)? else {
        return gone(cx, artefact).await;
    };
    let attempt = Arc::new(attempt);
    if attempt.receipt(pack)?.is_none() {
        check_readers(cx, &attempt)?;
        let sealer = sealers.of(cx, artefact)?;
        let reading = attempt.clone();
        let mut bench = benches.take();
        let sealed = tokio::task::spawn_blocking(move || {
            let plain = read_and_seal(&reading, pack, &sealer, &mut bench)?;
            Ok::<_, JobError>((plain, bench))
        });
        let (Some(plain), mut bench) = sealed.await?? else {
            return gone(cx, artefact).await;
        };
        let sealed = Bytes::from(std::mem::take(&mut bench.sealed));
        let receipt = store(cx, pack, sealed.clone(), plain).await?;
        // Still shared only if a request that was given up holds on to it.
        bench.sealed = sealed.try_into_mut().map(Vec::from).unwrap_or_default();
        benches.put_back(bench);
        failpoint::hit_async("encryptor.after_pack").await?;
        attempt.put_receipt(pack, &receipt)?;
    }
    let Some(draft) = attempt.draft()? else {
        return Ok(());
    };
    if attempt.unsealed()?.is_empty() {
        let source: SourceName = draft.captured.source;
        ask_for_next(cx, &attempt, &source).await?;
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

/// Leaves the sealed pack at the bench; the size of its plaintext, or `None` if there was no pack.
fn read_and_seal(
    attempt: &Attempt,
    pack: PackId,
    sealer: &PackSealer,
    bench: &mut Bench,
) -> Result<Option<u32>, JobError> {
    if !attempt.read_pack_into(pack, &mut bench.frame)? {
        return Ok(None);
    }
    let Some(plain) = plain_size(&bench.frame) else {
        return Err(JobError::Fail(format!(
            "staged pack {pack} is no whole zstd frame that states its size"
        )));
    };
    sealer.seal_into(&bench.frame, &mut bench.sealed)?;
    let bytes = bench.sealed.len() as u64;
    holdfast_telemetry::metrics::global().bytes(holdfast_telemetry::metrics::Flow::Sealed, "pack", bytes);
    Ok(Some(plain))
}

/// The size of a frame's content, as it states it; `None` if these bytes are not one whole frame.
fn plain_size(frame: &[u8]) -> Option<u32> {
    let is_whole = zstd::zstd_safe::find_frame_compressed_size(frame) == Ok(frame.len());
    let plain = zstd::zstd_safe::get_frame_content_size(frame).ok().flatten();
    plain.filter(|_| is_whole).and_then(|size| u32::try_from(size).ok())
}

/// Puts the pack into the repository. One that is there already, from an attempt that ended, has the same plaintext for
/// the same readers, as its id says: its own size and hash are what the manifest must name.
async fn store(cx: &Context, pack: PackId, mine: Bytes, plain: u32) -> Result<Receipt, JobError> {
    let key = ObjectKey::Pack(pack);
    let place = cx.repository.place();
    let put = place.put(&key, mine.clone(), None).await?;
    let stored = match put {
        Put::Created => mine,
        Put::AlreadyThere { size } => {
            let stored = place.get(&key, size).await?;
            let (recipients, _) = cx.recipients()?;
            let lacking = recipients.missing_in(&stored)?;
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
        move || holdfast_repository::sha256(&stored)
    });
    Ok(Receipt {
        size: stored.len() as u64,
        sha256: sha256.await?,
        plain,
    })
}
