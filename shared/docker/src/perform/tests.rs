use std::io;

use holdfast_fault::{Retry, Retryable as _};

use super::*;
use crate::engine::Kind;
use crate::helper::HelperError;
use crate::network::JoinError;
use crate::perform::hook::HookFailure;

fn engine(kind: Kind) -> EngineError {
    EngineError::new("stop", "container db", kind)
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

#[test]
fn an_engine_that_is_away_may_be_back_whatever_it_was_asked_for() {
    for (kind, retry) in [(Kind::Refused, Retry::Later), (Kind::Conflict, Retry::Never)] {
        let container = "db".to_owned();
        let of_container = QuietError::Engine {
            container: container.clone(),
            source: engine(kind),
        };
        let of_hook = QuietError::Hook {
            container,
            source: HookFailure::Engine(engine(kind)),
        };
        assert_eq!(of_container.retry(), retry);
        assert_eq!(of_hook.retry(), retry);
        assert_eq!(HelperError::Engine(engine(kind)).retry(), retry);
        assert_eq!(JoinError::Engine(engine(kind)).retry(), retry);
    }
}

#[test]
fn a_hook_that_failed_and_a_full_state_folder_are_not_tried_again() {
    let failed = QuietError::Hook {
        container: "db".to_owned(),
        source: HookFailure::Failed {
            exit_code: 1,
            said: String::new(),
        },
    };
    assert_eq!(failed.retry(), Retry::Never);
    let path = PathBuf::from("/state/intents/1.json");
    let unwritten = IntentError::Write {
        path: path.clone(),
        source: full(),
    };
    assert_eq!(QuietError::Intent(unwritten).retry(), Retry::Never);
    assert_eq!(HelperError::File { path, source: full() }.retry(), Retry::Never);
}

#[test]
fn another_quiet_time_ends_some_time() {
    let taken = QuietError::Taken {
        lock: PathBuf::from("/state/lock"),
        waited: Duration::from_secs(1),
    };
    assert_eq!(taken.retry(), Retry::Later);
}
