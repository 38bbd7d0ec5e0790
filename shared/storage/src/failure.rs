//! A place's errors: where it happened, and what to do about it.

use std::error::Error;

use crate::classify::{Class, classify};
use crate::error::{Operation, StorageCause, StorageError};
use crate::place::Place;

impl Place {
    /// Makes this place's error for a failure of the client library.
    pub(crate) fn error(&self, operation: Operation, object: &str, error: &object_store::Error) -> StorageError {
        self.failed(classify(error), operation, object, error)
    }

    /// Makes this place's error for a failure of this class.
    pub(crate) fn failed(&self, class: Class, operation: Operation, object: &str, said: &dyn Error) -> StorageError {
        let place = self.name().clone();
        let object = object.to_owned();
        let source = StorageCause::new(said, &self.hidden());
        match class {
            Class::NotFound if operation == Operation::Write => StorageError::NoPlace {
                place,
                problem: format!("{} does not exist (any more): create or mount it", self.describe()),
            },
            Class::NotFound => StorageError::NotFound { place, object },
            Class::NoPlace => StorageError::NoPlace {
                place,
                problem: format!(
                    "{} does not exist: create the bucket, or correct its name",
                    self.describe()
                ),
            },
            Class::Denied => StorageError::Denied {
                operation,
                place,
                object,
                source,
            },
            Class::NoSpace => StorageError::NoSpace {
                operation,
                place,
                object,
                source,
            },
            Class::Refused => StorageError::Refused {
                operation,
                place,
                object,
                source,
            },
            Class::NotSupported => StorageError::NotSupported {
                operation,
                place,
                object,
                source,
            },
            Class::Exists | Class::Interrupted | Class::Unreachable => StorageError::Unreachable {
                operation,
                place,
                object,
                source,
            },
        }
    }
}
