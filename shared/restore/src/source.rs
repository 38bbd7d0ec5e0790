//! The sources of an artefact's bytes.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_fault::{Retry, Retryable};
use holdfast_format::{ArtefactId, ChunkKey, Content, Manifest, ObjectKey, PACK_MAX, PackRef};
use holdfast_repository::{ContentsFile, Repository, RepositoryError, SealedManifest};
use holdfast_sealing::{OpenError, SecretKeys};
use tokio::runtime::Handle;

/// Room that an opened pack may need beyond its plaintext: what zstd adds to what it cannot shrink.
const COMPRESSED_EXTRA: usize = 1 << 20;

/// Packs by the manifest's word for them. Called from several threads at once, and allowed to block.
pub trait PackSource: Sync {
    /// The sealed object, its size and SHA-256 being the manifest's.
    ///
    /// # Errors
    /// [`PackError`], of which some are no damage: see [`PackError::is_damage`].
    fn sealed(&self, pack: &PackRef) -> Result<Bytes, PackError>;

    /// The plaintext of a sealed object that [`PackSource::sealed`] gave.
    ///
    /// # Errors
    /// [`PackError`]
    fn open(&self, pack: &PackRef, sealed: &[u8]) -> Result<Vec<u8>, PackError>;
}

/// Packs of a repository, opened with secret backup keys. Its calls block: they belong on threads that may.
#[derive(Clone, Debug)]
pub struct RepositoryPacks {
    repository: Repository,
    keys: SecretKeys,
    runtime: Handle,
}

impl RepositoryPacks {
    /// Packs of this repository. `runtime` drives the transfers; it must be running while packs are asked for.
    #[must_use]
    pub fn new(repository: Repository, keys: SecretKeys, runtime: Handle) -> Self {
        Self {
            repository,
            keys,
            runtime,
        }
    }
}

impl PackSource for RepositoryPacks {
    fn sealed(&self, pack: &PackRef) -> Result<Bytes, PackError> {
        self.runtime
            .block_on(self.repository.get_pack(pack))
            .map_err(|error| not_read(pack, error))
    }

    fn open(&self, pack: &PackRef, sealed: &[u8]) -> Result<Vec<u8>, PackError> {
        let limit = (pack.plain as usize).min(PACK_MAX) + COMPRESSED_EXTRA;
        let compressed = self.keys.open(sealed, limit).map_err(|error| not_opened(pack, error))?;
        unpack(pack, &compressed)
    }
}

fn not_read(pack: &PackRef, error: RepositoryError) -> PackError {
    let fault = match &error {
        RepositoryError::Missing { .. } => PackFault::Missing,
        RepositoryError::Damaged { problem, .. } => PackFault::Damaged(problem.clone()),
        other => PackFault::Unavailable { retry: other.retry() },
    };
    PackError::because(pack, fault, error)
}

fn not_opened(pack: &PackRef, error: OpenError) -> PackError {
    let fault = match &error {
        OpenError::NoKey { needed } => PackFault::NoKey { needed: needed.clone() },
        OpenError::Locked { key } => PackFault::NoKey {
            needed: vec![key.clone()],
        },
        OpenError::Read { .. } | OpenError::Write { .. } => PackFault::Unavailable { retry: error.retry() },
        other @ (OpenError::Damaged { .. }
        | OpenError::TooLarge { .. }
        | OpenError::NotSigned
        | OpenError::UnknownSigner { .. }
        | OpenError::BadSignature { .. }) => PackFault::Damaged(other.to_string()),
    };
    PackError::because(pack, fault, error)
}

/// Unpacks an opened pack. Never holds more than the manifest's size of it.
fn unpack(pack: &PackRef, compressed: &[u8]) -> Result<Vec<u8>, PackError> {
    let damaged = |text: String| PackError::new(pack, PackFault::Damaged(text));
    let expected = pack.plain as usize;
    if expected > PACK_MAX {
        return Err(damaged(format!("{expected} bytes are more than a pack may have")));
    }
    let plain = zstd::bulk::Decompressor::new()
        .and_then(|mut zstd| zstd.decompress(compressed, expected))
        .map_err(|error| {
            damaged(format!(
                "it cannot be unpacked to the manifest's {expected} bytes: {error}"
            ))
        })?;
    if plain.len() != expected {
        return Err(damaged(format!("it unpacks to {} bytes of {expected}", plain.len())));
    }
    Ok(plain)
}

/// An artefact ready to be read.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    /// The manifest, whose signature was checked.
    pub manifest: &'a Manifest,
    /// The contents, whose SHA-256 was checked.
    pub contents: &'a ContentsFile,
    /// The artefact's packs.
    pub packs: &'a dyn PackSource,
    /// The repository's key of chunk ids.
    pub key: &'a ChunkKey,
}

impl<'a> Origin<'a> {
    /// The pack at this index of the manifest.
    pub(crate) fn pack(&self, index: u32) -> Option<&'a PackRef> {
        self.manifest.packs.get(index as usize)
    }

    /// The key of the pack at this index; of the contents, if they name a pack that the manifest does not have.
    pub(crate) fn pack_key(&self, index: u32) -> ObjectKey {
        self.pack(index)
            .map_or(ObjectKey::Contents(self.manifest.captured.artefact), |pack| {
                ObjectKey::Pack(pack.id)
            })
    }

    /// The lines of the contents after the head.
    pub(crate) fn lines(
        &self,
    ) -> Result<impl Iterator<Item = Result<Content, RepositoryError>> + use<'a>, RepositoryError> {
        let contents = self.contents;
        Ok(contents
            .reader()?
            .map(|line| line.map_err(|error| contents.error(error))))
    }
}

/// An artefact of a repository, its manifest and contents fetched and checked.
#[derive(Debug)]
pub struct OpenArtefact {
    sealed: Arc<SealedManifest>,
    contents: ContentsFile,
    packs: RepositoryPacks,
}

impl OpenArtefact {
    /// Fetches an artefact's manifest and contents; `None` if there is no such artefact. A manifest that is not the one which
    /// the restore point of its run names is damaged. `scratch` takes the contents,
    /// still sealed; `keys` open its packs. To be called on a Tokio runtime, which then serves the packs.
    ///
    /// # Errors
    /// [`RepositoryError`]
    pub async fn open(
        repository: &Repository,
        keys: SecretKeys,
        id: ArtefactId,
        scratch: &Path,
    ) -> Result<Option<Self>, RepositoryError> {
        let Some(sealed) = repository.manifest(id).await? else {
            return Ok(None);
        };
        repository.check_named(&sealed).await?;
        let contents = repository.open_contents(&sealed.manifest, scratch).await?;
        Ok(Some(Self {
            sealed,
            contents,
            packs: RepositoryPacks::new(repository.clone(), keys, Handle::current()),
        }))
    }

    /// Returns the manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.sealed.manifest
    }

    /// Returns the source that the functions of this crate read from.
    #[must_use]
    pub fn origin(&self) -> Origin<'_> {
        Origin {
            manifest: &self.sealed.manifest,
            contents: &self.contents,
            packs: &self.packs,
            key: self.packs.key(),
        }
    }
}

impl RepositoryPacks {
    fn key(&self) -> &ChunkKey {
        &self.repository.info().chunk_key
    }
}

type Cause = Arc<dyn Error + Send + Sync>;

/// A pack could not be had.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{object} {fault}")]
pub struct PackError {
    /// The pack.
    pub object: ObjectKey,
    /// The kind of fault.
    pub fault: PackFault,
    /// The cause, if one was given.
    #[source]
    pub source: Option<Cause>,
}

/// The kinds of faults of a pack.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackFault {
    /// The pack is not there.
    #[error("is missing: copy it from another place, or capture again")]
    Missing,
    /// The stored object is not what the manifest says, or does not open to what the manifest says.
    #[error("is damaged: {0}")]
    Damaged(String),
    /// A secret key is wanted that was not given. This says nothing about the pack.
    #[error("cannot be decrypted: needs the secret key {}", needed.join(" or "))]
    NoKey {
        /// Ids of the keys that it was sealed to.
        needed: Vec<String>,
    },
    /// The place did not answer as it should. This says nothing about the pack.
    #[error("cannot be read from its place")]
    Unavailable {
        /// Tells whether the place may answer later.
        retry: Retry,
    },
}

impl PackError {
    /// An error about this pack.
    #[must_use]
    pub fn new(pack: &PackRef, fault: PackFault) -> Self {
        Self {
            object: ObjectKey::Pack(pack.id),
            fault,
            source: None,
        }
    }

    /// An error about this pack, with its cause.
    pub fn because(pack: &PackRef, fault: PackFault, source: impl Error + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Arc::new(source)),
            ..Self::new(pack, fault)
        }
    }

    /// True if the stored object is at fault, and not the reader's keys or the way to the place.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self.fault, PackFault::Missing | PackFault::Damaged(_))
    }
}

impl Retryable for PackError {
    fn retry(&self) -> Retry {
        match &self.fault {
            PackFault::Unavailable { retry } => *retry,
            PackFault::Missing | PackFault::Damaged(_) | PackFault::NoKey { .. } => Retry::Never,
        }
    }
}
