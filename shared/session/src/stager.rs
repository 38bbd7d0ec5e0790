//! Staging packs beside the capture that fills them: compressing takes longer than reading, cutting and hashing together.

use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use holdfast_capture::{Sink, StagingError};
use holdfast_format::PackId;
use holdfast_service::JobError;

/// Packs of one capture on their way at the same time.
const THREADS: usize = 2;

/// How it goes with the packs of one capture.
#[derive(Default)]
struct Flow {
    state: Mutex<State>,
    less: Condvar,
}

#[derive(Default)]
struct State {
    /// Packs that were handed over and are not put yet.
    under_way: usize,
    failed: Option<StagingError>,
}

impl Flow {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: StagingError) {
        self.lock().failed.get_or_insert(error);
    }

    fn settle(&self) {
        let mut state = self.lock();
        while state.under_way > 0 {
            state = self.less.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A pack that was handed over, until it is put or nobody puts it any more.
struct UnderWay<'f>(&'f Flow);

impl<'f> UnderWay<'f> {
    /// One more; `None` if one before it could not be put.
    fn begin(flow: &'f Flow) -> Option<Self> {
        let mut state = flow.lock();
        if state.failed.is_some() {
            return None;
        }
        state.under_way += 1;
        Some(Self(flow))
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.lock().under_way -= 1;
        self.0.less.notify_all();
    }
}

/// Calls `body` with a sink that hands each pack to a thread which calls `put`, and with a function that waits until all
/// packs so far are put; ends when all are. If one cannot be, that is the error, whatever `body` makes of the sink's, which
/// takes no more packs then.
pub(super) fn beside<T>(
    put: impl Fn(PackId, &[u8]) -> Result<(), StagingError> + Sync,
    body: impl FnOnce(Sink<'_>, &dyn Fn()) -> Result<T, JobError>,
) -> Result<T, JobError> {
    let flow = &Flow::default();
    let (full, packs) = sync_channel::<(PackId, Vec<u8>, UnderWay<'_>)>(0);
    let (emptied, buffers) = channel();
    // Once the last thread has ended, for whatever reason, the receiver is gone and no capture waits for it.
    let packs = Arc::new(Mutex::new(packs));
    let done = std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let (packs, emptied, put) = (packs.clone(), emptied.clone(), &put);
            scope.spawn(move || {
                loop {
                    let next = packs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((id, plaintext, under_way)) = next else { return };
                    if let Err(error) = put(id, &plaintext) {
                        flow.fail(error);
                    }
                    drop(under_way);
                    // Nobody takes it back only once the capture has ended.
                    let _ = emptied.send(plaintext);
                }
            });
        }
        drop((packs, emptied));
        let sink = move |id, plaintext| {
            let under_way = UnderWay::begin(flow).ok_or(StagingError::Stopped)?;
            full.send((id, plaintext, under_way))
                .map_err(|_| StagingError::Stopped)?;
            Ok(buffers.try_recv().unwrap_or_default())
        };
        body(Box::new(sink), &|| flow.settle())
    });
    let failed = flow.lock().failed.take();
    match failed {
        Some(error) => Err(error.into()),
        None => done,
    }
}
