//! The janitor: retention.
//!
//! Work in: `clean` per place, after a run. Leaves tombstones, marks of condemned packs, deletions, and a report. It is the
//! only service that deletes.
//!
//! - [`plan`] decides what goes and what stays: pure, and printable ([`Plan::lines`]).
//! - [`Places`] are the places it works at; [`look`] shows the plan what one of them holds. What cannot be read is told to
//!   the plan, which then deletes nothing.
//! - [`apply`] carries a plan out, step by step, and stops at the first step that fails. What is left is planned again.
//! - [`plan_place`] and [`apply_place`] do all of that for one place, without a bus: what `holdfast cleanup` calls.
//! - [`Janitor`] is the stage.
//!
//! Two janitors at one place at the same time do no harm: every step may be repeated, and packs go only a grace after they
//! were condemned. Within a process places are cleaned one at a time all the same.

mod apply;
mod clean;
mod error;
mod others;
mod places;
pub mod plan;
mod process;
mod stage;
mod view;

pub use apply::{ApplyError, apply};
pub use clean::{Applied, apply_place, plan_place};
pub use error::CleanError;
pub use places::Places;
pub use plan::{Action, Plan, Rules};
pub use process::main;
pub use stage::Janitor;
pub use view::{Sight, look};
