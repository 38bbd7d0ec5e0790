//! Copies of single objects: read with a check, written once, and looked for afterwards.

use std::io;

use bytes::Bytes;
use holdfast_format::{Digest, Manifest, ObjectKey, Record};
use holdfast_repository::{RepositoryError, sha256_of_file};
use holdfast_storage::{Listed, Put, StorageError};

use crate::SyncError;
use crate::copier::{Copier, IfDamaged};

impl Copier {
    /// True if the target has the object in this size. Another size is an error.
    pub(crate) async fn is_there(&self, key: &ObjectKey, size: u64) -> Result<bool, SyncError> {
        match self.inner.to.head(key).await? {
            Some(meta) if meta.size == size => Ok(true),
            Some(meta) => Err(self.other_size(key, meta.size, size)),
            None => Ok(false),
        }
    }

    pub(crate) fn other_size(&self, key: &ObjectKey, found: u64, expected: u64) -> SyncError {
        SyncError::OtherSize {
            place: self.inner.to.name().clone(),
            key: Box::new(key.clone()),
            found,
            expected,
        }
    }

    /// Judges the answer to a write. Returns the number of bytes sent, or `None` if the object was there already.
    async fn written(&self, key: &ObjectKey, size: u64, put: Put) -> Result<Option<u64>, SyncError> {
        match put {
            Put::AlreadyThere { size: found } if found == size => return Ok(None),
            Put::AlreadyThere { size: found } => return Err(self.other_size(key, found, size)),
            Put::Created => {}
        }
        if !self.is_there(key, size).await? {
            return Err(SyncError::Vanished {
                place: self.inner.to.name().clone(),
                key: Box::new(key.clone()),
            });
        }
        self.add_sent(size);
        Ok(Some(size))
    }

    /// Writes an object to the target, and checks that it is there afterwards. Returns the number of bytes sent, or
    /// `None` if the object was there already.
    pub(crate) async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        class: Option<&str>,
    ) -> Result<Option<u64>, SyncError> {
        let size = bytes.len() as u64;
        let put = self.inner.to.put(key, bytes, class).await?;
        self.written(key, size, put).await
    }

    /// Reads an object of the repository, and checks it against its known size and SHA-256.
    pub(crate) async fn read_checked(&self, key: &ObjectKey, size: u64, sha256: Digest) -> Result<Bytes, SyncError> {
        let bytes = match self.inner.from.place().get(key, size).await {
            Err(StorageError::NotFound { .. }) => return Err(self.missing(key)),
            read => read?,
        };
        let found = holdfast_repository::sha256(&bytes);
        if bytes.len() as u64 == size && found == sha256 {
            return Ok(bytes);
        }
        Err(self.damaged(key, bytes.len() as u64, size, found, sha256))
    }

    fn missing(&self, key: &ObjectKey) -> SyncError {
        SyncError::Repository(RepositoryError::Missing {
            place: self.inner.from.place().name().clone(),
            key: Box::new(key.clone()),
        })
    }

    fn damaged(&self, key: &ObjectKey, size: u64, expected_size: u64, found: Digest, expected: Digest) -> SyncError {
        SyncError::Repository(RepositoryError::Damaged {
            place: self.inner.from.place().name().clone(),
            key: Box::new(key.clone()),
            problem: format!("{size} bytes with SHA-256 {found}, and {expected_size} with {expected} were written"),
            source: None,
        })
    }

    /// Copies an artefact's contents through a file, since they may be large.
    pub(crate) async fn copy_contents(&self, manifest: &Manifest) -> Result<Option<u64>, SyncError> {
        let key = ObjectKey::Contents(manifest.captured.artefact);
        let expected = manifest.contents;
        if self.is_there(&key, expected.size).await? {
            return Ok(None);
        }
        let scratch = &self.inner.options.scratch;
        let failed = |source| SyncError::Scratch {
            path: scratch.clone(),
            source,
        };
        let folder = tempfile::Builder::new()
            .prefix("sync-")
            .tempdir_in(scratch)
            .map_err(failed)?;
        let path = folder.path().join("contents");
        let size = match self.inner.from.place().get_to_file(&key, &path, expected.size).await {
            Err(StorageError::NotFound { .. }) => return Err(self.missing(&key)),
            read => read?,
        };
        let hashing = path.clone();
        let hashed = tokio::task::spawn_blocking(move || sha256_of_file(&hashing)).await;
        let found = hashed
            .map_err(io::Error::other)
            .and_then(|hashed| hashed)
            .map_err(failed)?;
        if size != expected.size || found != expected.sha256 {
            return Err(self.damaged(&key, size, expected.size, found, expected.sha256));
        }
        let put = self.inner.to.put_file(&key, &path, None).await?;
        self.written(&key, size, put).await
    }

    /// Copies a sealed record as it is, after reading it here and checking its signature.
    pub(crate) async fn copy_record<T>(&self, object: &Listed, if_damaged: IfDamaged) -> Result<Option<u64>, SyncError>
    where
        T: Record + Send + 'static,
    {
        let key = &object.key;
        if self.is_there(key, object.size).await? {
            return Ok(None);
        }
        match self.inner.from.read::<T>(key).await {
            Ok(Some(_)) => {}
            // The record was deleted after it was listed.
            Ok(None) => return Ok(None),
            Err(error) if error.is_damage() && if_damaged == IfDamaged::LeaveOut => {
                let error = holdfast_fault::chain(&error);
                tracing::warn!(%key, target = %self.inner.to.name(), %error, "a damaged record is not copied");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        let bytes = self.inner.from.place().get(key, object.size).await?;
        self.put(key, bytes, None).await
    }
}
