//! Exit codes: a contract with scripts and deploy tools, and the one place where errors are mapped to them.

use std::process::ExitCode;

use holdfast_bus::{BusError, ServerError};
use holdfast_events::{Outcome, Refusal};
use holdfast_repository::RepositoryError;
use holdfast_service::OpenError;
use holdfast_session::StagingFolderError;
use holdfast_storage::StorageError;

use crate::CliError;

/// The end of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and all good: 0.
    Good,
    /// The command finished, with failures: 1.
    Failures,
    /// Bad usage or configuration, keys among it: 2.
    Usage,
    /// The server or service that was asked did not answer in time: 3.
    NoAnswer,
    /// Refused for safety: 4.
    Refused,
}

impl Exit {
    /// Returns the exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Failures => 1,
            Self::Usage => 2,
            Self::NoAnswer => 3,
            Self::Refused => 4,
        }
    }

    /// Good, or failures.
    #[must_use]
    pub fn good_if(good: bool) -> Self {
        if good { Self::Good } else { Self::Failures }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<Outcome> for Exit {
    fn from(outcome: Outcome) -> Self {
        Self::good_if(outcome == Outcome::Complete)
    }
}

impl From<&CliError> for Exit {
    fn from(error: &CliError) -> Self {
        match error {
            CliError::Config(_) | CliError::Usage(_) | CliError::Keys { .. } => Self::Usage,
            CliError::Refused { .. } => Self::Refused,
            CliError::NoAnswer(_) => Self::NoAnswer,
            CliError::Failed { .. } => Self::Failures,
            CliError::Trigger(refusal) => match refusal {
                Refusal::Invalid(_) | Refusal::NotReady(_) => Self::Usage,
                Refusal::Overlap(_) | Refusal::NotAllowed(_) => Self::Refused,
                Refusal::AskAgain(_) => Self::NoAnswer,
            },
            CliError::Open(error) => of_open(error),
            CliError::Staging(error) => of_staging(error),
            CliError::Repository(error) => of_repository(error),
            CliError::Storage(error) => of_storage(error),
            CliError::Bus(error) => of_bus(error),
            CliError::Server(error) => of_server(error),
        }
    }
}

fn of_open(error: &OpenError) -> Exit {
    match error {
        OpenError::Place { source, .. } => of_storage(source),
        OpenError::Repository(source) => of_repository(source),
        OpenError::Bus(source) => of_bus(source),
        _ => Exit::Usage,
    }
}

fn of_staging(error: &StagingFolderError) -> Exit {
    match error {
        StagingFolderError::OnDisk(_) => Exit::Refused,
        StagingFolderError::Folder(..) => Exit::Usage,
        StagingFolderError::Unusable(..) => Exit::Failures,
    }
}

fn of_repository(error: &RepositoryError) -> Exit {
    match error {
        RepositoryError::Storage(source) => of_storage(source),
        RepositoryError::Exists { .. }
        | RepositoryError::Remains { .. }
        | RepositoryError::OtherRepository { .. }
        | RepositoryError::RosterWentBack { .. } => Exit::Refused,
        RepositoryError::NoRepository { .. }
        | RepositoryError::NoKey { .. }
        | RepositoryError::ReadOnly
        | RepositoryError::NotOwner { .. }
        | RepositoryError::NoRoleKey { .. }
        | RepositoryError::NoSigner { .. } => Exit::Usage,
        _ => Exit::Failures,
    }
}

fn of_storage(error: &StorageError) -> Exit {
    match error {
        StorageError::NoPlace { .. } | StorageError::BadOptions { .. } | StorageError::Denied { .. } => Exit::Usage,
        StorageError::Unreachable { .. } => Exit::NoAnswer,
        _ => Exit::Failures,
    }
}

fn of_bus(error: &BusError) -> Exit {
    match error {
        BusError::Unreachable { .. } | BusError::NobodyAnswers | BusError::NotInTime { .. } => Exit::NoAnswer,
        BusError::Refused { .. }
        | BusError::Tls { .. }
        | BusError::Url { .. }
        | BusError::CredentialsFile { .. }
        | BusError::TooOld { .. }
        | BusError::NoJetStream { .. }
        | BusError::Foreign { .. } => Exit::Usage,
        _ => Exit::Failures,
    }
}

fn of_server(error: &ServerError) -> Exit {
    match error {
        ServerError::NoBinary { .. } | ServerError::TooOld { .. } | ServerError::Version { .. } => Exit::Usage,
        ServerError::InUse { .. } | ServerError::Held { .. } => Exit::Refused,
        _ => Exit::Failures,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use holdfast_format::{PlaceName, RunId};

    use super::*;

    #[test]
    fn the_codes_are_the_contract() {
        let codes = [Exit::Good, Exit::Failures, Exit::Usage, Exit::NoAnswer, Exit::Refused].map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 4]);
        assert_eq!(Exit::from(Outcome::Complete), Exit::Good);
        assert_eq!(Exit::from(Outcome::Partial), Exit::Failures);
        assert_eq!(Exit::from(Outcome::Failed), Exit::Failures);
    }

    #[test]
    fn every_kind_of_error_has_its_code() {
        let place = PlaceName::local;
        let run = RunId::new(1, [0; 10]);
        let table: Vec<(CliError, Exit)> = vec![
            (CliError::Usage("x".into()), Exit::Usage),
            (CliError::refused("x", "y"), Exit::Refused),
            (CliError::NoAnswer("x".into()), Exit::NoAnswer),
            (CliError::failed("x"), Exit::Failures),
            (CliError::Trigger(Refusal::Invalid("x".into())), Exit::Usage),
            (CliError::Trigger(Refusal::NotReady("x".into())), Exit::Usage),
            (CliError::Trigger(Refusal::Overlap(run)), Exit::Refused),
            (CliError::Trigger(Refusal::NotAllowed("x".into())), Exit::Refused),
            (CliError::Trigger(Refusal::AskAgain("x".into())), Exit::NoAnswer),
            (BusError::NobodyAnswers.into(), Exit::NoAnswer),
            (
                BusError::NotInTime {
                    timeout: Duration::from_secs(1),
                }
                .into(),
                Exit::NoAnswer,
            ),
            (BusError::NoJetStream { url: "x".into() }.into(), Exit::Usage),
            (BusError::Full { stream: "x".into() }.into(), Exit::Failures),
            (StagingFolderError::OnDisk(PathBuf::from("/x")).into(), Exit::Refused),
            (RepositoryError::NoRepository { place: place() }.into(), Exit::Usage),
            (RepositoryError::Exists { place: place() }.into(), Exit::Refused),
            (RepositoryError::ReadOnly.into(), Exit::Usage),
            (ServerError::NoBinary { needed: "2.10.0" }.into(), Exit::Usage),
            (
                ServerError::InUse {
                    dir: PathBuf::from("/x"),
                    pid: 1,
                }
                .into(),
                Exit::Refused,
            ),
            (
                StorageError::NoPlace {
                    place: place(),
                    problem: "x".into(),
                }
                .into(),
                Exit::Usage,
            ),
            (
                StorageError::NotFound {
                    place: place(),
                    object: "x".into(),
                }
                .into(),
                Exit::Failures,
            ),
        ];
        for (error, exit) in table {
            assert_eq!(Exit::from(&error), exit, "{error}");
        }
    }
}
