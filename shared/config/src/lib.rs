//! The configuration of Holdfast: one TOML file that every service reads.
//!
//! Later layers override earlier ones: built-in defaults, the file, environment variables `HOLDFAST__SECTION__KEY` (and
//! the few of [`well_known`]). Every secret `key` has a twin `key_file`, which is read when the configuration is
//! loaded. All faults are collected and reported together as one [`ConfigError`], by file, line, key and rule. A fault
//! never shows the value, which may be a secret in the wrong place.
//!
//! Start at [`Settings::load`]. Several services and the command line read the same sections, so each section has one
//! file here, under `sections`.

mod connection;
mod defined_names;
mod effective;
mod error;
mod layers;
mod reader;
mod secret;
mod secret_section;
mod sections;
mod settings;
mod suggest;
mod table;
mod values;
pub mod well_known;

pub use connection::{
    Authorities, ChannelBinding, Connection, Host, Keepalives, Reach, SslMode, TargetSession, TlsVersion,
};
pub use error::{ConfigError, Fault, InvalidValue};
pub use secret::Secret;
pub use secret_section::SecretSection;
pub use sections::directory::Directory;
pub use sections::docker::{Docker, DockerPart, DockerSource, DockerVolumes, ReadVolumes};
pub use sections::encryption::Encryption;
pub use sections::janitor::Janitor;
pub use sections::nats::Nats;
pub use sections::postgres::Postgres;
pub use sections::repository::Repository;
pub use sections::requester::Requester;
pub use sections::retention::Retention;
pub use sections::s3::S3Options;
pub use sections::schedule::{BackupType, Schedule};
pub use sections::staging::{AllowDisk, Staging};
pub use sections::system::System;
pub use sections::target::Target;
pub use sections::telemetry::{LogFormat, Telemetry};
pub use sections::verifier::Verifier;
pub use sections::workers::Workers;
pub use settings::Settings;
pub use suggest::nearest;
pub use values::bytesize::ByteSize;
pub use values::period::Period;
pub use values::place::PlaceUrl;
pub use values::span::Span;
