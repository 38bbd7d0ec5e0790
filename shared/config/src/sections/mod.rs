//! The sections of the configuration, one file each, with their keys, defaults and rules.

pub(crate) mod directory;
pub(crate) mod docker;
pub(crate) mod encryption;
pub(crate) mod janitor;
pub(crate) mod nats;
pub(crate) mod postgres;
pub(crate) mod repository;
pub(crate) mod requester;
pub(crate) mod retention;
pub(crate) mod s3;
pub(crate) mod schedule;
pub(crate) mod staging;
pub(crate) mod system;
pub(crate) mod target;
pub(crate) mod telemetry;
pub(crate) mod verifier;
pub(crate) mod workers;
