//! The parent's entries beside the walk: both are in the same order, so one pass over each finds what stands as before.

use std::cmp::Ordering;

use holdfast_format::{Content, Entry, Path, Stamp};

use crate::parent::{ContentsIter, Parent};
use crate::{CaptureError, ParentError};

use super::LAYOUT;
use super::meta::Meta;

/// How far a filesystem's clock may be behind: a tick of the kernel's, or, where times have no fractions, a second or two.
const TICK: u32 = 50_000_000;
const COARSE: i64 = 2;

pub(super) struct Join<'a> {
    lines: Option<ContentsIter<'a>>,
    ahead: Option<Entry>,
    settled_before: Stamp,
    /// Whether the parent's headers were made as ours are.
    pub(super) same_layout: bool,
}

impl<'a> Join<'a> {
    pub(super) fn new(parent: Option<&Parent<'a>>) -> Result<Self, CaptureError> {
        let Some(parent) = parent else {
            return Ok(Self {
                lines: None,
                ahead: None,
                settled_before: Stamp {
                    seconds: i64::MIN,
                    nanoseconds: 0,
                },
                same_layout: false,
            });
        };
        let lines = (parent.contents)().map_err(|e| CaptureError::Parent(ParentError::Contents(e)))?;
        let mut join = Self {
            lines: Some(lines),
            ahead: None,
            settled_before: parent.settled_before(),
            same_layout: parent.manifest.tools.get("tar").is_some_and(|layout| layout == LAYOUT),
        };
        join.step()?;
        Ok(join)
    }

    fn step(&mut self) -> Result<(), CaptureError> {
        self.ahead = None;
        for line in self.lines.iter_mut().flatten() {
            if let Content::Entry(entry) = line.map_err(|e| CaptureError::Parent(ParentError::Contents(e)))? {
                self.ahead = Some(entry);
                break;
            }
        }
        Ok(())
    }

    /// The parent's entry at this path. Paths must come in order.
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

    /// Whether an entry of the parent says all about the inode as it is now.
    pub(super) fn stands(&self, meta: &Meta, entry: &Entry) -> bool {
        let ctime = entry.ctime;
        let latest = if ctime.nanoseconds == 0 {
            Stamp {
                seconds: ctime.seconds.saturating_add(COARSE),
                ..ctime
            }
        } else {
            let nanoseconds = ctime.nanoseconds + TICK;
            Stamp {
                seconds: ctime.seconds.saturating_add(i64::from(nanoseconds / 1_000_000_000)),
                nanoseconds: nanoseconds % 1_000_000_000,
            }
        };
        meta.stands_as(entry) && latest < self.settled_before
    }
}
