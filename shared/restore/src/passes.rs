//! Packs one by one, each fetched and opened once, several at a time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use holdfast_format::PackRef;

use crate::progress::{Limits, Progress};
use crate::source::{Origin, PackError};

/// Fetches and opens one pack.
pub(crate) fn fetch(origin: Origin<'_>, progress: &Progress, pack: &PackRef) -> Result<Vec<u8>, PackError> {
    let sealed = origin.packs.sealed(pack)?;
    progress.add_read(sealed.len() as u64);
    origin.packs.open(pack, &sealed)
}

/// Calls `work` for each item on several threads, until one answers with an error; gives that error.
pub(crate) fn each<T: Sync, E: Send>(
    items: &[T],
    limits: Limits,
    work: impl Fn(&T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let error = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..limits.threads.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) else {
                        return;
                    };
                    if let Err(found) = work(item) {
                        failed.store(true, Ordering::Relaxed);
                        lock(&error).get_or_insert(found);
                    }
                }
            });
        }
    });
    match error.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Locks a mutex, poisoned or not: the data behind these locks is valid whatever happened to another thread.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
