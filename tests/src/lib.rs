//! The harness of Holdfast's end-to-end and fault tests.
//!
//! Everything is real: PostgreSQL, nats-server, an S3 server, and the `holdfast` program, which tests run as a user
//! would. [`Sandbox`] holds one deployment in a temporary folder; [`postgres::Cluster`], [`nats::Server`],
//! [`s3::Server`] and [`docker::Engine`] are processes of their own that end with their value; [`proxy::Proxy`] stands
//! between any two of them and misbehaves on demand; [`tree`] and [`db`] make data that is hard to back up, and compare
//! it.
//!
//! No test sleeps for a fixed time: [`wait_until`] waits for a condition, with a deadline.

pub mod certificates;
pub mod db;
pub mod docker;
pub mod gnupg;
pub mod http;
pub mod nats;
pub mod otlp;
pub mod output;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod random;
pub mod s3;
mod sandbox;
pub mod tools;
pub mod tree;
mod wait;

pub use sandbox::{Background, Builder, Sandbox};
pub use wait::wait_until;

pub use anyhow::{Context, Result, bail, ensure};
