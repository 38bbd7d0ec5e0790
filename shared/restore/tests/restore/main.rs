//! Restores from repositories made by hand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

mod check;
mod database;
mod files;
mod hostile;
mod retry;
mod script;
mod script_trust;
mod stream;
mod upload;
