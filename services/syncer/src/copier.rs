//! Copies from the repository's own place to one target.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use holdfast_config::Target;
use holdfast_format::{ArtefactId, Class, Digest, ObjectKey, PackId, Verification};
use holdfast_repository::{Repository, SealedManifest};
use holdfast_storage::{Listed, Place, Prefix};
use holdfast_telemetry::failpoint;
use tokio::sync::Semaphore;

use crate::SyncError;

/// The options of copies to a target.
#[derive(Clone, Debug)]
pub struct CopyOptions {
    /// The number of packs that are copied at the same time, over all copies of one [`Copier`]. Each takes up to 24 MiB
    /// of memory.
    pub concurrency: usize,
    /// The storage class of packs, by the class of their backup. All other objects are written in the place's own
    /// class, since a restore begins by reading them.
    pub storage_class: BTreeMap<Class, String>,
    /// A folder for contents while they are copied. They are sealed.
    pub scratch: PathBuf,
}

impl CopyOptions {
    /// Reads the options of a configured target.
    #[must_use]
    pub fn of(target: &Target, scratch: PathBuf) -> Self {
        Self {
            concurrency: target.concurrency,
            storage_class: target.storage_class.clone(),
            scratch,
        }
    }
}

/// The treatment of a record that is damaged in the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfDamaged {
    /// The copy fails, since a restore needs the record.
    Fail,
    /// The record is left out with a warning, since it only informs.
    LeaveOut,
}

/// The objects that a copy sent. Objects that the target had already do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Number of bytes sent.
    pub bytes: u64,
    /// Number of objects sent.
    pub objects: u64,
    /// Number of packs among the objects sent.
    pub packs: u64,
}

impl Copied {
    pub(crate) fn add(&mut self, sent: Option<u64>) {
        self.objects += u64::from(sent.is_some());
        self.bytes += sent.unwrap_or_default();
    }
}

/// Copies from a repository to a target. Clones are cheap, and share the limit of packs in memory.
///
/// Every copy may be repeated, also after it was cut off or while another one runs. It sends only what the target
/// lacks.
#[derive(Clone)]
pub struct Copier {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) from: Repository,
    pub(crate) to: Place,
    pub(crate) options: CopyOptions,
    pub(crate) in_flight: Semaphore,
    /// Packs at the target that look too old, and were read and found to be right.
    pub(crate) confirmed: Mutex<HashSet<PackId>>,
    /// SHA-256 of the roster that the target was given last.
    prepared: tokio::sync::Mutex<Option<Digest>>,
    sent: AtomicU64,
}

impl std::fmt::Debug for Copier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Copier({:?} to {:?})", self.inner.from.place(), self.inner.to)
    }
}

impl Copier {
    /// Makes a copier from the repository's place to the place `to`.
    #[must_use]
    pub fn new(from: Repository, to: Place, options: CopyOptions) -> Self {
        let inner = Inner {
            in_flight: Semaphore::new(options.concurrency.max(1)),
            from,
            to,
            options,
            confirmed: Mutex::default(),
            prepared: tokio::sync::Mutex::new(None),
            sent: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Returns the repository that is copied from.
    #[must_use]
    pub fn from(&self) -> &Repository {
        &self.inner.from
    }

    /// Returns the target's place.
    #[must_use]
    pub fn to(&self) -> &Place {
        &self.inner.to
    }

    /// Returns the number of bytes that this copier and its clones have sent so far.
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
    /// [`SyncError::Repository`] if the target holds another repository, or one of the places fails.
    pub async fn prepare(&self) -> Result<(), SyncError> {
        let Inner { from, to, prepared, .. } = &*self.inner;
        let roster = from.newest_roster().await?;
        // Somebody may have emptied the target since the last call, or the owner may have issued another roster.
        let is_known = *prepared.lock().await == Some(roster);
        if is_known && to.head(&ObjectKey::Repository).await?.is_some() {
            return Ok(());
        }
        let mut prepared = prepared.lock().await;
        from.copy_identity_to(to).await?;
        *prepared = Some(roster);
        Ok(())
    }

    /// Copies one artefact: its packs, contents, manifest and verifications, in this order.
    ///
    /// # Errors
    /// [`SyncError`]. The target then has no manifest of the artefact, or a complete artefact.
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
            copied.add(self.copy_record::<Verification>(&object, IfDamaged::LeaveOut).await?);
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

    /// True if the target has a complete artefact: its manifest, which is written after packs and contents, and all
    /// verifications.
    ///
    /// # Errors
    /// [`SyncError`] if one of the places cannot be listed.
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
