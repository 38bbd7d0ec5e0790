//! A repository at a place: records, manifests, packs.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_format::{
    ArtefactId, Digest, Intrusion, Manifest, ObjectKey, PackRef, PointStatus, Record, RepositoryId, RepositoryInfo,
    RestorePoint, Role, Roster, RunId, Site,
};
use holdfast_sealing::{open_signed, sign_and_seal};
use holdfast_storage::{Place, Put, StorageError};

use crate::authority::{Authority, Seen};
use crate::cache::Cache;
use crate::error::At;
use crate::names::Names;
use crate::records::{Read, Trust, blocking, read_record, seal_record, sha256, write_once};
use crate::roster::read_authority;
use crate::{RepositoryError, RepositoryKeys};

/// Sealed bytes of the manifests that are kept in memory.
const MANIFESTS: u64 = 64 << 20;
/// Sealed bytes of the restore points that are kept in memory.
const POINTS: u64 = 16 << 20;

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
    /// The roster, which is that of the repository's own place for its copies too.
    pub(crate) authority: Arc<Authorities>,
    /// Manifests, each with the SHA-256 of the roster that it was judged by.
    manifests: Cache<ArtefactId, (Digest, Arc<SealedManifest>)>,
    /// Restore points that manifests were compared with.
    points: Cache<RunId, Arc<RestorePoint>>,
}

/// The newest roster that was seen, and the place that is asked for newer ones.
pub(crate) struct Authorities {
    pub(crate) place: Place,
    pub(crate) seen: Seen,
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
        authority: Arc<Authorities>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                place,
                keys,
                id,
                info,
                identity,
                authority,
                manifests: Cache::new(MANIFESTS),
                points: Cache::new(POINTS),
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
            authority,
            ..
        } = &*self.inner;
        let authority = Arc::clone(authority);
        Self::assemble(
            place,
            Arc::clone(keys),
            *id,
            Arc::clone(info),
            identity.clone(),
            authority,
        )
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

    pub(crate) fn named_at(&self, key: &ObjectKey) -> At {
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
        let Some(read) = self.read_judged::<T>(key).await? else {
            return Ok(None);
        };
        match read.only_if_named {
            None => Ok(Some((read.record, read.sealed))),
            Some(fingerprint) => Err(self.named_at(key).intrusion(Intrusion::Revoked { fingerprint })),
        }
    }

    /// Reads a record, by the roster of this moment. A signer that the roster does not name may have joined since it was
    /// read: then it is read again.
    async fn read_judged<T: Record + Send + 'static>(
        &self,
        key: &ObjectKey,
    ) -> Result<Option<Read<T>>, RepositoryError> {
        let Inner { place, keys, id, .. } = &*self.inner;
        let trust = Trust::Roster(self.authority(false).await?);
        let first = read_record(place, keys, &trust, Some(*id), key).await;
        if !matches!(&first, Err(RepositoryError::NotSigned { .. })) {
            return first;
        }
        let newer = self.authority(true).await?;
        if matches!(&trust, Trust::Roster(known) if known.sha256 == newer.sha256) {
            return first;
        }
        read_record(place, keys, &Trust::Roster(newer), Some(*id), key).await
    }

    /// Returns the roster, and asks the place for a newer one now and then. A place that does not answer changes nothing;
    /// one whose roster went back is refused.
    pub(crate) async fn authority(&self, met_a_stranger: bool) -> Result<Arc<Authority>, RepositoryError> {
        let authority = &self.inner.authority;
        if authority.seen.is_old(met_a_stranger) {
            match self.newer_authority().await {
                Ok(None) => authority.seen.looked(),
                Ok(Some(found)) => {
                    let at = At {
                        place: authority.place.name().clone(),
                        key: ObjectKey::Roster(found.roster.number),
                    };
                    authority.seen.take(&at, found)?;
                }
                Err(RepositoryError::Storage(error)) => {
                    tracing::debug!(reason = %holdfast_fault::chain(&error), "the roster could not be looked at; the one that is known counts on");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(authority.seen.get())
    }

    /// Asks the place for a newer roster if it is time to, and returns the SHA-256 of the one that counts.
    ///
    /// # Errors
    /// [`RepositoryError::RosterWentBack`], [`RepositoryError::Roster`]; others, but not that the place does not answer.
    pub async fn newest_roster(&self) -> Result<Digest, RepositoryError> {
        Ok(self.authority(false).await?.sha256)
    }

    /// Reads the roster again, unless the place has the issues that are known.
    async fn newer_authority(&self) -> Result<Option<Authority>, RepositoryError> {
        let Inner {
            authority, keys, id, ..
        } = &*self.inner;
        let names = Names::at(&authority.place).await?;
        if authority.seen.get().is_of(&names) {
            return Ok(None);
        }
        let (_, found) = read_authority(&authority.place, keys, Some(*id)).await?;
        Ok(Some(found))
    }

    /// Returns the roster that counts, and the SHA-256 of its sealed object.
    #[must_use]
    pub fn roster(&self) -> (Roster, Digest) {
        let authority = self.inner.authority.seen.get();
        (authority.roster.clone(), authority.sha256)
    }

    /// Checks that this host has a key of a role that counts now at a site.
    ///
    /// # Errors
    /// [`RepositoryError::NoRoleKey`].
    pub fn check_signs_as(&self, role: Role, site: &Site) -> Result<(), RepositoryError> {
        let authority = self.inner.authority.seen.get();
        let now = jiff::Timestamp::now();
        let mut members = authority.roster.members.iter();
        let has_key = members.any(|member| {
            let is_it = member.role == role && member.serves(site) && member.is_active(now);
            is_it
                && self
                    .inner
                    .keys
                    .signers
                    .iter()
                    .any(|signer| signer.fingerprint() == member.fingerprint)
        });
        if has_key {
            Ok(())
        } else {
            Err(RepositoryError::NoRoleKey {
                role,
                site: site.clone(),
            })
        }
    }

    /// Signs, seals and writes a record, unless one is there. [`Put::Created`] means that this record is the stored one.
    ///
    /// # Errors
    /// [`RepositoryError::WrongKey`] if the record belongs under another key; [`RepositoryError::NoSigner`] if no key at
    /// hand may sign it; [`RepositoryError::ReadOnly`]; others.
    pub async fn write<T: Record>(&self, key: &ObjectKey, record: &T) -> Result<Put, RepositoryError> {
        let trust = Trust::Roster(self.inner.authority.seen.get());
        let sealed = seal_record(&self.inner.keys, &trust, self.inner.id, key, record).await?;
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

    /// Seals a message for the services alone: signed by one of this host's role keys, and readable with the reader key.
    ///
    /// # Errors
    /// [`RepositoryError::ReadOnly`] without a reader key; [`RepositoryError::NoSigner`] without a role key.
    pub async fn seal_told(&self, plain: Vec<u8>) -> Result<Vec<u8>, RepositoryError> {
        let keys = Arc::clone(&self.inner.keys);
        let authority = self.inner.authority.seen.get();
        let key = ObjectKey::Repository;
        blocking(&key.clone(), move || {
            let reader = keys.reader.as_ref().ok_or(RepositoryError::ReadOnly)?;
            let now = jiff::Timestamp::now();
            let is_active = |fingerprint: &str| {
                let mut members = authority.roster.members.iter();
                members.any(|member| member.fingerprint == fingerprint && member.is_active(now))
            };
            let signer = keys.signers.iter().find(|signer| is_active(signer.fingerprint()));
            let signer = signer.ok_or_else(|| RepositoryError::NoSigner {
                key: Box::new(key.clone()),
                wanted: "a key of any role".to_owned(),
            })?;
            let sealed = sign_and_seal(signer, reader, keys.profile, &plain);
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
        let at = self.named_at(&ObjectKey::Repository);
        let authority = self.authority(false).await?;
        let sealed = sealed.to_vec();
        blocking(&ObjectKey::Repository, move || {
            let opened = open_signed(&keys.secret, authority.trusted(), &sealed, sealed.len());
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
        let roster = self.authority(false).await?.sha256;
        if let Some((judged_by, known)) = self.inner.manifests.get(&id)
            && judged_by == roster
        {
            return Ok(Some(known));
        }
        let key = ObjectKey::Manifest(id);
        let Some(found) = self.read_judged::<Manifest>(&key).await? else {
            return Ok(None);
        };
        let size = found.sealed.len() as u64;
        let read = Arc::new(SealedManifest {
            manifest: found.record,
            sha256: sha256(&found.sealed),
            size,
        });
        if let Some(fingerprint) = found.only_if_named
            && !self.is_named(&read).await?
        {
            return Err(self.named_at(&key).intrusion(Intrusion::Revoked { fingerprint }));
        }
        self.inner.manifests.insert(id, (roster, Arc::clone(&read)), size);
        Ok(Some(read))
    }

    /// Tells whether the restore point of a manifest's run names it, so that the scheduler saw it as it is.
    async fn is_named(&self, sealed: &SealedManifest) -> Result<bool, RepositoryError> {
        Ok(self.named(sealed).await? == Some(sealed.sha256))
    }

    /// Checks that a manifest is the one that the restore point of its run names: whoever can sign manifests must not put
    /// another one in the place of what was recorded. A run that has no restore point yet, or whose restore point cannot be
    /// read, names none.
    ///
    /// # Errors
    /// [`RepositoryError::Damaged`] if it is another one; others of the place.
    pub async fn check_named(&self, sealed: &SealedManifest) -> Result<(), RepositoryError> {
        match self.named(sealed).await {
            Ok(Some(named)) if named != sealed.sha256 => {
                let at = self.named_at(&ObjectKey::Manifest(sealed.manifest.captured.artefact));
                Err(at.damaged("it is not the one that the restore point of its run names"))
            }
            Err(error) if !error.is_unreadable() => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns the SHA-256 of the manifest that the restore point of a run names for an artefact; `None` if it names none.
    async fn named(&self, sealed: &SealedManifest) -> Result<Option<Digest>, RepositoryError> {
        let captured = &sealed.manifest.captured;
        let known = self.inner.points.get(&captured.run);
        let point = match known {
            Some(point) => point,
            None => {
                let key = ObjectKey::RestorePoint(captured.run);
                let Some((point, bytes)) = self.read_sealed::<RestorePoint>(&key).await? else {
                    return Ok(None);
                };
                let point = Arc::new(point);
                self.inner
                    .points
                    .insert(captured.run, Arc::clone(&point), bytes.len() as u64);
                point
            }
        };
        let mut of_it = point
            .artefacts
            .iter()
            .filter(|known| known.artefact.id == captured.artefact);
        Ok(of_it.find_map(|known| match &known.status {
            PointStatus::Good { manifest, .. } => Some(*manifest),
            _ => None,
        }))
    }

    /// Reads a pack's sealed bytes, of the size and SHA-256 that a manifest names.
    ///
    /// # Errors
    /// [`RepositoryError::Missing`], [`RepositoryError::Damaged`]; others of the place.
    pub async fn get_pack(&self, pack: &PackRef) -> Result<Bytes, RepositoryError> {
        let key = ObjectKey::Pack(pack.id);
        let at = self.named_at(&key);
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
