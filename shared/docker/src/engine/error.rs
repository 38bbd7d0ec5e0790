//! Errors of calls to an engine.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use bollard::errors::Error as Bollard;
use holdfast_fault::{Retry, Retryable};

use crate::facts::is_name;

/// A call to the engine that failed. Names the operation and the thing, and keeps the cause.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {thing}: {}", .kind.text())]
pub struct EngineError {
    operation: &'static str,
    thing: String,
    kind: Kind,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The kind of a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The socket of the engine does not exist.
    Missing,
    /// No process listens at the engine's address.
    Refused,
    /// The engine did not answer within this time.
    NoAnswer(Duration),
    /// The connection broke before the answer was complete.
    Broken,
    /// The engine is there, but too busy or not ready.
    Busy,
    /// The engine, or the system, denies access.
    Denied,
    /// The container, volume or other thing does not exist.
    NotFound,
    /// The state of the thing does not allow the operation.
    Conflict,
    /// The engine rejects the request as wrong.
    Rejected,
    /// The engine tried and failed.
    Failed,
    /// The engine's answer cannot be understood.
    Garbled,
    /// The engine cannot have a thing of this name, so it was not asked.
    NoName,
    /// The engine's address is of no known form.
    NoAddress,
}

impl Kind {
    fn text(self) -> String {
        match self {
            Self::Missing => "there is no engine".to_owned(),
            Self::Refused => "the engine refuses connections".to_owned(),
            Self::NoAnswer(limit) => format!("the engine did not answer within {limit:?}"),
            Self::Broken => "the connection broke".to_owned(),
            Self::Busy => "the engine is not ready".to_owned(),
            Self::Denied => "the engine does not allow it".to_owned(),
            Self::NotFound => "not found".to_owned(),
            Self::Conflict => "its state does not allow it".to_owned(),
            Self::Rejected => "the engine rejects the request".to_owned(),
            Self::Failed => "the engine failed".to_owned(),
            Self::Garbled => "the engine's answer cannot be understood".to_owned(),
            Self::NoName => "no such name is possible".to_owned(),
            Self::NoAddress => "must be unix:///path, /path or tcp://address:port".to_owned(),
        }
    }
}

impl Retryable for EngineError {
    /// An engine that is away or not ready may be back later; what it refused or failed to do, it does not do later.
    fn retry(&self) -> Retry {
        match self.kind {
            Kind::Missing | Kind::Refused | Kind::NoAnswer(_) | Kind::Broken | Kind::Busy => Retry::Later,
            Kind::Denied
            | Kind::NotFound
            | Kind::Conflict
            | Kind::Rejected
            | Kind::Failed
            | Kind::Garbled
            | Kind::NoName
            | Kind::NoAddress => Retry::Never,
        }
    }
}

impl EngineError {
    /// Returns the kind of the failure.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// True if the container, volume or other thing does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == Kind::NotFound
    }

    pub(crate) fn new(operation: &'static str, thing: impl Into<String>, kind: Kind) -> Self {
        Self {
            operation,
            thing: thing.into(),
            kind,
            source: None,
        }
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(super) fn no_answer(operation: &'static str, thing: impl Into<String>, limit: Duration) -> Self {
        Self::new(operation, thing, Kind::NoAnswer(limit))
    }

    pub(super) fn of_bollard(operation: &'static str, thing: impl Into<String>, source: Bollard) -> Self {
        Self::new(operation, thing, kind_of(&source)).with_source(source)
    }

    /// Fails if the engine cannot have a thing of this name.
    pub(super) fn check_name(operation: &'static str, what: &str, name: &str) -> Result<(), Self> {
        if is_name(name) {
            return Ok(());
        }
        Err(Self::new(operation, format!("{what} {name:?}"), Kind::NoName))
    }
}

fn kind_of(error: &Bollard) -> Kind {
    match error {
        Bollard::DockerResponseServerError { status_code, .. } => match status_code {
            401 | 403 => Kind::Denied,
            404 => Kind::NotFound,
            409 => Kind::Conflict,
            400..=499 => Kind::Rejected,
            503 => Kind::Busy,
            _ => Kind::Failed,
        },
        Bollard::SocketNotFoundError(_) => Kind::Missing,
        Bollard::UnsupportedURISchemeError { .. } | Bollard::URLParseError { .. } => Kind::NoAddress,
        Bollard::IOError { err } => of_io(err),
        Bollard::HyperLegacyError { err } => io_cause(err).map_or(Kind::Broken, of_io),
        Bollard::HyperResponseError { err } => io_cause(err).map_or(Kind::Broken, of_io),
        Bollard::RequestTimeoutError => Kind::NoAnswer(Duration::from_secs(super::NO_LIMIT)),
        Bollard::DockerStreamError { .. } | Bollard::DockerContainerWaitError { .. } => Kind::Failed,
        _ => Kind::Garbled,
    }
}

fn io_cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn of_io(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::NotFound => Kind::Missing,
        io::ErrorKind::ConnectionRefused => Kind::Refused,
        io::ErrorKind::PermissionDenied => Kind::Denied,
        _ => Kind::Broken,
    }
}
