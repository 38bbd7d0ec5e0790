//! Closing an artefact: contents, then the signed manifest, which makes it one.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use holdfast_capture::{Attempt, Draft, Staging};
use holdfast_format::{ArtefactId, ContentsRef, ObjectKey, RunId, SourceName};
use holdfast_repository::ContentsPut;
use holdfast_service::{Context, JobError};
use holdfast_session::{ask_for_next, hand_on_sealed};
use holdfast_telemetry::{failpoint, metrics};

use crate::readers::check_readers;

/// Contents are metadata that every later capture reads: worth a little more work than packs.
const CONTENTS_LEVEL: i32 = 3;

/// Writes an attempt's contents and manifest, and hands the artefact on.
pub(crate) async fn close(
    cx: &Context,
    staging: &Arc<Staging>,
    run: RunId,
    source: &SourceName,
    (artefact, number): (ArtefactId, u32),
) -> Result<(), JobError> {
    let expected = cx.expected(run).await?;
    let attempt = staging.attempt(run, artefact, number)?;
    if let Some(sealed) = cx.repository.manifest(artefact).await? {
        hand_on_sealed(cx, &expected, source, &sealed, 0).await?;
        return attempt.map_or(Ok(()), |a| Ok(a.discard()?));
    }
    let Some(attempt) = attempt.map(Arc::new) else {
        return Err(JobError::Superseded(format!(
            "the attempt at artefact {artefact} is gone from staging"
        )));
    };
    let Some(draft) = attempt.draft()? else {
        return Err(JobError::Superseded(format!(
            "attempt {number} at artefact {artefact} is not whole"
        )));
    };
    if !attempt.unsealed()?.is_empty() {
        return ask_for_next(cx, &attempt, source).await;
    }
    check_readers(cx, &attempt)?;
    let contents = put_contents(cx, staging, &attempt, &draft).await?;
    failpoint::hit_async("encryptor.before_manifest").await?;
    let receipts = attempt.receipts()?;
    let new_packs = draft.packs.iter().filter(|p| p.stored.is_none()).map(|p| p.id);
    let stored: u64 = new_packs.filter_map(|id| receipts.get(&id)).map(|r| r.size).sum();
    let manifest = draft.manifest(&receipts, contents)?;
    cx.repository.write(&ObjectKey::Manifest(artefact), &manifest).await?;
    failpoint::hit_async("encryptor.after_manifest").await?;
    let sealed = cx.repository.manifest(artefact).await?;
    let sealed = sealed.ok_or_else(|| JobError::Retry(format!("the manifest of {artefact} is not there yet")))?;
    metrics::global().artefact(sealed.manifest.captured.kind.as_str(), "sealed");
    hand_on_sealed(cx, &expected, source, &sealed, stored + contents.size).await?;
    // A failure to tidy up is no failure of the artefact; the sweep takes what is left.
    if let Err(error) = attempt.discard() {
        tracing::warn!(%artefact, reason = %holdfast_fault::chain(&error), "the staging of a closed artefact could not be removed");
    }
    Ok(())
}

async fn put_contents(
    cx: &Context,
    staging: &Arc<Staging>,
    attempt: &Arc<Attempt>,
    draft: &Draft,
) -> Result<ContentsRef, JobError> {
    let file = Removed(
        staging
            .dir()
            .join(format!(".contents-{}-{}", attempt.artefact(), attempt.number())),
    );
    let path = file.0.clone();
    let reading = attempt.clone();
    let plain = draft.contents_plain;
    tokio::task::spawn_blocking(move || frame(&reading, &path, plain)).await??;
    let key = ObjectKey::Contents(attempt.artefact());
    let mut put = cx.repository.put_contents(attempt.artefact(), &file.0).await?;
    if let ContentsPut::Other { .. } = put {
        // An attempt before this one died between contents and manifest, and its staging is lost. No manifest names these
        // contents, and only an attempt whose staging is gone could still write one: it finds itself superseded first.
        tracing::warn!(%key, "contents of an attempt that never had a manifest are replaced");
        cx.repository.place().delete(&key).await?;
        put = cx.repository.put_contents(attempt.artefact(), &file.0).await?;
    }
    match put {
        ContentsPut::Stored { size, sha256 } => Ok(ContentsRef { size, sha256, plain }),
        ContentsPut::Other { .. } => Err(JobError::Retry(format!(
            "{key} was written by another attempt meanwhile"
        ))),
    }
}

/// The staged lines as one zstd frame that states its content size, as the format asks.
fn frame(attempt: &Attempt, path: &std::path::Path, plain: u64) -> Result<(), JobError> {
    let failed = |e: std::io::Error| JobError::Retry(format!("compress the contents of {}: {e}", attempt.artefact()));
    let lines = attempt.read_contents()?;
    let mut lines = lines.ok_or_else(|| JobError::Superseded("the contents are gone from staging".to_owned()))?;
    let out = private_file(path).map_err(failed)?;
    let mut encoder = zstd::stream::write::Encoder::new(out, CONTENTS_LEVEL).map_err(failed)?;
    encoder.set_pledged_src_size(Some(plain)).map_err(failed)?;
    encoder.include_contentsize(true).map_err(failed)?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = lines.read(&mut buffer).map_err(failed)?;
        if n == 0 {
            break;
        }
        encoder.write_all(&buffer[..n]).map_err(failed)?;
    }
    encoder.finish().map_err(failed)?;
    Ok(())
}

fn private_file(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// A file that goes when this is dropped.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_file(&self.0);
    }
}
