//! The scheduler: when runs start, and what they are to bring.
//!
//! Work in: requests for runs, and the calendar. Leaves `runs/<run>/expected`, and as recorder the restore point, the
//! failures that nobody else could write down, and the run's end. [`Scheduler`] does the I/O.
//!
//! What is decided here is pure: no I/O, and the time is handed in. Replicas that decide alike from the same
//! configuration and repository need not speak to each other: the same slot is the same run ([`run_id`]).

mod calendar;
mod class;
mod configured;
mod due;
mod expect;
mod process;
mod recorder;
mod scheduler;
mod tick;

pub use calendar::{Calendar, CalendarError};
pub use class::{Past, class_for};
pub use configured::trigger_of;
pub use due::{Due, MISSED_MAX, Schedule, Watch};
pub use expect::{Known, KnownSource, Role, Start, expect, overlaps};
pub use process::main;
pub use scheduler::Scheduler;
pub use tick::{new_run_id, run_id};
