//! Errors of reading a place.

use holdfast_fault::{Retry, Retryable};
use holdfast_format::PlaceName;
use holdfast_repository::RepositoryError;
use holdfast_service::OpenError;

/// A failure to plan retention at a place.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// The configuration has no such place.
    #[error("there is no place {place} in the configuration: it is `local` or the name of a [[target]]")]
    UnknownPlace { place: PlaceName },
    /// The target cannot be opened.
    #[error("retention cannot be planned at place {place}")]
    Open {
        place: PlaceName,
        /// The error of opening.
        #[source]
        source: Box<OpenError>,
    },
    /// A place cannot be listed or does not answer. An object that exists and cannot be read is no such error: the plan
    /// names it.
    #[error("retention cannot be planned at place {place}")]
    Look {
        /// The name of the place that was to be cleaned.
        place: PlaceName,
        /// The error, which may be about another place.
        #[source]
        source: Box<RepositoryError>,
    },
}

impl Retryable for CleanError {
    fn retry(&self) -> Retry {
        match self {
            Self::UnknownPlace { .. } => Retry::Never,
            Self::Open { source, .. } => source.retry(),
            Self::Look { source, .. } => source.retry(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use holdfast_storage::StorageError;

    use super::*;

    #[test]
    fn a_target_that_is_away_is_looked_at_again_and_one_that_refuses_is_not() {
        let place: PlaceName = "offsite".parse().unwrap();
        let open = |source| CleanError::Open {
            place: place.clone(),
            source: Box::new(OpenError::Place {
                name: place.clone(),
                source: Box::new(source),
            }),
        };
        let away = StorageError::NoPlace {
            place: place.clone(),
            problem: "it is not mounted".to_owned(),
        };
        assert_eq!(open(away).retry(), Retry::Later);
        let wrong = StorageError::BadOptions {
            place: place.clone(),
            problem: "no region".to_owned(),
        };
        assert_eq!(open(wrong).retry(), Retry::Never);
        assert_eq!(CleanError::UnknownPlace { place }.retry(), Retry::Never);
    }
}
