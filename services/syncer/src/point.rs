//! Copies of restore points, with the records that belong to them.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_format::{ArtefactId, Expected, Failure, Listed, ObjectKey, RestorePoint, RunId};
use holdfast_storage::Prefix;

use crate::copier::IfDamaged;
use crate::{Copied, Copier, SyncError};

/// The number of look-ups at the same time.
const ASKING: usize = 16;

impl Copier {
    /// Copies a run's expectations, listings and failures, and then its restore point. A reader who sees the restore
    /// point at the target finds all manifests that it names.
    ///
    /// # Errors
    /// [`SyncError::Lacks`] if the target lacks a good artefact of the run, else another [`SyncError`].
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
        // Objects are listed in the order of their keys, and the restore point's key comes after those of the other
        // records.
        for object in from.place().list(Prefix::Run(run)).await?.objects {
            let sent = match &object.key {
                ObjectKey::Expected(_) => self.copy_record::<Expected>(&object, IfDamaged::Fail).await?,
                ObjectKey::Listed(..) => self.copy_record::<Listed>(&object, IfDamaged::LeaveOut).await?,
                ObjectKey::SourceFailed(..) | ObjectKey::ArtefactFailed(..) | ObjectKey::PlaceFailed(..) => {
                    self.copy_record::<Failure>(&object, IfDamaged::LeaveOut).await?
                }
                ObjectKey::RestorePoint(_) => self.copy_record::<RestorePoint>(&object, IfDamaged::Fail).await?,
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

    /// True if the target has the run's restore point.
    ///
    /// # Errors
    /// [`SyncError`] if the target cannot be asked.
    pub async fn has_point(&self, run: RunId) -> Result<bool, SyncError> {
        Ok(self.inner.to.head(&ObjectKey::RestorePoint(run)).await?.is_some())
    }
}
