//! Staging packs beside the capture that fills them: compressing takes longer than reading, cutting and hashing together.

use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_capture::{Sink, StagingError};
use holdfast_format::PackId;

use crate::JobError;

/// Packs of one capture on their way at the same time.
const THREADS: usize = 2;

/// Calls `body` with a sink that hands each pack to a thread which calls `put`; ends when all are put. If one cannot be,
/// that is the error, and the sink says so at the next pack.
pub(super) fn beside<T>(
    put: impl Fn(PackId, &[u8]) -> Result<(), StagingError> + Sync,
    body: impl FnOnce(Sink<'_>) -> Result<T, JobError>,
) -> Result<T, JobError> {
    let (full, packs) = sync_channel::<(PackId, Vec<u8>)>(0);
    let (emptied, buffers) = channel();
    let failed = Mutex::new(None);
    let failure = || failed.lock().unwrap_or_else(PoisonError::into_inner).take();
    // Once the last thread has ended, for whatever reason, the receiver is gone and no capture waits for it.
    let packs = Arc::new(Mutex::new(packs));
    let done = std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let (packs, emptied, failed, put) = (packs.clone(), emptied.clone(), &failed, &put);
            scope.spawn(move || {
                loop {
                    let next = packs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((id, plaintext)) = next else { return };
                    if let Err(error) = put(id, &plaintext) {
                        failed
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .get_or_insert(error);
                    }
                    // Nobody takes it back only once the capture has ended.
                    let _ = emptied.send(plaintext);
                }
            });
        }
        drop((packs, emptied));
        body(Box::new(move |id, plaintext| {
            if let Some(error) = failure() {
                return Err(error);
            }
            full.send((id, plaintext)).map_err(|_| StagingError::Stopped)?;
            Ok(buffers.try_recv().unwrap_or_default())
        }))
    });
    // It came first: what the body says is only that its sink failed.
    match failure() {
        Some(error) => Err(error.into()),
        None => done,
    }
}
