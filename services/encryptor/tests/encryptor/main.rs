//! The encryptor with real captures, a real place and a private bus.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod close;
mod common;
mod seal;
mod stage;
