//! Copies of packs: finds those that a target lacks, and sends them.

use std::collections::HashMap;
use std::sync::PoisonError;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_format::{Manifest, ObjectKey, PackId, PackRef};
use holdfast_repository::RepositoryError;
use holdfast_storage::{Meta, Place, Prefix};
use holdfast_telemetry::failpoint;
use jiff::SignedDuration;

use crate::{Copied, Copier, SyncError};

/// The largest number of packs that are looked up one by one. For more, all packs of the place are listed.
const ASKED_MAX: usize = 256;

/// The number of look-ups at the same time. They carry no data.
const ASKING: usize = 16;

/// The largest difference between the clocks of two places.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_hours(1);

/// The largest number of remembered ids of packs that were read at the target.
const CONFIRMED_MAX: usize = 1 << 20;

impl Copier {
    /// Sends the packs of an artefact that the target lacks, several at a time.
    pub(crate) async fn copy_packs(&self, manifest: &Manifest) -> Result<Copied, SyncError> {
        let class = self
            .inner
            .options
            .storage_class
            .get(&manifest.captured.class)
            .map(String::as_str);
        let lacking = self.lacking(&manifest.packs).await?;
        let mut sending = stream::iter(lacking)
            .map(|pack| self.copy_pack(pack, class))
            .buffer_unordered(self.inner.options.concurrency.max(1));
        let mut copied = Copied::default();
        while let Some(sent) = sending.try_next().await? {
            copied.packs += u64::from(sent.is_some());
            copied.add(sent);
        }
        Ok(copied)
    }

    async fn copy_pack(&self, pack: PackRef, class: Option<&str>) -> Result<Option<u64>, SyncError> {
        // The semaphore is never closed, so this always gets a permit. It bounds memory over all copies to this target.
        let _permit = self.inner.in_flight.acquire().await.ok();
        let bytes = self.inner.from.get_pack(&pack).await?;
        let sent = self.put(&ObjectKey::Pack(pack.id), bytes, class).await?;
        failpoint::hit_async("syncer.after_pack").await?;
        Ok(sent)
    }

    async fn lacking(&self, packs: &[PackRef]) -> Result<Vec<PackRef>, SyncError> {
        let there = stat(&self.inner.to, packs).await?;
        let mut lacking = Vec::new();
        let mut present = Vec::new();
        for pack in packs {
            match there.get(&pack.id) {
                None => lacking.push(*pack),
                Some(meta) if meta.size == pack.size => present.push(*pack),
                Some(meta) => return Err(self.other_size(&ObjectKey::Pack(pack.id), meta.size, pack.size)),
            }
        }
        let here = stat(self.inner.from.place(), &present).await?;
        for pack in &present {
            let (Some(here), Some(there)) = (here.get(&pack.id), there.get(&pack.id)) else {
                continue;
            };
            if there
                .modified
                .saturating_add(CLOCKS_DIFFER)
                .is_ok_and(|there| there < here.modified)
            {
                self.confirm(pack).await?;
            }
        }
        Ok(lacking)
    }

    /// Reads a pack at the target that was written earlier than the one here, so that it cannot be a copy of it. Either
    /// this place was filled from the target, and the two are equal; or retention deleted the pack here, and a later
    /// backup sealed the same content again, under the same id but with other bytes.
    async fn confirm(&self, pack: &PackRef) -> Result<(), SyncError> {
        let confirmed = || self.inner.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        if confirmed().contains(&pack.id) {
            return Ok(());
        }
        let _permit = self.inner.in_flight.acquire().await.ok();
        match self.inner.from.at(self.inner.to.clone()).get_pack(pack).await {
            Ok(_) => {}
            Err(RepositoryError::Damaged { .. }) => {
                return Err(SyncError::OtherBytes {
                    place: self.inner.to.name().clone(),
                    key: Box::new(ObjectKey::Pack(pack.id)),
                });
            }
            Err(error) => return Err(error.into()),
        }
        let mut confirmed = confirmed();
        if confirmed.len() >= CONFIRMED_MAX {
            confirmed.clear();
        }
        confirmed.insert(pack.id);
        Ok(())
    }
}

/// Returns size and time of the packs that the place has.
async fn stat(place: &Place, packs: &[PackRef]) -> Result<HashMap<PackId, Meta>, SyncError> {
    if packs.len() > ASKED_MAX {
        let listed = place.list(Prefix::Packs).await?.objects.into_iter();
        let pack = |object: holdfast_storage::Listed| match object.key {
            ObjectKey::Pack(id) => Some((
                id,
                Meta {
                    size: object.size,
                    modified: object.modified,
                },
            )),
            _ => None,
        };
        return Ok(listed.filter_map(pack).collect());
    }
    let ids: Vec<PackId> = packs.iter().map(|pack| pack.id).collect();
    let asked = stream::iter(ids).map(async |id| Ok::<_, SyncError>((id, place.head(&ObjectKey::Pack(id)).await?)));
    let found: Vec<(PackId, Option<Meta>)> = asked.buffer_unordered(ASKING).try_collect().await?;
    Ok(found.into_iter().filter_map(|(id, meta)| Some((id, meta?))).collect())
}
