//! Logs, traces, metrics and health of every Holdfast process, and the seams by which tests take hold of one.
//!
//! - [`init`]: logs to stderr and traces over OTLP; [`Guard::shutdown`] flushes them.
//! - [`propagate`]: trace context in and out of message headers, so that a run is one trace.
//! - [`metrics`]: the process's counters, shown as Prometheus text.
//! - [`http`]: `/metrics` and `/healthz`.
//! - [`clock`] and [`failpoint`]: time and faults, as tests want them.

pub mod clock;
mod error;
mod export;
pub mod failpoint;
pub mod http;
mod init;
pub mod metrics;
pub mod propagate;

pub use error::{InitError, ShutdownError};
pub use init::{Guard, LogWriter, Options, init};

/// True if fail points and the shifted clock are compiled in: in debug builds, and with the feature `failpoints`.
pub(crate) const TEST_SEAMS: bool = cfg!(any(debug_assertions, feature = "failpoints"));
