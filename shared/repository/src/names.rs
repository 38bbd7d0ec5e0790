//! Names the issues of the roster that a place has.

use std::collections::BTreeSet;

use holdfast_format::ObjectKey;
use holdfast_storage::{Place, Prefix};
use uuid::Uuid;

use crate::RepositoryError;

/// The issues of the roster at a place, and the owner's words, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    numbers: BTreeSet<u64>,
    vouched: BTreeSet<Uuid>,
}

impl Names {
    pub(crate) async fn at(place: &Place) -> Result<Self, RepositoryError> {
        let mut names = Self::default();
        for prefix in [Prefix::Rosters, Prefix::Vouched] {
            for object in place.list(prefix).await?.objects {
                match object.key {
                    ObjectKey::Roster(number) => drop(names.numbers.insert(number)),
                    ObjectKey::Vouched(id) => drop(names.vouched.insert(id)),
                    _ => {}
                }
            }
        }
        Ok(names)
    }

    /// Returns the numbers of the issues, in order.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.numbers.iter().copied()
    }

    /// Returns the ids of the owner's words.
    pub(crate) fn vouched(&self) -> impl Iterator<Item = Uuid> {
        self.vouched.iter().copied()
    }

    /// Returns the keys of all: issues in their order, then words.
    pub(crate) fn keys(&self) -> Vec<ObjectKey> {
        let rosters = self.numbers.iter().map(|number| ObjectKey::Roster(*number));
        rosters
            .chain(self.vouched.iter().map(|id| ObjectKey::Vouched(*id)))
            .collect()
    }
}
