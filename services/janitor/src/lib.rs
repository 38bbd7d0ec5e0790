//! The janitor: retention. What goes and what stays is decided by a pure plan ([`plan`]), which can be printed; only
//! then it is applied, as an ordered list of single writes and deletions.

pub mod plan;
