//! Restores of a whole stack, as of a restore point: its volumes, the databases of its containers, its images.

mod apply;
mod images;
mod plan;

pub use apply::{
    StackError, StackOptions, StackReport, StackSource, StackWarning, StackWatch, restore_stack, volume_stacks,
};
pub use plan::{PlanError, StackPart, StackPlan, StackStep, holds_stack, only_stack};
