//! Chunks in the order of a stream. Packs to come are fetched and opened on other threads meanwhile; those that the stream
//! will come back to are kept, within a bound.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use holdfast_format::{Extent, PackRef};

use crate::passes::{fetch, lock};
use crate::progress::{Limits, Progress};
use crate::source::{Origin, PackError};

/// Extents looked at in advance.
const AHEAD: usize = 1 << 16;

/// A pack that was asked for.
struct Held {
    /// `None` while it is on its way.
    plain: Option<Result<Vec<u8>, PackError>>,
    /// Extents ahead that lie in it.
    wanted: usize,
    /// The time of the last read: a count of extents.
    read: u64,
    size: u64,
}

/// The reason why the chunks end early.
pub(crate) enum Broken<E> {
    /// An extent points at no pack, or beyond its end.
    Outside(Extent),
    /// The worker threads are gone: the job was stopped, or one of them panicked.
    Workers,
    /// The consumer's or the extents' own error.
    Other(E),
}

/// Calls `consume` with each extent, its tag and its bytes, in order; with an error if its pack could not be had. Then
/// `consume` decides whether to go on.
pub(crate) fn in_order<T, E>(
    origin: Origin<'_>,
    limits: Limits,
    progress: &Progress,
    extents: impl Iterator<Item = Result<(Extent, T), E>>,
    consume: impl FnMut(Extent, T, Result<&[u8], PackError>) -> Result<(), E>,
) -> Result<(), Broken<E>> {
    let (ask, asked) = channel::<(u32, PackRef)>();
    let (answer, answers) = channel();
    let asked = Mutex::new(asked);
    thread::scope(|scope| {
        for _ in 0..limits.threads.max(1) {
            let asked = &asked;
            let answer = answer.clone();
            scope.spawn(move || serve(origin, progress, asked, &answer));
        }
        drop(answer);
        let queue = Queue {
            origin,
            budget: limits.cache,
            held: HashMap::new(),
            size: 0,
            ahead: VecDeque::new(),
            next: None,
            ask,
            answers,
            count: 0,
        };
        // The queue goes at the end of this call, and with it the workers' source of work.
        queue.run(extents, consume)
    })
}

type Answer = (u32, Result<Vec<u8>, PackError>);

fn serve(origin: Origin<'_>, progress: &Progress, asked: &Mutex<Receiver<(u32, PackRef)>>, answer: &Sender<Answer>) {
    loop {
        let Ok((index, pack)) = lock(asked).recv() else {
            return;
        };
        if progress.stopped() || answer.send((index, fetch(origin, progress, &pack))).is_err() {
            return;
        }
    }
}

struct Queue<'a, T> {
    origin: Origin<'a>,
    budget: u64,
    held: HashMap<u32, Held>,
    /// Plaintext bytes of all held packs.
    size: u64,
    ahead: VecDeque<(Extent, T)>,
    /// An extent that waits for room.
    next: Option<(Extent, T)>,
    ask: Sender<(u32, PackRef)>,
    answers: Receiver<Answer>,
    count: u64,
}

impl<T> Queue<'_, T> {
    fn run<E>(
        mut self,
        mut extents: impl Iterator<Item = Result<(Extent, T), E>>,
        mut consume: impl FnMut(Extent, T, Result<&[u8], PackError>) -> Result<(), E>,
    ) -> Result<(), Broken<E>> {
        loop {
            self.look_ahead(&mut extents)?;
            let Some((extent, tag)) = self.ahead.pop_front() else {
                return Ok(());
            };
            self.wait_for(extent.pack)?;
            self.count += 1;
            let Some(held) = self.held.get_mut(&extent.pack) else {
                return Err(Broken::Outside(extent));
            };
            held.wanted -= 1;
            held.read = self.count;
            let start = extent.offset as usize;
            let end = extent.offset as usize + extent.length as usize;
            let bytes = match &held.plain {
                Some(Ok(plain)) => Ok(plain.get(start..end).ok_or(Broken::Outside(extent))?),
                Some(Err(error)) => Err(error.clone()),
                None => return Err(Broken::Workers),
            };
            consume(extent, tag, bytes).map_err(Broken::Other)?;
        }
    }

    /// Takes extents in as long as their packs are held or find room.
    fn look_ahead<E>(&mut self, extents: &mut impl Iterator<Item = Result<(Extent, T), E>>) -> Result<(), Broken<E>> {
        while self.ahead.len() < AHEAD {
            let (extent, tag) = match self.next.take() {
                Some(waiting) => waiting,
                None => match extents.next() {
                    Some(next) => next.map_err(Broken::Other)?,
                    None => return Ok(()),
                },
            };
            if !self.held.contains_key(&extent.pack) && !self.request(&extent)? {
                self.next = Some((extent, tag));
                return Ok(());
            }
            if let Some(held) = self.held.get_mut(&extent.pack) {
                held.wanted += 1;
            }
            self.ahead.push_back((extent, tag));
        }
        Ok(())
    }

    /// Asks for a pack, if it fits in once packs that nobody ahead wants have gone. One always fits.
    fn request<E>(&mut self, extent: &Extent) -> Result<bool, Broken<E>> {
        let pack = *self.origin.pack(extent.pack).ok_or(Broken::Outside(*extent))?;
        let size = u64::from(pack.plain);
        while self.size + size > self.budget && !self.held.is_empty() {
            let idle = self
                .held
                .iter()
                .filter(|(_, held)| held.wanted == 0 && held.plain.is_some());
            let Some(oldest) = idle.min_by_key(|(_, held)| held.read).map(|(index, _)| *index) else {
                return Ok(false);
            };
            self.size -= self.held.remove(&oldest).map_or(0, |held| held.size);
        }
        self.ask.send((extent.pack, pack)).map_err(|_| Broken::Workers)?;
        self.size += size;
        let held = Held {
            plain: None,
            wanted: 0,
            read: self.count,
            size,
        };
        self.held.insert(extent.pack, held);
        Ok(true)
    }

    fn wait_for<E>(&mut self, index: u32) -> Result<(), Broken<E>> {
        while self.held.get(&index).is_some_and(|held| held.plain.is_none()) {
            let (came, plain) = self.answers.recv().map_err(|_| Broken::Workers)?;
            if let Some(held) = self.held.get_mut(&came) {
                held.plain = Some(plain);
            }
        }
        Ok(())
    }
}
