//! An object: the outcome of writing one, and what a store tells of one.

use jiff::Timestamp;
use object_store::ObjectMeta;

/// The outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The object is new.
    Created,
    /// An object of this key was there, and still is as it was. An earlier attempt of this same write may have left it.
    AlreadyThere {
        /// Size of that object in bytes.
        size: u64,
    },
}

/// An object as the store describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Size in bytes.
    pub size: u64,
    /// The time of the write, by the store's clock.
    pub modified: Timestamp,
}

impl Meta {
    pub(crate) fn of(meta: &ObjectMeta) -> Self {
        Self {
            size: meta.size,
            modified: Timestamp::from_microsecond(meta.last_modified.timestamp_micros())
                .unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }
}
