//! From the repository's own place to one target.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use holdfast_config::Target;
use holdfast_format::{ArtefactId, Class, ObjectKey, PackId, Verification};
use holdfast_repository::{Repository, SealedManifest};
use holdfast_storage::{Listed, Place, Prefix};
use holdfast_telemetry::failpoint;
use tokio::sync::{OnceCell, Semaphore};

use crate::SyncError;
use crate::object::Copy;

/// How to copy to a target.
#[derive(Clone, Debug)]
pub struct CopyOptions {
    /// Packs on their way at the same time, over all copies of one [`Copier`]: each takes up to 24 MiB of memory.
    pub concurrency: usize,
    /// The storage class for packs of each class of backup. Everything else is written in the place's own class: a
    /// restore begins with reading it.
    pub storage_class: BTreeMap<Class, String>,
    /// A folder for contents on their way. They are sealed.
    pub scratch: PathBuf,
}

impl CopyOptions {
    /// The options of a configured target.
    #[must_use]
    pub fn of(target: &Target, scratch: PathBuf) -> Self {
        let class = |(class, name): (&holdfast_config::Class, &String)| {
            let class: Class = class.as_str().parse().ok()?;
            Some((class, name.clone()))
        };
        Self {
            concurrency: target.concurrency,
            storage_class: target.storage_class.iter().filter_map(class).collect(),
            scratch,
        }
    }
}

/// What a copy sent. Objects that the target had already count for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Bytes sent.
    pub bytes: u64,
    /// Objects sent.
    pub objects: u64,
    /// How many of these were packs.
    pub packs: u64,
}

impl Copied {
    pub(crate) fn add(&mut self, sent: Option<u64>) {
        self.objects += u64::from(sent.is_some());
        self.bytes += sent.unwrap_or_default();
    }
}

/// Copies from a repository to a target. Cheap to clone; clones share the bound on packs in memory.
///
/// Every copy may be repeated, also after it was cut off or while another one runs: it sends what lacks.
#[derive(Clone)]
pub struct Copier {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) from: Repository,
    pub(crate) to: Place,
    pub(crate) options: CopyOptions,
    pub(crate) in_flight: Semaphore,
    /// Packs at the target that were read and found to be the right ones, though they looked too old.
    pub(crate) confirmed: Mutex<HashSet<PackId>>,
    prepared: OnceCell<()>,
    sent: AtomicU64,
}

impl std::fmt::Debug for Copier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Copier({:?} to {:?})", self.inner.from.place(), self.inner.to)
    }
}

impl Copier {
    /// A copier from the repository's place to another place.
    #[must_use]
    pub fn new(from: Repository, to: Place, options: CopyOptions) -> Self {
        let inner = Inner {
            in_flight: Semaphore::new(options.concurrency.max(1)),
            from,
            to,
            options,
            confirmed: Mutex::default(),
            prepared: OnceCell::new(),
            sent: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The repository that is copied from.
    #[must_use]
    pub fn from(&self) -> &Repository {
        &self.inner.from
    }

    /// The target.
    #[must_use]
    pub fn to(&self) -> &Place {
        &self.inner.to
    }

    /// Bytes sent so far by this copier and its clones: for progress.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.inner.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn add_sent(&self, bytes: u64) {
        self.inner.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Makes sure that the target is a copy of this repository and no other, before anything is sent there.
    ///
    /// # Errors
    /// [`SyncError::Repository`]: it holds another repository, or one of the places fails.
    pub async fn prepare(&self) -> Result<(), SyncError> {
        let Inner { from, to, prepared, .. } = &*self.inner;
        // Somebody may have emptied the target since.
        if prepared.initialized() && to.head(&ObjectKey::Repository).await?.is_none() {
            from.copy_identity_to(to).await?;
        }
        prepared.get_or_try_init(|| from.copy_identity_to(to)).await?;
        Ok(())
    }

    /// Copies one artefact: packs, contents, manifest, verifications.
    ///
    /// # Errors
    /// [`SyncError`]. The target then shows no manifest, or a whole artefact.
    pub async fn copy_artefact(&self, artefact: ArtefactId) -> Result<Copied, SyncError> {
        self.prepare().await?;
        let from = &self.inner.from;
        let sealed = from.manifest(artefact).await?.ok_or_else(|| SyncError::NoArtefact {
            artefact,
            place: from.place().name().clone(),
        })?;
        let mut copied = self.copy_packs(&sealed.manifest).await?;
        copied.add(self.copy_contents(&sealed.manifest).await?);
        failpoint::hit_async("syncer.before_manifest").await?;
        copied.add(self.copy_manifest(artefact, &sealed).await?);
        failpoint::hit_async("syncer.after_manifest").await?;
        for object in self.verifications_here(artefact).await? {
            copied.add(self.copy_record::<Verification>(&object, Copy::UnlessDamaged).await?);
        }
        Ok(copied)
    }

    async fn copy_manifest(&self, artefact: ArtefactId, sealed: &SealedManifest) -> Result<Option<u64>, SyncError> {
        let key = ObjectKey::Manifest(artefact);
        if self.is_there(&key, sealed.size).await? {
            return Ok(None);
        }
        let bytes = self.read_checked(&key, sealed.size, sealed.sha256).await?;
        self.put(&key, bytes, None).await
    }

    async fn verifications_here(&self, artefact: ArtefactId) -> Result<Vec<Listed>, SyncError> {
        let mut here = self.inner.from.place().list(Prefix::Artefact(artefact)).await?.objects;
        here.retain(|object| matches!(object.key, ObjectKey::Verified(..)));
        Ok(here)
    }

    /// Whether the target has an artefact whole: its manifest, with which packs and contents came, and all
    /// verifications.
    ///
    /// # Errors
    /// [`SyncError`] if either place does not tell.
    pub async fn has_artefact(&self, artefact: ArtefactId) -> Result<bool, SyncError> {
        let prefix = Prefix::Artefact(artefact);
        let there = self.inner.to.list(prefix).await?.objects;
        let has = |key: &ObjectKey, size: u64| there.iter().any(|o| o.key == *key && o.size == size);
        if !there.iter().any(|o| o.key == ObjectKey::Manifest(artefact)) {
            return Ok(false);
        }
        let here = self.inner.from.place().list(prefix).await?.objects;
        Ok(here.iter().all(|o| has(&o.key, o.size)))
    }
}
