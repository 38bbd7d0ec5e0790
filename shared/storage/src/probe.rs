//! Tries out a place.

use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use object_store::path::Path;
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};
use tokio::time::Instant;

use crate::classify::{Class, classify};
use crate::error::{Operation, StorageError};
use crate::object::Put;
use crate::place::Place;

const NAME: &str = "holdfast-probe-";

/// The result of trying out a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// True if the store itself refuses to overwrite. Where it does not, holdfast looks before it writes, and two
    /// writers of one key at the same moment could overwrite each other.
    pub conditional_create: bool,
    /// Time by which the store's clock is ahead of this host's, to about the time that a request takes.
    pub clock_ahead: SignedDuration,
    /// The time that writing one small object took.
    pub write_time: Duration,
}

/// Tells whether a key is that of a probe. A probe that was cut off may leave it.
pub(crate) fn is_probe(key: &str) -> bool {
    key.strip_prefix(NAME)
        .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit() || b == b'-'))
}

impl Place {
    /// Writes, reads, lists and deletes a small object named `holdfast-probe-…`, and finds out whether the store
    /// creates conditionally; later writes then go by that.
    ///
    /// # Errors
    /// [`StorageError`] of the first operation that does not work.
    pub async fn probe(&self) -> Result<Probe, StorageError> {
        let now = Timestamp::now();
        let at = Path::from(format!("{NAME}{}-{}", now.as_nanosecond(), std::process::id()));
        let probed = self.try_out(&at, now).await;
        // Also after a failure, of which the caller is told.
        let removed = self.remove(&at).await;
        let probe = probed?;
        removed?;
        if self.look(&at).await?.is_some() {
            return Err(self.odd(Operation::Delete, &at, "it was deleted, and is still there"));
        }
        Ok(probe)
    }

    async fn try_out(&self, at: &Path, now: Timestamp) -> Result<Probe, StorageError> {
        let text = Bytes::from_static(b"holdfast was here to see whether it can write; this may be deleted\n");
        let begun = Instant::now();
        if self.create(at, text.clone(), None).await? != Put::Created {
            return Err(self.odd(Operation::Write, at, "it was there before it was written"));
        }
        let write_time = begun.elapsed();
        let conditional_create = self.refuses_second(at, text.clone()).await?;
        self.remember(conditional_create);
        if self.fetch(at, 4096).await? != text {
            return Err(self.odd(Operation::Read, at, "other bytes came back than were written"));
        }
        let Some(meta) = self.look(at).await? else {
            return Err(self.odd(Operation::Look, at, "it was written, and is not there"));
        };
        self.runs().await?;
        Ok(Probe {
            conditional_create,
            clock_ahead: meta.modified.duration_since(now),
            write_time,
        })
    }

    /// Tells whether a second conditional write of the same key is refused. The bytes are the same, in case it is not.
    async fn refuses_second(&self, at: &Path, bytes: Bytes) -> Result<bool, StorageError> {
        let options = PutOptions {
            mode: PutMode::Create,
            attributes: self.attributes(None),
            ..PutOptions::default()
        };
        match self
            .inner
            .store
            .put_opts(at, PutPayload::from_bytes(bytes), options)
            .await
        {
            Ok(_) => Ok(false),
            Err(error) => match classify(&error) {
                Class::Exists => Ok(true),
                Class::NotSupported => Ok(false),
                _ => Err(self.error(Operation::Write, at.as_ref(), &error)),
            },
        }
    }

    fn odd(&self, operation: Operation, at: &Path, what: &str) -> StorageError {
        self.failed(
            Class::Refused,
            operation,
            at.as_ref(),
            &std::io::Error::other(what.to_owned()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_probes_are_probes() {
        assert!(is_probe("holdfast-probe-1790000000000000000-17"));
        assert!(!is_probe("holdfast-probe-notes.txt"));
        assert!(!is_probe("packs"));
    }
}
