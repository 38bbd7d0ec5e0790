//! Trees of files: made, changed and compared.

mod bulk;
mod compare;
mod content;
mod generate;
mod scratch;

pub use bulk::{Bulk, edit_bulk, make_bulk};
pub use compare::{compare, compare_except};
pub use generate::{Shape, edit, generate};
pub use scratch::Scratch;

#[cfg(test)]
mod tests;
