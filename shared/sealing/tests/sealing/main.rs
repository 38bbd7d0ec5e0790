//! Sealing and opening, against the library itself and against GnuPG.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod damage;
mod gnupg;
mod keys;
mod round_trip;
mod signed;
mod support;
