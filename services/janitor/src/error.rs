//! Why a place could not be looked at.

use holdfast_format::PlaceName;
use holdfast_repository::RepositoryError;
use holdfast_service::{JobError, OpenError};

/// Why retention could not be planned at a place.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// The configuration does not know the place.
    #[error("there is no place {place} in the configuration: it is `local` or the name of a [[target]]")]
    UnknownPlace {
        /// The place.
        place: PlaceName,
    },
    /// The target cannot be opened.
    #[error("retention cannot be planned at place {place}")]
    Open {
        /// The place.
        place: PlaceName,
        /// Why.
        #[source]
        source: Box<OpenError>,
    },
    /// A place does not tell what it holds. Objects that are there and cannot be read are no such error: the plan tells
    /// of them.
    #[error("retention cannot be planned at place {place}")]
    Look {
        /// The place that was to be cleaned.
        place: PlaceName,
        /// What failed; it may be another place.
        #[source]
        source: Box<RepositoryError>,
    },
}

impl CleanError {
    /// Whether the same call may succeed later without anyone changing configuration or credentials.
    #[must_use]
    pub fn retry(&self) -> bool {
        match self {
            Self::UnknownPlace { .. } => false,
            Self::Open { source, .. } => matches!(&**source, OpenError::Place { source, .. } if source.retry()),
            Self::Look { source, .. } => source.retry(),
        }
    }
}

impl From<CleanError> for JobError {
    fn from(error: CleanError) -> Self {
        Self::new(error.retry(), &error)
    }
}
