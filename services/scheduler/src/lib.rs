//! The scheduler: decides when runs start and what they capture, and keeps their record.
//!
//! Input: requests for runs, and the calendar. Output: `runs/<run>/expected`; and as recorder the restore point,
//! failures that no worker could write down, and the end of the run. [`Scheduler`] does the I/O.
//!
//! The decisions are pure functions that get the time as an argument. Replicas need not speak to each other: from the
//! same configuration and repository they decide the same, and the same slot gives the same run (`run_id`).

mod calendar;
mod class;
mod configured;
mod due;
mod expect;
mod gap;
mod policy;
mod process;
mod recorder;
mod run_ids;
mod scheduler;
mod waiting;

pub use calendar::{Calendar, CalendarError};
pub use configured::trigger_of;
pub use due::Schedule;
pub use expect::{Known, Start, expect};
pub use gap::longest_gap;
pub use process::main;
pub use run_ids::new_run_id;
pub use scheduler::Scheduler;
