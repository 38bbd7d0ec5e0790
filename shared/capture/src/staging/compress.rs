//! Compressing packs on their way into staging.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, compress_bound};

/// The default level, which looks further back here than in zstd: a window of 4 MiB, 2^17 places remembered, matches of 7
/// bytes and more. zstd's own is made for small input. Packs are large, and what is alike in them (rows, headers, files of
/// one kind) lies further apart: measured, it stores 1 to 4 % less for 5 % more time, where level 3 takes 25 % more.
const TUNED: i32 = 2;
const PARAMETERS: [CParameter; 3] = [
    CParameter::WindowLog(22),
    CParameter::HashLog(17),
    CParameter::MinMatch(7),
];

/// A compressor and the buffer for what it makes, kept from pack to pack: a pack is larger than most caches, and fresh
/// memory for each would cost more than reading it.
pub(super) struct Bench {
    level: i32,
    compressor: Compressor<'static>,
    compressed: Vec<u8>,
}

impl Bench {
    fn new(level: i32) -> io::Result<Self> {
        let mut compressor = Compressor::new(level)?;
        if level == TUNED {
            for parameter in PARAMETERS {
                compressor.set_parameter(parameter)?;
            }
        }
        Ok(Self {
            level,
            compressor,
            compressed: Vec::new(),
        })
    }

    /// The frame, which states its content's size.
    pub(super) fn compress(&mut self, plaintext: &[u8]) -> io::Result<&[u8]> {
        self.compressed.clear();
        self.compressed.reserve(compress_bound(plaintext.len()));
        self.compressor.compress_to_buffer(plaintext, &mut self.compressed)?;
        Ok(&self.compressed)
    }
}

/// The benches of one process: they bound how much it compresses at once, and the memory for it.
#[derive(Debug)]
pub(super) struct Benches {
    state: Mutex<State>,
    freed: Condvar,
    most: usize,
}

#[derive(Default)]
struct State {
    taken: usize,
    free: Vec<Bench>,
}

impl Benches {
    /// One for each processor, and no more than four.
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            state: Mutex::default(),
            freed: Condvar::new(),
            most: processors.min(4),
        }
    }

    /// Takes one for this level, and waits for it; `None` if it is to `stop` before that.
    pub(super) fn take(&self, level: i32, stop: &dyn Fn() -> bool, look: Duration) -> io::Result<Option<Bench>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.taken >= self.most {
            if stop() {
                return Ok(None);
            }
            let waited = self.freed.wait_timeout(state, look);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let bench = match state.free.pop().filter(|bench| bench.level == level) {
            Some(bench) => bench,
            None => Bench::new(level)?,
        };
        state.taken += 1;
        Ok(Some(bench))
    }

    /// Puts a bench back, for the next pack.
    pub(super) fn put_back(&self, bench: Bench) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.taken -= 1;
        state.free.push(bench);
        self.freed.notify_one();
    }

    /// Gives up the memory of those that nobody uses.
    pub(super) fn clear(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.free.clear();
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} taken, {} free", self.taken, self.free.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LOOK: Duration = Duration::from_millis(1);

    #[test]
    fn frames_of_every_level_state_their_size_and_give_the_plaintext_back() {
        let plaintext = b"what is alike ".repeat(10_000);
        let benches = Benches::new();
        for level in [1, 2, 3, 2, 19] {
            let mut bench = benches.take(level, &|| false, LOOK).unwrap().unwrap();
            for plaintext in [&plaintext[..], &plaintext[1..], b""] {
                let frame = bench.compress(plaintext).unwrap();
                let size = zstd::zstd_safe::get_frame_content_size(frame).unwrap();
                assert_eq!(size, Some(plaintext.len() as u64));
                assert_eq!(zstd::bulk::decompress(frame, plaintext.len()).unwrap(), plaintext);
            }
            benches.put_back(bench);
        }
    }

    #[test]
    fn no_more_are_taken_than_there_are_and_waiting_can_be_stopped() {
        let benches = Benches::new();
        let taken: Vec<_> = (0..benches.most)
            .map(|_| benches.take(1, &|| false, LOOK).unwrap().unwrap())
            .collect();
        assert!(benches.take(1, &|| true, LOOK).unwrap().is_none());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| benches.take(1, &|| false, LOOK).unwrap());
            for bench in taken {
                benches.put_back(bench);
            }
            assert!(waiting.join().unwrap().is_some());
        });
    }
}
