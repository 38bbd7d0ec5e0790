//! Makes and opens repositories, and gives one to further places.

use std::collections::BTreeSet;
use std::sync::Arc;

use holdfast_format::{ChunkKey, ChunkerParams, Member, ObjectKey, RepositoryId, RepositoryInfo, Roster, RosterError};
use holdfast_storage::{Place, Prefix, Put, StorageError};
use jiff::Timestamp;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::authority::{Authority, Seen};
use crate::error::At;
use crate::names::Names;
use crate::records::{RECORD_MAX, Read, Trust, read_record, seal_record, sha256, write_once};
use crate::repository::Authorities;
use crate::roster::{read_authority, sealed_issues};
use crate::{Repository, RepositoryError, RepositoryKeys};

/// Bytes of the longest restore instructions or script.
const PLAIN_MAX: u64 = 4 << 20;

impl Repository {
    /// Makes a repository with a random id, chunk key and chunker seed, and the first roster with these members. The owner
    /// key must be among the signers. The restore instructions are written with [`Repository::put_plain`] afterwards.
    ///
    /// # Errors
    /// [`RepositoryError::Exists`] if there is one, which then stays as it is; [`RepositoryError::NoSigner`] without the
    /// owner's secret key; [`RepositoryError::ReadOnly`]; others.
    pub async fn create(
        place: Place,
        keys: RepositoryKeys,
        members: Vec<Member>,
        created: Timestamp,
    ) -> Result<Self, RepositoryError> {
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
        let roster = Roster {
            number: 1,
            previous: None,
            issued: created,
            members,
            info: info.clone(),
        };
        let at = At {
            place: place.name().clone(),
            key: ObjectKey::Roster(1),
        };
        roster.check_after(None).map_err(|source| RepositoryError::Roster {
            place: place.name().clone(),
            source,
        })?;
        Authority::new(&at, Names::default(), (roster.clone(), sha256(b"")), BTreeSet::new())?;
        let keys = Arc::new(keys);
        let identity = seal_record(&keys, &Trust::Owner, id, &ObjectKey::Repository, &info).await?;
        let issue = seal_record(&keys, &Trust::Owner, id, &ObjectKey::Roster(1), &roster).await?;
        clear_beginning(&place).await?;
        // The identity last: with it the repository is there, and whole.
        match write_once(&place, &ObjectKey::Roster(1), issue).await? {
            Put::Created => {}
            // Somebody else makes one at this moment.
            Put::AlreadyThere { .. } => return Err(exists()),
        }
        match write_once(&place, &ObjectKey::Repository, identity.clone()).await? {
            Put::Created => {}
            Put::AlreadyThere { .. } => return Err(exists()),
        }
        let (_, authority) = read_authority(&place, &keys, Some(id)).await?;
        let authority = authorities(&place, authority);
        Ok(Self::assemble(place, keys, id, Arc::new(info), identity, authority))
    }

    /// Opens the repository of a place.
    ///
    /// # Errors
    /// [`RepositoryError::NoRepository`]; [`RepositoryError::NoKey`] if it is sealed to other keys;
    /// [`RepositoryError::NotOwner`] if the owner did not sign it; [`RepositoryError::Roster`]; others.
    pub async fn open(place: Place, keys: RepositoryKeys) -> Result<Self, RepositoryError> {
        let keys = Arc::new(keys);
        let (known, identity) = match read_identity(&place, &keys).await {
            Ok(Some(read)) => (Some(read.id), read.sealed),
            Ok(None) => {
                return Err(RepositoryError::NoRepository {
                    place: place.name().clone(),
                });
            }
            Err(RepositoryError::NotSigned { place, source, .. }) => {
                return Err(RepositoryError::NotOwner { place, source });
            }
            // A backup key that was made later: the roster says the same.
            Err(RepositoryError::NoKey { .. }) => (None, place.get(&ObjectKey::Repository, RECORD_MAX).await?),
            Err(error) => return Err(error),
        };
        let (id, authority) = read_authority(&place, &keys, known).await?;
        let info = Arc::new(authority.roster.info.clone());
        let authority = authorities(&place, authority);
        let repository = Self::assemble(place, keys, id, info, identity, authority);
        if repository.info().chunker.is_valid() {
            Ok(repository)
        } else {
            let at = repository.named_at(&ObjectKey::Repository);
            Err(at.damaged("its chunk sizes are out of order"))
        }
    }

    /// Issues the next roster, of which this host must hold the owner's secret key.
    ///
    /// # Errors
    /// [`RepositoryError::NoSigner`]; [`RepositoryError::Exists`] if somebody else issued one meanwhile; others.
    pub async fn issue(&self, members: Vec<Member>, issued: Timestamp) -> Result<u64, RepositoryError> {
        let (current, sha256) = self.roster();
        let next = Roster {
            number: current.number + 1,
            previous: Some(sha256),
            issued,
            members,
            info: self.info().clone(),
        };
        let key = ObjectKey::Roster(next.number);
        // A roster that does not hold together would shut everybody out, for good.
        next.check_after(Some((&current, sha256)))
            .map_err(|source| RepositoryError::Roster {
                place: self.inner.place.name().clone(),
                source,
            })?;
        Authority::new(
            &self.named_at(&key),
            Names::default(),
            (next.clone(), sha256),
            BTreeSet::new(),
        )?;
        let sealed = seal_record(&self.inner.keys, &Trust::Owner, self.inner.id, &key, &next).await?;
        match write_once(&self.inner.place, &key, sealed.clone()).await? {
            Put::Created => {}
            Put::AlreadyThere { .. } => {
                return Err(RepositoryError::Exists {
                    place: self.inner.place.name().clone(),
                });
            }
        }
        let (_, found) = read_authority(&self.inner.place, &self.inner.keys, Some(self.inner.id)).await?;
        self.inner.authority.seen.take(&self.named_at(&key), found)?;
        Ok(next.number)
    }

    /// Makes another place a copy of this one, as far as identity goes: the same `repository.pgp` and rosters, and the
    /// restore instructions and script if they are here. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`RepositoryError::OtherRepository`] if the place holds another one; others of both places.
    pub async fn copy_identity_to(&self, target: &Place) -> Result<(), RepositoryError> {
        let put = write_once(target, &ObjectKey::Repository, self.inner.identity.clone()).await?;
        if matches!(put, Put::AlreadyThere { .. }) {
            self.check_identity_at(target).await?;
        }
        for (key, sealed) in sealed_issues(&self.inner.authority.place).await? {
            let hash = sha256(&sealed);
            if let Put::AlreadyThere { size } = write_once(target, &key, sealed).await? {
                let there = target.get(&key, size).await?;
                if sha256(&there) != hash {
                    let number = match key {
                        ObjectKey::Roster(number) => number,
                        _ => self.inner.authority.seen.get().roster.number,
                    };
                    return Err(RepositoryError::Roster {
                        place: target.name().clone(),
                        source: RosterError::Fork { number },
                    });
                }
            }
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
        let read = match read_identity(target, &self.inner.keys).await {
            // A backup key that was made later opens neither: then both are the same, or not.
            Err(error @ RepositoryError::NoKey { .. }) => {
                let there = target.get(&ObjectKey::Repository, RECORD_MAX).await?;
                return if there == self.inner.identity {
                    Ok(())
                } else {
                    Err(error)
                };
            }
            read => read?,
        };
        match read {
            None => Err(RepositoryError::NoRepository {
                place: target.name().clone(),
            }),
            Some(read) if read.id == self.id() && read.record == *self.info() => Ok(()),
            Some(read) => Err(RepositoryError::OtherRepository {
                place: target.name().clone(),
                found: read.id,
                expected: self.id(),
            }),
        }
    }
}

/// Takes away what a process left that ended while it made a repository: the first roster, alone.
async fn clear_beginning(place: &Place) -> Result<(), RepositoryError> {
    let objects = place.list(Prefix::All).await?.objects;
    let is_beginning = |key: &ObjectKey| key.is_plain() || *key == ObjectKey::Roster(1);
    if let Some(other) = objects.iter().find(|object| !is_beginning(&object.key)) {
        return Err(RepositoryError::Remains {
            place: place.name().clone(),
            found: Box::new(other.key.clone()),
        });
    }
    if objects.iter().any(|object| object.key == ObjectKey::Roster(1)) {
        place.delete(&ObjectKey::Roster(1)).await?;
    }
    Ok(())
}

async fn read_identity(
    place: &Place,
    keys: &Arc<RepositoryKeys>,
) -> Result<Option<Read<RepositoryInfo>>, RepositoryError> {
    read_record(place, keys, &Trust::Owner, None, &ObjectKey::Repository).await
}

fn authorities(place: &Place, authority: Authority) -> Arc<Authorities> {
    Arc::new(Authorities {
        place: place.clone(),
        seen: Seen::new(authority),
    })
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
