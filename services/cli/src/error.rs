//! The errors of commands, with the advice what to do.

use std::error::Error;
use std::path::{Path, PathBuf};

use holdfast_bus::{BusError, ServerError};
use holdfast_config::ConfigError;
use holdfast_events::Refusal;
use holdfast_repository::RepositoryError;
use holdfast_sealing::KeyError;
use holdfast_service::{JobError, OpenError};
use holdfast_session::StagingFolderError;
use holdfast_storage::StorageError;

/// The advice for a key that cannot be used, beside what its error says.
const LOOK_AT_KEYS: &str = "`holdfast keys check` looks at every key that the configuration names";

type Cause = Box<dyn Error + Send + Sync>;

/// A command did not do what was asked. [`crate::Exit`] says what that means for the exit code.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration; it lists every fault.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The command line asks for something that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A key file cannot be used, or is missing.
    #[error("{what}")]
    Keys {
        /// The purpose of the key, or the setting.
        what: String,
        /// The reason.
        #[source]
        source: Option<Box<KeyError>>,
    },
    /// The command would have put something at risk.
    #[error("{what}")]
    Refused {
        /// The refusal, for people.
        what: String,
        /// The advice.
        advice: String,
    },
    /// The server or service that was asked did not answer in time.
    #[error("{0}")]
    NoAnswer(String),
    /// Something failed.
    #[error("{what}")]
    Failed {
        /// The operation and the thing.
        what: String,
        /// The cause.
        #[source]
        source: Option<Cause>,
    },
    /// No run was started.
    #[error("the run was refused: {}", refusal_text(.0))]
    Trigger(Refusal),
    /// Something that the configuration names cannot be opened.
    #[error(transparent)]
    Open(Box<OpenError>),
    /// The staging folder cannot be used.
    #[error(transparent)]
    Staging(Box<StagingFolderError>),
    /// The repository.
    #[error(transparent)]
    Repository(Box<RepositoryError>),
    /// A place.
    #[error(transparent)]
    Storage(Box<StorageError>),
    /// The bus.
    #[error(transparent)]
    Bus(Box<BusError>),
    /// The private NATS server.
    #[error(transparent)]
    Server(Box<ServerError>),
}

fn refusal_text(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Invalid(why) | Refusal::NotReady(why) | Refusal::NotAllowed(why) | Refusal::AskAgain(why) => {
            why.clone()
        }
        Refusal::Overlap(run) => format!("run {run} of the same sources has not ended"),
    }
}

impl CliError {
    /// Something that was refused, and what to do.
    pub fn refused(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Refused {
            what: what.into(),
            advice: advice.into(),
        }
    }

    /// Something that failed without a cause of its own.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::Failed {
            what: what.into(),
            source: None,
        }
    }

    /// Something that failed because of something else.
    pub fn because(what: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Failed {
            what: what.into(),
            source: Some(source.into()),
        }
    }

    /// A key that was needed and cannot be used.
    pub fn keys(what: impl Into<String>, source: KeyError) -> Self {
        Self::Keys {
            what: what.into(),
            source: Some(Box::new(source)),
        }
    }

    /// A key that was needed and was not given.
    pub fn no_key(what: impl Into<String>) -> Self {
        Self::Keys {
            what: what.into(),
            source: None,
        }
    }

    /// A file of this host that could not be read or written.
    pub fn file(doing: &str, path: &Path, source: std::io::Error) -> Self {
        Self::because(format!("{doing} {}", path.display()), source)
    }

    /// Returns the advice, if the text of the error does not have it already.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        let advice = match self {
            Self::Refused { advice, .. } => advice.as_str(),
            Self::Trigger(Refusal::Overlap(_)) => {
                "wait for its end (`holdfast show RUN` tells how far it is), or ask for other sources"
            }
            Self::Trigger(Refusal::NotReady(_)) => "`holdfast doctor` looks at keys, places and sources one by one",
            Self::Trigger(Refusal::NotAllowed(_)) => {
                "what each user of NATS may ask for is said by [[requester]] in the scheduler's configuration"
            }
            Self::Trigger(Refusal::AskAgain(_)) => "ask again",
            Self::Bus(error) if matches!(**error, BusError::NobodyAnswers | BusError::NotInTime { .. }) => {
                "start `holdfast up` or the scheduler service on a host that uses this NATS server"
            }
            Self::Keys { source: Some(_), .. } => LOOK_AT_KEYS,
            Self::Open(error) if matches!(**error, OpenError::Keys { .. }) => LOOK_AT_KEYS,
            Self::Repository(error) if error.is_damage() => {
                "another place may have it whole: try --place NAME; `holdfast verify` tells what is damaged"
            }
            _ => return None,
        };
        Some(advice.to_owned())
    }
}

macro_rules! boxed {
    ($($variant:ident($error:ty)),+) => {
        $(impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::$variant(Box::new(error))
            }
        })+
    };
}

boxed!(
    Open(OpenError),
    Staging(StagingFolderError),
    Repository(RepositoryError),
    Storage(StorageError),
    Bus(BusError),
    Server(ServerError)
);

impl From<JobError> for CliError {
    fn from(error: JobError) -> Self {
        Self::failed(error.reason())
    }
}

/// A file could not be read or written, as a function for `map_err`.
pub(crate) fn file_error(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> CliError {
    let path = path.into();
    move |source| CliError::file(doing, &path, source)
}
