//! Docker volumes, databases in containers and stacks, backed up and restored with the `holdfast` program on real engines.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod databases;
mod engine;
mod faults;
mod hosts;
mod quiet;
mod setup;
mod stacks;
mod volumes;
