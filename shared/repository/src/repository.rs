//! A repository at a place: records, manifests, packs.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_format::{
    ArtefactId, Digest, Manifest, ObjectKey, PackRef, Record, RepositoryId, RepositoryInfo, decode, encode,
};
use holdfast_sealing::{open_signed, sign_and_seal};
use holdfast_storage::{Place, Put, StorageError};

use crate::cache::Cache;
use crate::error::At;
use crate::{RepositoryError, RepositoryKeys};

/// Bytes of the largest sealed record. A manifest takes about 200 bytes for each pack of 16 MiB, so this is several
/// tebibytes.
const RECORD_MAX: u64 = 256 << 20;

/// Sealed bytes of the manifests that are kept in memory.
const MANIFESTS: u64 = 64 << 20;

/// A repository at a place, with the keys of this host. Cheap to clone.
#[derive(Clone)]
pub struct Repository {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) place: Place,
    pub(crate) keys: Arc<RepositoryKeys>,
    pub(crate) id: RepositoryId,
    pub(crate) info: Arc<RepositoryInfo>,
    /// `repository.pgp` as it is stored.
    pub(crate) identity: Bytes,
    manifests: Cache<ArtefactId, Arc<SealedManifest>>,
}

/// A manifest, and its object as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct SealedManifest {
    pub manifest: Manifest,
    /// SHA-256 of the sealed object.
    pub sha256: Digest,
    /// Size of the sealed object in bytes.
    pub size: u64,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository({} at {:?})", self.inner.id, self.inner.place)
    }
}

impl Repository {
    pub(crate) fn assemble(
        place: Place,
        keys: Arc<RepositoryKeys>,
        id: RepositoryId,
        info: Arc<RepositoryInfo>,
        identity: Bytes,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                place,
                keys,
                id,
                info,
                identity,
                manifests: Cache::new(MANIFESTS),
            }),
        }
    }

    /// Returns the same repository at another place, such as a target. Asks nothing of that place: what is read there
    /// is checked as everywhere, so another repository's records are refused one by one.
    #[must_use]
    pub fn at(&self, place: Place) -> Self {
        let Inner {
            keys,
            id,
            info,
            identity,
            ..
        } = &*self.inner;
        Self::assemble(place, Arc::clone(keys), *id, Arc::clone(info), identity.clone())
    }

    /// Returns the id, which every record names.
    #[must_use]
    pub fn id(&self) -> RepositoryId {
        self.inner.id
    }

    /// Returns the parameters by which content is cut, and the key of chunk ids.
    #[must_use]
    pub fn info(&self) -> &RepositoryInfo {
        &self.inner.info
    }

    /// Returns the place that holds the repository.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.inner.place
    }

    /// Returns the keys that the repository was opened with.
    #[must_use]
    pub fn keys(&self) -> &RepositoryKeys {
        &self.inner.keys
    }

    pub(crate) fn named(&self, key: &ObjectKey) -> At {
        At {
            place: self.inner.place.name().clone(),
            key: key.clone(),
        }
    }

    /// Reads a record; `None` if there is none under this key.
    ///
    /// # Errors
    /// [`RepositoryError`] if it cannot be read, opened, or is not what belongs there.
    pub async fn read<T: Record + Send + 'static>(&self, key: &ObjectKey) -> Result<Option<T>, RepositoryError> {
        Ok(self.read_sealed(key).await?.map(|(record, _)| record))
    }

    /// Reads a record like [`Repository::read`], and returns its sealed bytes too.
    pub(crate) async fn read_sealed<T: Record + Send + 'static>(
        &self,
        key: &ObjectKey,
    ) -> Result<Option<(T, Bytes)>, RepositoryError> {
        let read = read_record(&self.inner.place, &self.inner.keys, Some(self.inner.id), key).await?;
        Ok(read.map(|(_, record, sealed)| (record, sealed)))
    }

    /// Signs, seals and writes a record, unless one is there. [`Put::Created`] means that this record is the stored one.
    ///
    /// # Errors
    /// [`RepositoryError::WrongKey`] if the record belongs under another key; [`RepositoryError::ReadOnly`]; others.
    pub async fn write<T: Record>(&self, key: &ObjectKey, record: &T) -> Result<Put, RepositoryError> {
        let sealed = seal_record(&self.inner.keys, self.inner.id, key, record).await?;
        write_once(&self.inner.place, key, sealed).await
    }

    /// Writes the restore instructions or the restore script, which stand there in the clear.
    ///
    /// # Errors
    /// [`RepositoryError::WrongKey`] for any other key.
    pub async fn put_plain(&self, key: &ObjectKey, text: Bytes) -> Result<Put, RepositoryError> {
        if !key.is_plain() {
            return Err(RepositoryError::WrongKey {
                key: Box::new(key.clone()),
            });
        }
        write_once(&self.inner.place, key, text).await
    }

    /// Seals a message for the services alone: signed by the pipeline key and readable with it.
    ///
    /// # Errors
    /// [`RepositoryError::ReadOnly`] without a pipeline key.
    pub async fn seal_told(&self, plain: Vec<u8>) -> Result<Vec<u8>, RepositoryError> {
        let keys = Arc::clone(&self.inner.keys);
        let key = ObjectKey::Repository;
        blocking(&key.clone(), move || {
            let signer = keys.signer.as_ref().ok_or(RepositoryError::ReadOnly)?;
            let sealed = sign_and_seal(signer, &signer.recipients(), keys.profile, &plain);
            sealed.map_err(|source| RepositoryError::Seal {
                key: Box::new(key),
                source,
            })
        })
        .await?
    }

    /// Opens what [`Repository::seal_told`] made.
    ///
    /// # Errors
    /// [`RepositoryError::Damaged`] or [`RepositoryError::NotSigned`] if no service of this repository made it.
    pub async fn open_told(&self, sealed: &[u8]) -> Result<Vec<u8>, RepositoryError> {
        let keys = Arc::clone(&self.inner.keys);
        let at = self.named(&ObjectKey::Repository);
        let sealed = sealed.to_vec();
        blocking(&ObjectKey::Repository, move || {
            let opened = open_signed(&keys.secret, &keys.trusted, &sealed, sealed.len());
            Ok(opened.map_err(|error| at.open(error))?.plaintext)
        })
        .await?
    }

    /// Returns an artefact's manifest; `None` if it has none. Manifests are kept in memory; only the place knows
    /// whether one is still there.
    ///
    /// # Errors
    /// As [`Repository::read`].
    pub async fn manifest(&self, id: ArtefactId) -> Result<Option<Arc<SealedManifest>>, RepositoryError> {
        if let Some(known) = self.inner.manifests.get(&id) {
            return Ok(Some(known));
        }
        let Some((manifest, sealed)) = self.read_sealed::<Manifest>(&ObjectKey::Manifest(id)).await? else {
            return Ok(None);
        };
        let size = sealed.len() as u64;
        let read = Arc::new(SealedManifest {
            manifest,
            sha256: sha256(&sealed),
            size,
        });
        self.inner.manifests.insert(id, Arc::clone(&read), size);
        Ok(Some(read))
    }

    /// Reads a pack's sealed bytes, of the size and SHA-256 that a manifest names.
    ///
    /// # Errors
    /// [`RepositoryError::Missing`], [`RepositoryError::Damaged`]; others of the place.
    pub async fn get_pack(&self, pack: &PackRef) -> Result<Bytes, RepositoryError> {
        let key = ObjectKey::Pack(pack.id);
        let at = self.named(&key);
        let expected = *pack;
        let first = self.get_pack_once(&at, expected).await;
        if !matches!(first, Err(RepositoryError::Damaged { .. })) {
            return first;
        }
        // The pack may have been damaged on the way: it is fetched once more.
        self.get_pack_once(&at, expected).await
    }

    async fn get_pack_once(&self, at: &At, pack: PackRef) -> Result<Bytes, RepositoryError> {
        let bytes = match self.inner.place.get(&at.key, pack.size).await {
            Ok(bytes) => bytes,
            Err(StorageError::NotFound { .. }) => return Err(at.missing()),
            Err(StorageError::TooLarge { size, .. }) => return Err(at.damaged(wrong_size(size, pack.size))),
            Err(error) => return Err(error.into()),
        };
        if bytes.len() as u64 != pack.size {
            return Err(at.damaged(wrong_size(bytes.len() as u64, pack.size)));
        }
        let (bytes, found) = blocking(&at.key, move || {
            let found = sha256(&bytes);
            (bytes, found)
        })
        .await?;
        if found == pack.sha256 {
            Ok(bytes)
        } else {
            Err(at.damaged(wrong_hash(found, pack.sha256)))
        }
    }
}

pub(crate) fn wrong_size(found: u64, expected: u64) -> String {
    format!("it has {found} bytes, and {expected} were written")
}

pub(crate) fn wrong_hash(found: Digest, expected: Digest) -> String {
    format!("its SHA-256 is {found}, and {expected} was written")
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

/// Reads a record with the id of its repository and its sealed bytes. One that does not open is read once more: it may
/// have been damaged on the way.
pub(crate) async fn read_record<T: Record + Send + 'static>(
    place: &Place,
    keys: &Arc<RepositoryKeys>,
    id: Option<RepositoryId>,
    key: &ObjectKey,
) -> Result<Option<(RepositoryId, T, Bytes)>, RepositoryError> {
    match read_record_once(place, keys, id, key).await {
        Err(RepositoryError::Damaged { .. }) => read_record_once(place, keys, id, key).await,
        other => other,
    }
}

async fn read_record_once<T: Record + Send + 'static>(
    place: &Place,
    keys: &Arc<RepositoryKeys>,
    id: Option<RepositoryId>,
    key: &ObjectKey,
) -> Result<Option<(RepositoryId, T, Bytes)>, RepositoryError> {
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
    blocking(key, move || {
        let opened = open_signed(&keys.secret, &keys.trusted, &sealed, sealed.len());
        let opened = opened.map_err(|error| at.open(error))?;
        let (id, record) = decode(id, &at.key, &opened.plaintext).map_err(|error| at.record(error))?;
        Ok(Some((id, record, sealed)))
    })
    .await?
}

pub(crate) async fn seal_record<T: Record>(
    keys: &Arc<RepositoryKeys>,
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
    let keys = Arc::clone(keys);
    let at = Box::new(key.clone());
    blocking(key, move || {
        let (signer, recipients) = keys.writer()?;
        let sealed = sign_and_seal(signer, &recipients, keys.profile, &json);
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
