//! An earlier capture's entries beside the walk: both are in the same order, so one pass over each finds what stands as before.

use std::cmp::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use holdfast_format::{Content, ContentsError, Entry, Path, Stamp};

use crate::{CaptureError, Earlier, ParentError};

use super::meta::Meta;

/// The most nanoseconds by which a filesystem's clock may be behind: a tick of the kernel's clock. Where times have no
/// fractions, it may be behind by a second or two: [`COARSE`] seconds.
const TICK: u32 = 50_000_000;
const COARSE: i64 = 2;

/// Entries that are handed over at once, and how often that may be ahead of the walk.
const BATCH: usize = 128;
const BATCHES: usize = 4;

type Batch = Result<Vec<Entry>, ContentsError>;

pub(super) struct Join {
    /// `None` without an earlier capture.
    batches: Option<Receiver<Batch>>,
    batch: std::vec::IntoIter<Entry>,
    ahead: Option<Entry>,
    settled_before: Stamp,
    /// True if the earlier capture's headers have the layout of this version's.
    pub(super) same_layout: bool,
}

/// Reads entries ahead, until all are read or nobody wants them any more.
fn read(earlier: &Earlier<'_>, batches: &SyncSender<Batch>) -> Result<(), ContentsError> {
    let mut batch = Vec::with_capacity(BATCH);
    for line in earlier.contents.lines()? {
        let Content::Entry(entry) = line? else { continue };
        batch.push(entry);
        if batch.len() == BATCH {
            let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
            if batches.send(Ok(full)).is_err() {
                return Ok(());
            }
        }
    }
    // Whether anybody still wants them makes no difference any more.
    let _ = batches.send(Ok(batch));
    Ok(())
}

/// The latest time that a file system's clock may have meant by this one.
pub(super) fn latest_meant(stamp: Stamp) -> Stamp {
    if stamp.nanoseconds == 0 {
        return Stamp {
            seconds: stamp.seconds.saturating_add(COARSE),
            ..stamp
        };
    }
    let nanoseconds = stamp.nanoseconds.saturating_add(TICK);
    Stamp {
        seconds: stamp.seconds.saturating_add(i64::from(nanoseconds / 1_000_000_000)),
        nanoseconds: nanoseconds % 1_000_000_000,
    }
}

impl Join {
    /// Begins to read the entries of an earlier capture, if there is one.
    pub(super) fn new<'scope>(
        earlier: Option<&'scope Earlier<'_>>,
        scope: &'scope Scope<'scope, '_>,
    ) -> Result<Self, CaptureError> {
        let mut join = Self {
            batches: None,
            batch: Vec::new().into_iter(),
            ahead: None,
            settled_before: Stamp {
                seconds: i64::MIN,
                nanoseconds: 0,
            },
            same_layout: false,
        };
        if let Some(earlier) = earlier {
            let (send, batches) = sync_channel(BATCHES);
            scope.spawn(move || {
                if let Err(error) = read(earlier, &send) {
                    let _ = send.send(Err(error));
                }
            });
            join.batches = Some(batches);
            join.settled_before = earlier.settled_before();
            join.same_layout = earlier.same_layout;
            join.step()?;
        }
        Ok(join)
    }

    fn step(&mut self) -> Result<(), CaptureError> {
        loop {
            self.ahead = self.batch.next();
            let batches = self.batches.as_ref().filter(|_| self.ahead.is_none());
            // The reader has ended, at the end of the contents or after its error.
            let Some(Ok(batch)) = batches.map(Receiver::recv) else {
                return Ok(());
            };
            let batch = batch.map_err(|e| CaptureError::Parent(ParentError::Contents(e)))?;
            self.batch = batch.into_iter();
        }
    }

    /// Takes the earlier capture's entry at this path. Paths must come in order.
    pub(super) fn take(&mut self, path: &Path) -> Result<Option<Entry>, CaptureError> {
        while let Some(entry) = &self.ahead {
            match entry.path.compare(path) {
                Ordering::Less => self.step()?,
                Ordering::Equal => {
                    let found = self.ahead.take();
                    self.step()?;
                    return Ok(found);
                }
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    /// True if an entry of the earlier capture says all about the inode as it is now.
    pub(super) fn stands(&self, meta: &Meta, entry: &Entry) -> bool {
        meta.stands_as(entry) && latest_meant(entry.ctime) < self.settled_before
    }
}
