//! Which slot of a schedule is due now, and how many were missed.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::Calendar;

/// How many missed slots are counted; more are told as so many.
pub const MISSED_MAX: u32 = 10_000;

/// How many emitted slots a [`Watch`] remembers.
const REMEMBERED: usize = 1_000;

/// A schedule, ready to be watched.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// When it comes due.
    pub calendar: Calendar,
    /// It starts up to so much after its slot, and before the next one; by how much, slot and name decide.
    pub jitter: Duration,
    /// Whether a slot that was missed while nothing ran is made up for.
    pub catch_up: bool,
}

/// A slot for which a run is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// When it was due.
    pub slot: Timestamp,
    /// How many earlier slots were missed, and are not made up for; at most [`MISSED_MAX`].
    pub missed: u32,
}

/// What is known of a schedule's past.
///
/// Which slots were emitted is told by the repository (the runs' expectations name them), so a restart or another
/// replica continues where the last one stopped. Time is what the caller says; if it jumps, then
/// - forward: the last slot that was jumped over is due, once, and the others count as missed;
/// - back: what was emitted is not emitted again when its time comes anew, and slots in between are emitted as usual.
#[derive(Clone, Debug)]
pub struct Watch {
    since: Timestamp,
    emitted: BTreeSet<Timestamp>,
}

impl Schedule {
    /// When the slot's run starts: the slot and its jitter. The same for every replica.
    #[must_use]
    pub fn start_of(&self, slot: Timestamp) -> Timestamp {
        let room = match self.calendar.next(slot) {
            // Starts keep the order of their slots.
            Some(next) => next.duration_since(slot).as_millis() - 1,
            None => 0,
        };
        let most = room.min(i128::try_from(self.jitter.as_millis()).unwrap_or(i128::MAX));
        let mut hasher = blake3::Hasher::new_derive_key("holdfast 2026-11 schedule jitter");
        hasher.update(&slot.as_millisecond().to_le_bytes());
        hasher.update(self.name.as_bytes());
        let mut number = [0; 8];
        hasher.finalize_xof().fill(&mut number);
        let late = u64::from_le_bytes(number) % u64::try_from(most + 1).unwrap_or(1).max(1);
        let late = SignedDuration::from_millis(i64::try_from(late).unwrap_or(0));
        slot.checked_add(late).unwrap_or(slot)
    }

    /// The last slot whose start has come.
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
    /// Watches from `since` on, the time at which the schedule was first seen by this process. `emitted` are the slots
    /// for which runs were started, the latest thousand of them at least.
    #[must_use]
    pub fn new(since: Timestamp, emitted: impl IntoIterator<Item = Timestamp>) -> Self {
        let mut watch = Self {
            since,
            emitted: BTreeSet::new(),
        };
        for slot in emitted {
            watch.emitted(slot);
        }
        watch
    }

    /// Remembers that a slot was dealt with: its run was started, by whomever, or refused.
    pub fn emitted(&mut self, slot: Timestamp) {
        self.emitted.insert(slot);
        if self.emitted.len() > REMEMBERED {
            self.emitted.pop_first();
        }
    }

    /// The slot that is due, if one is. It stays due until it is [`Self::emitted`].
    pub fn due(&mut self, schedule: &Schedule, now: Timestamp) -> Option<Due> {
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

    /// When to look again: the next time at which a slot may be due. `None` if none ever will.
    pub fn wake(&mut self, schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
        let after = self.settled(schedule, now);
        let begun = schedule.calendar.latest(now).filter(|slot| *slot > after);
        let begun = begun.map(|slot| schedule.start_of(slot)).filter(|start| *start > now);
        begun.or_else(|| schedule.calendar.next(now).map(|slot| schedule.start_of(slot)))
    }

    /// The time up to which nothing is due any more.
    fn settled(&mut self, schedule: &Schedule, now: Timestamp) -> Timestamp {
        // If the clock was ahead when the watch began, nothing would be due until it got there again.
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
