//! A place and its objects.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use holdfast_format::{ObjectKey, PlaceName};
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::classify::{Class, classify};
use crate::error::{Operation, StorageError};
use crate::local;
use crate::object::{Meta, Put};
use crate::options::{PlaceOptions, shown};
use crate::throttle::Throttle;

/// Number of tries of a write that was cut off, or was told of an object that then is not there.
pub(crate) const ATTEMPTS: u32 = 4;

/// Bytes from which an object goes to a directory, and comes from there, past the page cache.
pub(crate) const DIRECT_MIN: usize = 1 << 20;

/// A place that holds a repository: a directory or a bucket. Cheap to clone.
#[derive(Clone)]
pub struct Place {
    pub(crate) inner: Arc<Inner>,
}

/// A store that was opened.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The directory, if the place is one.
    pub(crate) root: Option<PathBuf>,
    pub(crate) conditional: Arc<AtomicBool>,
}

pub(crate) struct Inner {
    name: PlaceName,
    shown: String,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) root: Option<PathBuf>,
    /// True while the store is believed to create objects conditionally.
    pub(crate) conditional: Arc<AtomicBool>,
    permits: Semaphore,
    throttle: Option<Throttle>,
    pub(crate) timeout: Duration,
    pub(crate) retry_for: Duration,
    class: Option<String>,
    hidden: Vec<SecretString>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({} at {})", self.inner.name, self.inner.shown)
    }
}

pub(crate) fn path_of(key: &ObjectKey) -> Path {
    Path::from(key.to_string())
}

impl Place {
    pub(crate) fn assemble(name: PlaceName, options: PlaceOptions, opened: Opened) -> Self {
        let secrets = [options.access_key_id, options.secret_access_key, options.session_token];
        Self {
            inner: Arc::new(Inner {
                name,
                shown: shown(&options.url),
                store: opened.store,
                root: opened.root,
                conditional: opened.conditional,
                permits: Semaphore::new(options.concurrency),
                throttle: options.bandwidth.map(Throttle::new),
                timeout: options.timeout,
                retry_for: options.retry_for,
                class: options.storage_class,
                hidden: secrets.into_iter().flatten().collect(),
            }),
        }
    }

    /// Returns the name of the place.
    #[must_use]
    pub fn name(&self) -> &PlaceName {
        &self.inner.name
    }

    /// Returns the URL of the place, without credentials.
    #[must_use]
    pub fn describe(&self) -> String {
        self.inner.shown.clone()
    }

    pub(crate) fn hidden(&self) -> Vec<&str> {
        self.inner.hidden.iter().map(ExposeSecret::expose_secret).collect()
    }

    /// Waits until this task may send or receive.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed, so this is always a permit.
        self.inner.permits.acquire().await.ok()
    }

    pub(crate) async fn throttle(&self, bytes: u64) {
        if let Some(throttle) = &self.inner.throttle {
            throttle.take(bytes).await;
        }
    }

    /// Returns the attributes of an object of this storage class, or of the place's if there is none.
    pub(crate) fn attributes(&self, class: Option<&str>) -> Attributes {
        let mut attributes = Attributes::new();
        if self.inner.root.is_none()
            && let Some(class) = class.or(self.inner.class.as_deref())
        {
            attributes.insert(Attribute::StorageClass, class.to_owned().into());
        }
        attributes
    }

    /// Writes an object, unless one of this key is there: it is never overwritten. `class` is an S3 storage class.
    ///
    /// # Errors
    /// [`StorageError`]. After an error the object may or may not be there, but is whole if it is.
    pub async fn put(&self, key: &ObjectKey, bytes: Bytes, class: Option<&str>) -> Result<Put, StorageError> {
        let _turn = self.turn().await;
        self.create(&path_of(key), bytes, class).await
    }

    /// Writes an object, and tries again until it is known how that ended. Each try begins with a look, so an object
    /// that is there is not sent again, and a store that ignores the condition does not overwrite.
    pub(crate) async fn create(&self, at: &Path, bytes: Bytes, class: Option<&str>) -> Result<Put, StorageError> {
        let mut conditional = self.inner.conditional.load(Ordering::Relaxed);
        let mut told_it_exists = false;
        let mut attempt = 1;
        loop {
            match self.size_of(at).await {
                Ok(Some(size)) => return Ok(Put::AlreadyThere { size }),
                Ok(None) => {}
                // Credentials that may only write are no obstacle, as long as the store itself looks.
                Err(StorageError::Denied { .. }) if conditional && !told_it_exists => {}
                Err(error) => return Err(error),
            }
            self.throttle(bytes.len() as u64).await;
            let error = match self.send(at, bytes.clone(), class, conditional).await {
                Ok(()) => {
                    self.remember(conditional);
                    return Ok(Put::Created);
                }
                Err(error) => error,
            };
            match classify(&error) {
                class @ (Class::Exists | Class::Interrupted) if attempt < ATTEMPTS => {
                    told_it_exists |= class == Class::Exists;
                    pause(attempt).await;
                    attempt += 1;
                }
                Class::NotSupported if conditional => conditional = false,
                _ => return Err(self.error(Operation::Write, at.as_ref(), &error)),
            }
        }
    }

    async fn send(&self, at: &Path, bytes: Bytes, class: Option<&str>, conditional: bool) -> object_store::Result<()> {
        if let Some(root) = self.inner.root.clone()
            && bytes.len() >= DIRECT_MIN
        {
            return put_in(root, at.clone(), bytes).await;
        }
        let options = PutOptions {
            mode: if conditional {
                PutMode::Create
            } else {
                PutMode::Overwrite
            },
            attributes: self.attributes(class),
            ..PutOptions::default()
        };
        let payload = PutPayload::from_bytes(bytes);
        self.inner.store.put_opts(at, payload, options).await.map(|_| ())
    }

    /// Keeps in mind whether the store creates conditionally, once a write has shown it.
    pub(crate) fn remember(&self, conditional: bool) {
        if self.inner.conditional.swap(conditional, Ordering::Relaxed) && !conditional {
            tracing::warn!(
                place = %self.name(),
                "the store cannot create objects conditionally: holdfast looks before it writes instead"
            );
        }
    }

    async fn size_of(&self, at: &Path) -> Result<Option<u64>, StorageError> {
        Ok(self.look(at).await?.map(|meta| meta.size))
    }

    pub(crate) async fn look(&self, at: &Path) -> Result<Option<Meta>, StorageError> {
        self.refuse_special(Operation::Look, at).await?;
        match self.inner.store.head(at).await {
            Ok(meta) => Ok(Some(Meta::of(&meta))),
            Err(error) if classify(&error) == Class::NotFound => Ok(None),
            Err(error) => Err(self.error(Operation::Look, at.as_ref(), &error)),
        }
    }

    /// Refuses what is no regular file in a directory, before anything opens it and waits.
    pub(crate) async fn refuse_special(&self, operation: Operation, at: &Path) -> Result<(), StorageError> {
        let Some(root) = self.inner.root.clone() else {
            return Ok(());
        };
        let key = at.to_string();
        match tokio::task::spawn_blocking(move || local::is_special(&root, &key)).await {
            Ok(true) => {
                let said = std::io::Error::other("it is no regular file: remove it");
                Err(self.failed(Class::Refused, operation, at.as_ref(), &said))
            }
            // Opening the file tells whatever else is wrong with it.
            _ => Ok(()),
        }
    }

    /// Returns size and time of an object; `None` if it is not there.
    ///
    /// # Errors
    /// [`StorageError`] if the place does not say.
    pub async fn head(&self, key: &ObjectKey) -> Result<Option<Meta>, StorageError> {
        self.look(&path_of(key)).await
    }

    /// Deletes an object. One that is not there is deleted already.
    ///
    /// # Errors
    /// [`StorageError`] if it may still be there.
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), StorageError> {
        self.remove(&path_of(key)).await
    }

    pub(crate) async fn remove(&self, at: &Path) -> Result<(), StorageError> {
        match self.inner.store.delete(at).await {
            Ok(()) => Ok(()),
            Err(error) if classify(&error) == Class::NotFound => Ok(()),
            Err(error) => Err(self.error(Operation::Delete, at.as_ref(), &error)),
        }
    }
}

/// Writes a large object to a directory.
async fn put_in(root: PathBuf, at: Path, bytes: Bytes) -> object_store::Result<()> {
    let key = at.to_string();
    let put = tokio::task::spawn_blocking(move || local::put_in(&root, &key, &bytes)).await;
    match put {
        Ok(Ok(Put::Created)) => Ok(()),
        Ok(Ok(Put::AlreadyThere { .. })) => Err(object_store::Error::AlreadyExists {
            path: at.to_string(),
            source: "another one was faster".into(),
        }),
        Ok(Err(error)) => Err(local::refused(error)),
        Err(panicked) => Err(local::refused(panicked)),
    }
}

/// Waits a moment before the next try, longer each time.
pub(crate) async fn pause(attempt: u32) {
    tokio::time::sleep(Duration::from_millis(50 << attempt.min(6))).await;
}
