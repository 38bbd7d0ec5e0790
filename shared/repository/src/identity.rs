//! Makes and opens repositories, and gives one to further places.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_format::{ChunkKey, ChunkerParams, ObjectKey, RepositoryId, RepositoryInfo};
use holdfast_storage::{Place, Put, StorageError};
use jiff::Timestamp;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::repository::{read_record, seal_record, write_once};
use crate::{Repository, RepositoryError, RepositoryKeys};

/// Bytes of the longest restore instructions or script.
const PLAIN_MAX: u64 = 4 << 20;

impl Repository {
    /// Makes a repository with a random id, chunk key and chunker seed. The restore instructions are written with
    /// [`Repository::put_plain`] afterwards.
    ///
    /// # Errors
    /// [`RepositoryError::Exists`] if there is one, which then stays as it is; [`RepositoryError::ReadOnly`]; others.
    pub async fn create(place: Place, keys: RepositoryKeys, created: Timestamp) -> Result<Self, RepositoryError> {
        let exists = || RepositoryError::Exists {
            place: place.name().clone(),
        };
        if place.head(&ObjectKey::Repository).await?.is_some() {
            return Err(exists());
        }
        let id = RepositoryId::from_uuid(uuid::Uuid::new_v4());
        let info = RepositoryInfo {
            created,
            chunker: ChunkerParams::new(u64::from_le_bytes(random()?)),
            chunk_key: ChunkKey::from_bytes(random()?),
        };
        let keys = Arc::new(keys);
        let identity = seal_record(&keys, id, &ObjectKey::Repository, &info).await?;
        match write_once(&place, &ObjectKey::Repository, identity.clone()).await? {
            Put::Created => Ok(Self::assemble(place, keys, id, Arc::new(info), identity)),
            Put::AlreadyThere { .. } => Err(exists()),
        }
    }

    /// Opens the repository of a place.
    ///
    /// # Errors
    /// [`RepositoryError::NoRepository`]; [`RepositoryError::NoKey`] if it is sealed to other keys;
    /// [`RepositoryError::NotSigned`] if none of the trusted signers signed it; others.
    pub async fn open(place: Place, keys: RepositoryKeys) -> Result<Self, RepositoryError> {
        let keys = Arc::new(keys);
        let Some((id, info, identity)) = read_identity(&place, &keys).await? else {
            return Err(RepositoryError::NoRepository {
                place: place.name().clone(),
            });
        };
        let repository = Self::assemble(place, keys, id, Arc::new(info), identity);
        if repository.info().chunker.is_valid() {
            Ok(repository)
        } else {
            let at = repository.named(&ObjectKey::Repository);
            Err(at.damaged("its chunk sizes are out of order"))
        }
    }

    /// Makes another place a copy of this one, as far as identity goes: the same `repository.pgp`, and the restore
    /// instructions and script if they are here. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`RepositoryError::OtherRepository`] if the place holds another one; others of both places.
    pub async fn copy_identity_to(&self, target: &Place) -> Result<(), RepositoryError> {
        let put = write_once(target, &ObjectKey::Repository, self.inner.identity.clone()).await?;
        if matches!(put, Put::AlreadyThere { .. }) {
            self.check_identity_at(target).await?;
        }
        for key in [ObjectKey::RestoreGuide, ObjectKey::RestoreScript] {
            match self.inner.place.get(&key, PLAIN_MAX).await {
                Ok(text) => {
                    write_once(target, &key, text).await?;
                }
                Err(StorageError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Checks that a place holds this repository.
    ///
    /// # Errors
    /// [`RepositoryError::NoRepository`], [`RepositoryError::OtherRepository`]; others of that place.
    pub async fn check_identity_at(&self, target: &Place) -> Result<(), RepositoryError> {
        match read_identity(target, &self.inner.keys).await? {
            None => Err(RepositoryError::NoRepository {
                place: target.name().clone(),
            }),
            Some((found, info, _)) if found == self.id() && info == *self.info() => Ok(()),
            Some((found, ..)) => Err(RepositoryError::OtherRepository {
                place: target.name().clone(),
                found,
                expected: self.id(),
            }),
        }
    }
}

async fn read_identity(
    place: &Place,
    keys: &Arc<RepositoryKeys>,
) -> Result<Option<(RepositoryId, RepositoryInfo, Bytes)>, RepositoryError> {
    read_record(place, keys, None, &ObjectKey::Repository).await
}

/// Draws random bytes from the kernel.
fn random<const N: usize>() -> Result<[u8; N], RepositoryError> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(RepositoryError::Random(error.into())),
        }
    }
    Ok(bytes)
}
