//! The adapter and the quiet times on real Docker engines, one for each test.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod adapter;
mod archives;
mod faults;
mod quiet_times;
mod successors;
mod support;
