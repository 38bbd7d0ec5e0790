//! Servers that are reached as their address says, by the driver and by PostgreSQL's programs alike.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
mod hosts;
mod text;
mod tls;
