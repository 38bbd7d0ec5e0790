//! Restores into volumes, containers and stacks of real Docker engines, one for each test.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "the tests without an engine use more of it")]
mod common;

mod containers;
mod stacks;
mod support;
mod volumes;
