//! The bus against a real nats-server, one of its own for each test.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod connect;
mod exhausted;
mod facts;
mod faults;
mod publish;
mod server;
mod support;
mod trigger;
mod users;
mod worker;
