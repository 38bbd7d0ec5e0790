//! A run's restore point, with the records that belong to it.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_format::{ArtefactId, Expected, Failure, Listed, ObjectKey, RestorePoint, RunId};
use holdfast_storage::Prefix;

use crate::object::Copy;
use crate::{Copied, Copier, SyncError};

/// Questions on their way at the same time.
const ASKING: usize = 16;

impl Copier {
    /// Copies what a run expected, listed and failed at, then its restore point: whoever sees that has all the manifests
    /// that it names.
    ///
    /// # Errors
    /// [`SyncError::Lacks`] if the target does not have a good artefact of the run; [`SyncError`].
    pub async fn copy_point(&self, run: RunId) -> Result<Copied, SyncError> {
        self.prepare().await?;
        let from = &self.inner.from;
        let point = from.read::<RestorePoint>(&ObjectKey::RestorePoint(run)).await?;
        let point = point.ok_or_else(|| SyncError::NoPoint {
            run,
            place: from.place().name().clone(),
        })?;
        let good: Vec<ArtefactId> = point.good().map(|a| a.artefact.id).collect();
        self.check_has(run, good).await?;
        let mut copied = Copied::default();
        // Listings are sorted by key, and the restore point's key comes after those of the other records.
        for object in from.place().list(Prefix::Run(run)).await?.objects {
            let sent = match &object.key {
                ObjectKey::Expected(_) => self.copy_record::<Expected>(&object, Copy::Always).await?,
                ObjectKey::Listed(..) => self.copy_record::<Listed>(&object, Copy::UnlessDamaged).await?,
                ObjectKey::SourceFailed(..) | ObjectKey::ArtefactFailed(..) | ObjectKey::PlaceFailed(..) => {
                    self.copy_record::<Failure>(&object, Copy::UnlessDamaged).await?
                }
                ObjectKey::RestorePoint(_) => self.copy_record::<RestorePoint>(&object, Copy::Always).await?,
                _ => None,
            };
            copied.add(sent);
        }
        Ok(copied)
    }

    async fn check_has(&self, run: RunId, artefacts: Vec<ArtefactId>) -> Result<(), SyncError> {
        let to = &self.inner.to;
        let asked =
            stream::iter(artefacts).map(async |artefact| match to.head(&ObjectKey::Manifest(artefact)).await? {
                Some(_) => Ok(()),
                None => Err(SyncError::Lacks {
                    place: to.name().clone(),
                    artefact,
                    run,
                }),
            });
        asked.buffer_unordered(ASKING).try_collect().await
    }

    /// Whether the target has a run's restore point.
    ///
    /// # Errors
    /// [`SyncError`] if the target does not tell.
    pub async fn has_point(&self, run: RunId) -> Result<bool, SyncError> {
        Ok(self.inner.to.head(&ObjectKey::RestorePoint(run)).await?.is_some())
    }
}
