//! Reads, judges, seals and writes single records.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_format::{Digest, ObjectKey, Record, RepositoryId, Signers, Standing, decode, encode};
use holdfast_sealing::{TrustedSigners, open_signed, sign_and_seal};
use holdfast_storage::{Place, Put, StorageError};

use crate::authority::Authority;
use crate::error::At;
use crate::{RepositoryError, RepositoryKeys};

/// Bytes of the largest sealed record. A manifest takes about 200 bytes for each pack of 16 MiB, so this is several
/// tebibytes.
pub(crate) const RECORD_MAX: u64 = 256 << 20;

/// The signatures that count on a record.
#[derive(Clone)]
pub(crate) enum Trust {
    /// The owner key signs.
    Owner,
    /// Keys that a roster names sign.
    Roster(Arc<Authority>),
}

/// A record that was read.
pub(crate) struct Read<T> {
    pub(crate) id: RepositoryId,
    pub(crate) record: T,
    pub(crate) sealed: Bytes,
    /// The fingerprint of the signer, if its key was revoked since, so that the record counts only where another one
    /// names it.
    pub(crate) only_if_named: Option<String>,
}

/// Computes the SHA-256 of an object.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(openssl::sha::sha256(bytes))
}

/// Runs a long computation on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    key: &ObjectKey,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RepositoryError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|source| RepositoryError::BrokenOff {
        key: Box::new(key.clone()),
        source,
    })
}

/// Reads a record. One that does not open is read once more: it may have been damaged on the way.
pub(crate) async fn read_record<T: Record + Send + 'static>(
    place: &Place,
    keys: &Arc<RepositoryKeys>,
    trust: &Trust,
    id: Option<RepositoryId>,
    key: &ObjectKey,
) -> Result<Option<Read<T>>, RepositoryError> {
    match read_record_once(place, keys, trust, id, key).await {
        Err(RepositoryError::Damaged { .. }) => read_record_once(place, keys, trust, id, key).await,
        other => other,
    }
}

async fn read_record_once<T: Record + Send + 'static>(
    place: &Place,
    keys: &Arc<RepositoryKeys>,
    trust: &Trust,
    id: Option<RepositoryId>,
    key: &ObjectKey,
) -> Result<Option<Read<T>>, RepositoryError> {
    let at = At {
        place: place.name().clone(),
        key: key.clone(),
    };
    let sealed = match place.get(key, RECORD_MAX).await {
        Ok(sealed) => sealed,
        Err(StorageError::NotFound { .. }) => return Ok(None),
        Err(error @ StorageError::TooLarge { .. }) => return Err(at.damaged(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let keys = Arc::clone(keys);
    let trust = trust.clone();
    blocking(key, move || open_record(&keys, &trust, id, &at, sealed).map(Some)).await?
}

/// Opens a sealed record and judges who signed it.
fn open_record<T: Record>(
    keys: &RepositoryKeys,
    trust: &Trust,
    id: Option<RepositoryId>,
    at: &At,
    sealed: Bytes,
) -> Result<Read<T>, RepositoryError> {
    let trusted: &TrustedSigners = match trust {
        Trust::Owner => &keys.owner,
        Trust::Roster(authority) => authority.trusted(),
    };
    let opened = open_signed(&keys.secret, trusted, &sealed, sealed.len()).map_err(|error| at.open(error))?;
    let (id, record) = decode::<T>(id, &at.key, &opened.plaintext).map_err(|error| at.record(error))?;
    let only_if_named = match trust {
        // Only the owner's certificates were looked for.
        Trust::Owner => None,
        Trust::Roster(authority) => match authority.judge(&opened, &record) {
            Ok(Standing::Counts(_)) => None,
            Ok(Standing::IfNamed(_)) if authority.vouches_for(&sealed) => None,
            Ok(Standing::IfNamed(member)) => Some(member.fingerprint.clone()),
            Err(intrusion) => return Err(at.intrusion(intrusion)),
        },
    };
    Ok(Read {
        id,
        record,
        sealed,
        only_if_named,
    })
}

pub(crate) async fn seal_record<T: Record>(
    keys: &Arc<RepositoryKeys>,
    trust: &Trust,
    id: RepositoryId,
    key: &ObjectKey,
    record: &T,
) -> Result<Bytes, RepositoryError> {
    if !record.belongs_at(key) {
        return Err(RepositoryError::WrongKey {
            key: Box::new(key.clone()),
        });
    }
    let json = encode(id, record).map_err(|source| RepositoryError::Encode {
        key: Box::new(key.clone()),
        source,
    })?;
    let recipients = keys.readers()?;
    let signer = match (trust, record.signers()) {
        (_, Signers::Owner) => keys.owner_signer(),
        (Trust::Roster(authority), Signers::Roles(_)) => authority.signer_for(&keys.signers, record),
        (Trust::Owner, Signers::Roles(_)) => None,
    };
    let signer = signer.cloned().ok_or_else(|| RepositoryError::NoSigner {
        key: Box::new(key.clone()),
        wanted: record.signers().words(),
    })?;
    let profile = keys.profile;
    let at = Box::new(key.clone());
    blocking(key, move || {
        let sealed = sign_and_seal(&signer, &recipients, profile, &json);
        sealed
            .map(Bytes::from)
            .map_err(|source| RepositoryError::Seal { key: at, source })
    })
    .await?
}

/// Writes an object once. If one is there, an earlier try of this very call may have written it, and its answer was
/// lost.
pub(crate) async fn write_once(place: &Place, key: &ObjectKey, bytes: Bytes) -> Result<Put, RepositoryError> {
    match place.put(key, bytes.clone(), None).await? {
        Put::AlreadyThere { size } if size == bytes.len() as u64 => match place.get(key, size).await {
            Ok(stored) if stored == bytes => Ok(Put::Created),
            Ok(_) => Ok(Put::AlreadyThere { size }),
            Err(error) => Err(error.into()),
        },
        put => Ok(put),
    }
}
