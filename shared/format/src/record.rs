//! Signed records: JSON with the record's kind, the format's version and the repository's id, so that no object can
//! stand in for another one.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{ObjectKey, RepositoryId, Signers, Site};

/// The version of the format that this crate writes, and the highest that it reads.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// A record of one kind. [`encode`] and [`decode`] wrap it in its envelope.
pub trait Record: Serialize + DeserializeOwned {
    /// The value of the envelope's field `holdfast`.
    const KIND: &'static str;

    /// Tells whether the record may stand under this key.
    fn belongs_at(&self, key: &ObjectKey) -> bool;

    /// Returns the keys that may sign the record.
    fn signers(&self) -> Signers {
        Signers::of_kind(Self::KIND)
    }

    /// Returns the site that the record speaks for, if it speaks for one: its signer must be a key of that site.
    fn site(&self) -> Option<&Site> {
        None
    }
}

/// Bytes are not the wanted record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The bytes are no JSON, or not of this shape.
    #[error("{key} is not a readable {kind} record")]
    Malformed {
        key: ObjectKey,
        kind: &'static str,
        #[source]
        source: serde_json::Error,
    },
    /// The record was written by a newer Holdfast.
    #[error("{key} has format version {found}; this program reads up to {FORMAT_VERSION}: use a newer holdfast")]
    Version { key: ObjectKey, found: u32 },
    /// The record is of another kind or of another repository, or belongs under another key.
    #[error("{key} holds {found}: it was put there by mistake or to deceive, and is not used")]
    Misplaced {
        key: ObjectKey,
        /// The kind, repository or key that was found.
        found: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    holdfast: String,
    version: u32,
    repository: RepositoryId,
    #[serde(flatten)]
    record: T,
}

#[derive(Deserialize)]
struct Head {
    holdfast: String,
    version: u32,
    repository: RepositoryId,
}

/// Encodes a record with its envelope as JSON.
///
/// # Errors
/// Only if the record holds something that JSON cannot (a map with other keys than strings).
pub fn encode<T: Record>(repository: RepositoryId, record: &T) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct Out<'a, T> {
        holdfast: &'static str,
        version: u32,
        repository: RepositoryId,
        #[serde(flatten)]
        record: &'a T,
    }
    serde_json::to_vec(&Out {
        holdfast: T::KIND,
        version: FORMAT_VERSION,
        repository,
        record,
    })
}

/// Reads the record that stands under `key`. `repository` is the id it must name; `None` accepts any (for
/// `repository.pgp` itself).
///
/// # Errors
/// [`RecordError`] if it is malformed, newer than this program, or not what belongs there.
pub fn decode<T: Record>(
    repository: Option<RepositoryId>,
    key: &ObjectKey,
    json: &[u8],
) -> Result<(RepositoryId, T), RecordError> {
    let malformed = |source| RecordError::Malformed {
        key: key.clone(),
        kind: T::KIND,
        source,
    };
    let head: Head = serde_json::from_slice(json).map_err(malformed)?;
    if head.holdfast != T::KIND {
        return Err(RecordError::Misplaced {
            key: key.clone(),
            found: format!("a {:?} record", head.holdfast),
        });
    }
    if head.version > FORMAT_VERSION {
        return Err(RecordError::Version {
            key: key.clone(),
            found: head.version,
        });
    }
    if repository.is_some_and(|id| id != head.repository) {
        return Err(RecordError::Misplaced {
            key: key.clone(),
            found: format!("a record of another repository, {}", head.repository),
        });
    }
    let envelope: Envelope<T> = serde_json::from_slice(json).map_err(malformed)?;
    if !envelope.record.belongs_at(key) {
        return Err(RecordError::Misplaced {
            key: key.clone(),
            found: format!("a {} record of another key", T::KIND),
        });
    }
    Ok((head.repository, envelope.record))
}
