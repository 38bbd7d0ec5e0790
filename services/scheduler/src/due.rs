//! Decides which slot of a schedule is due, and how many were missed.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_format::ScheduleName;
use jiff::{SignedDuration, Timestamp};

use crate::calendar::Calendar;

/// The largest count of missed slots. A longer absence counts as this many.
pub(crate) const MISSED_MAX: u32 = 10_000;

/// The number of emitted slots that a [`Watch`] remembers.
const REMEMBERED: usize = 1_000;

/// A schedule that can be watched.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The name, unique in the configuration.
    pub name: ScheduleName,
    /// The times at which the schedule comes due.
    pub calendar: Calendar,
    /// The longest delay between a slot and the start of its run, which also never reaches the next slot. The delay of
    /// a slot follows from slot and name.
    pub jitter: Duration,
    /// True if a slot that passed while no scheduler ran is made up for.
    pub catch_up: bool,
}

/// A slot for which a run is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// Time of the slot, in the calendar.
    pub slot: Timestamp,
    /// The number of earlier slots that were missed and are not made up for, at most [`MISSED_MAX`].
    pub missed: u32,
}

/// The past of a schedule, and the decision which slot is due.
///
/// The repository says which slots were emitted, since the expectations of runs name their slots. So a scheduler that
/// restarts, or another replica, goes on where the last one stopped. The caller passes the current time. If its clock
/// jumps, then
/// - forward: the last slot that was jumped over is due, once, and the others count as missed;
/// - back: a slot that was emitted is not emitted again when its time comes a second time; other slots are emitted as
///   usual.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    since: Timestamp,
    emitted: BTreeSet<Timestamp>,
}

impl Schedule {
    /// Returns the time at which the slot's run starts: the slot and its delay. Every replica gets the same time.
    #[must_use]
    pub fn start_of(&self, slot: Timestamp) -> Timestamp {
        let room = match self.calendar.next(slot) {
            // The delay stays below the distance to the next slot, so that runs start in the order of their slots.
            Some(next) => next.duration_since(slot).as_millis() - 1,
            None => 0,
        };
        let most = room.min(i128::try_from(self.jitter.as_millis()).unwrap_or(i128::MAX));
        let mut hasher = blake3::Hasher::new_derive_key("holdfast 2026-11 schedule jitter");
        hasher.update(&slot.as_millisecond().to_le_bytes());
        hasher.update(self.name.as_str().as_bytes());
        let mut number = [0; 8];
        hasher.finalize_xof().fill(&mut number);
        let late = u64::from_le_bytes(number) % u64::try_from(most + 1).unwrap_or(1).max(1);
        let late = SignedDuration::from_millis(i64::try_from(late).unwrap_or(0));
        slot.checked_add(late).unwrap_or(slot)
    }

    /// Returns the last slot whose run should have started by `now`.
    fn latest(&self, now: Timestamp) -> Option<Timestamp> {
        let slot = self.calendar.latest(now)?;
        if self.start_of(slot) <= now {
            Some(slot)
        } else {
            self.calendar.before(slot)
        }
    }
}

impl Watch {
    /// Watches from `since` on, the time at which this process first saw the schedule. `emitted` holds the slots for
    /// which runs were started, at least the latest thousand.
    #[must_use]
    pub(crate) fn new(since: Timestamp, emitted: impl IntoIterator<Item = Timestamp>) -> Self {
        let mut watch = Self {
            since,
            emitted: BTreeSet::new(),
        };
        for slot in emitted {
            watch.emitted(slot);
        }
        watch
    }

    /// Remembers that a slot is done with: some process has started its run, or the run was refused.
    pub(crate) fn emitted(&mut self, slot: Timestamp) {
        self.emitted.insert(slot);
        if self.emitted.len() > REMEMBERED {
            self.emitted.pop_first();
        }
    }

    /// Returns the slot that is due, if there is one. It stays due until it is passed to [`Self::emitted`].
    pub(crate) fn due(&mut self, schedule: &Schedule, now: Timestamp) -> Option<Due> {
        let after = self.settled(schedule, now);
        let slot = schedule.latest(now).filter(|slot| *slot > after)?;
        let mut missed = 0;
        let mut at = after;
        while let Some(next) = schedule
            .calendar
            .next(at)
            .filter(|next| *next < slot && missed < MISSED_MAX)
        {
            missed += 1;
            at = next;
        }
        Some(Due { slot, missed })
    }

    /// Returns the next time at which a slot may be due, or `None` if there is none.
    pub(crate) fn wake(&mut self, schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
        let after = self.settled(schedule, now);
        let begun = schedule.calendar.latest(now).filter(|slot| *slot > after);
        let begun = begun.map(|slot| schedule.start_of(slot)).filter(|start| *start > now);
        begun.or_else(|| schedule.calendar.next(now).map(|slot| schedule.start_of(slot)))
    }

    /// Returns the time up to which nothing is due any more.
    fn settled(&mut self, schedule: &Schedule, now: Timestamp) -> Timestamp {
        // If the clock was ahead when the watch began, no slot would be due until the clock got there again.
        self.since = self.since.min(now);
        match self.emitted.range(..=now).next_back() {
            Some(last) if schedule.catch_up => *last,
            Some(last) => self.since.max(*last),
            None => self.since,
        }
    }
}

#[cfg(test)]
mod tests;
