//! Staging packs beside the capture that fills them: compressing takes longer than reading, cutting and hashing together.

use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use holdfast_capture::{Sink, StagingError};
use holdfast_format::PackId;
use holdfast_service::JobError;

use crate::joined_thread::JoinedThread;

/// Packs of one capture on their way at the same time.
const THREADS: usize = 2;

/// The packs of one capture that are on their way into staging.
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
}

/// A pack that was handed over, until it is put or nobody puts it any more.
struct UnderWay(Arc<Flow>);

impl UnderWay {
    /// Counts one more pack; `None` if one before it could not be put.
    fn begin(flow: &Arc<Flow>) -> Option<Self> {
        let mut state = flow.lock();
        if state.failed.is_some() {
            return None;
        }
        state.under_way += 1;
        Some(Self(flow.clone()))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.lock().under_way -= 1;
        self.0.less.notify_all();
    }
}

/// A pack on its way: its id and its plaintext.
type Full = (PackId, Vec<u8>, UnderWay);

/// The threads that stage the packs of one capture. Dropping this waits for them, which end once the sink is dropped.
pub(crate) struct Stager {
    flow: Arc<Flow>,
    threads: Vec<JoinedThread>,
}

impl Stager {
    /// Starts the threads, which call `put` for each pack that the sink is given.
    ///
    /// # Errors
    /// [`JobError::Retry`] if the system gives no threads.
    pub(crate) fn start<P>(put: P) -> Result<(Self, Sink<'static>), JobError>
    where
        P: Fn(PackId, &[u8]) -> Result<(), StagingError> + Send + Sync + 'static,
    {
        // Above the channel's end, which a thread that was started in vain waits for.
        let mut threads = Vec::new();
        let flow = Arc::new(Flow::default());
        let (full, packs) = sync_channel::<Full>(0);
        let (emptied, buffers) = channel();
        // Once the last thread has ended, for whatever reason, the receiver is gone and no capture waits for it.
        let packs = Arc::new(Mutex::new(packs));
        let put = Arc::new(put);
        for _ in 0..THREADS {
            let flow = flow.clone();
            let packs = packs.clone();
            let emptied = emptied.clone();
            let put = put.clone();
            threads.push(JoinedThread::start("stager", move || {
                stage(&flow, &packs, &emptied, &*put)
            })?);
        }
        let of_sink = flow.clone();
        let sink = move |id, plaintext| {
            let under_way = UnderWay::begin(&of_sink).ok_or(StagingError::Stopped)?;
            full.send((id, plaintext, under_way))
                .map_err(|_| StagingError::Stopped)?;
            Ok(buffers.try_recv().unwrap_or_default())
        };
        Ok((Self { flow, threads }, Box::new(sink)))
    }

    /// Waits until all packs that were handed over are staged, or cannot be.
    pub(crate) fn settle(&self) {
        let mut state = self.flow.lock();
        while state.under_way > 0 {
            state = self.flow.less.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until the threads have ended. The sink must have been dropped.
    ///
    /// # Errors
    /// [`JobError`] if a pack could not be staged: then the capture is void, whatever came of it.
    pub(crate) fn end(self) -> Result<(), JobError> {
        for thread in self.threads {
            thread.join()?;
        }
        let failed = self.flow.lock().failed.take();
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Puts one pack after another until the sink is dropped.
fn stage<P>(flow: &Flow, packs: &Mutex<Receiver<Full>>, emptied: &Sender<Vec<u8>>, put: &P)
where
    P: Fn(PackId, &[u8]) -> Result<(), StagingError>,
{
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
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;

    use super::*;

    fn id(n: u8) -> PackId {
        PackId::from_bytes([n; 32])
    }

    #[test]
    fn packs_are_put_and_their_buffers_come_back() {
        let put = Arc::new(Mutex::new(Vec::new()));
        let puts = put.clone();
        let (stager, mut sink) = Stager::start(move |id, plaintext| {
            puts.lock().unwrap().push((id, plaintext.to_vec()));
            Ok(())
        })
        .unwrap();
        let mut buffer = vec![0; 3];
        for n in 1..=20 {
            buffer.clear();
            buffer.push(n);
            buffer = sink(id(n), buffer).unwrap();
        }
        stager.settle();
        let mut all = put.lock().unwrap().clone();
        all.sort();
        assert_eq!(all, (1..=20).map(|n| (id(n), vec![n])).collect::<Vec<_>>());
        drop(sink);
        stager.end().unwrap();
    }

    #[test]
    fn settling_waits_for_what_is_under_way() {
        let (go_on, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let (put, puts) = mpsc::channel();
        let put = Mutex::new(put);
        let (stager, mut sink) = Stager::start(move |id, _| {
            held.lock().unwrap().recv().unwrap();
            put.lock().unwrap().send(id).unwrap();
            Ok(())
        })
        .unwrap();
        sink(id(1), vec![1]).unwrap();
        sink(id(2), vec![2]).unwrap();
        std::thread::scope(|scope| {
            let settling = scope.spawn(|| stager.settle());
            assert!(puts.try_recv().is_err() && !settling.is_finished());
            go_on.send(()).unwrap();
            puts.recv().unwrap();
            assert!(!settling.is_finished());
            go_on.send(()).unwrap();
            settling.join().unwrap();
        });
        drop(sink);
        stager.end().unwrap();
    }

    #[test]
    fn after_a_pack_that_cannot_be_put_none_is_taken_and_it_is_the_reason() {
        let (stager, mut sink) = Stager::start(|_, _| {
            Err(StagingError::NoRoom {
                staged: 7,
                max_bytes: 7,
            })
        })
        .unwrap();
        sink(id(1), vec![1]).unwrap();
        stager.settle();
        assert!(matches!(sink(id(2), vec![2]), Err(StagingError::Stopped)));
        drop(sink);
        let error = stager.end().unwrap_err();
        assert!(error.reason().contains("room"), "{error:?}");
    }

    #[test]
    fn a_panic_while_putting_voids_the_capture_and_holds_nobody() {
        let (stager, mut sink) = Stager::start(|_, _| std::panic::resume_unwind(Box::new("told to"))).unwrap();
        sink(id(1), vec![1]).unwrap();
        stager.settle();
        sink(id(2), vec![2]).unwrap();
        stager.settle();
        // Both threads are gone.
        assert!(matches!(sink(id(3), vec![3]), Err(StagingError::Stopped)));
        drop(sink);
        assert!(matches!(stager.end(), Err(JobError::Retry(_))));
    }
}
