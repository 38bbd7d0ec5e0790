//! The janitor applies retention. It is the only service that deletes.
//!
//! Work: a `clean` job for each place, after a run. The janitor leaves tombstones, marks of condemned packs, deletions,
//! and a report.
//!
//! - `plan` decides what is deleted and what stays. It is pure, and can be printed ([`RetentionPlan::lines`]).
//! - [`Places`] holds the configured places. `look` reads one of them for the plan. If anything cannot be read, the
//!   plan is told so, and deletes nothing.
//! - `apply` carries a plan out, step by step, and stops at the first step that fails. The rest is planned again.
//! - [`plan_place`] and [`apply_place`] do all of that for one place, without a bus. `holdfast cleanup` calls them.
//! - [`Janitor`] is the stage.
//!
//! Two janitors at one place at the same time do no harm: every step may be repeated, and packs are deleted only one
//! grace period after they were condemned. Within a process, places are cleaned one at a time all the same.

mod apply;
mod clean;
mod error;
mod other_places;
mod places;
mod plan;
mod process;
mod stage;
mod view;

pub use apply::ApplyError;
pub use clean::{Applied, apply_place, plan_place};
pub use error::CleanError;
pub use places::Places;
pub use plan::{Action, Described, Keep, Object, Removal, RetentionPlan, Spare};
pub use process::main;
pub use stage::Janitor;
