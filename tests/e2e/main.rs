//! Complete backups and restores with the `holdfast` program, as its users run it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cli;
mod damage;
mod encodings;
mod full;
mod incremental;
mod keys;
mod lock_in;
mod neighbours;
mod partial;
mod reach;
mod restores;
mod roster;
mod services;
mod status;
mod trace;
