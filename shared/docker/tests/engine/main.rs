//! The adapter and the quiet times on real Docker engines, each test's its own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod adapter;
mod archives;
mod faults;
mod quiet_times;
mod successors;
mod support;
