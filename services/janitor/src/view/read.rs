//! Reads the records that retention needs.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};
use holdfast_fault::chain;
use holdfast_format::{
    ArtefactId, Class, Condemned, Damaged, Expected, Failure, FailureSubject, Hold, Listed, Manifest, ObjectKey,
    PackId, PlaceName, Record, RestorePoint, RunId, Tombstone, Verification,
};
use holdfast_repository::{Repository, RepositoryError};
use jiff::Timestamp;

use super::{Inventory, in_time};
use crate::plan::Subject;

/// The number of records that are read at the same time.
const READING: usize = 16;

/// The part of a manifest that retention needs.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) run: RunId,
    pub(crate) subject: Subject,
    pub(crate) class: Class,
    pub(crate) packs: Vec<PackId>,
}

/// Reads records, and lists those that cannot be read.
///
/// Reads the objects at the place, past the cache of [`Repository::manifest`]: a manifest that was good an hour ago and
/// is damaged now must not count as good.
pub(crate) struct Reader<'a> {
    repository: &'a Repository,
    pub(crate) unreadable: Vec<(ObjectKey, String)>,
    pub(crate) newest: Option<Timestamp>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(repository: &'a Repository) -> Self {
        Self {
            repository,
            unreadable: Vec::new(),
            newest: None,
        }
    }

    /// The place that it reads at.
    pub(crate) fn place(&self) -> &PlaceName {
        self.repository.place().name()
    }

    /// Reads the records of these keys. `summary` returns the time of a record, and the part of it to keep.
    pub(crate) async fn all<T, U>(
        &mut self,
        keys: Vec<ObjectKey>,
        summary: impl Fn(T) -> (Timestamp, U),
    ) -> Result<Vec<(ObjectKey, U)>, RepositoryError>
    where
        T: Record + Send + 'static,
    {
        let repository = self.repository;
        let mut reads = stream::iter(keys)
            .map(|key| async move {
                let read = repository.read::<T>(&key).await;
                (key, read)
            })
            .buffer_unordered(READING);
        let mut records = Vec::new();
        while let Some((key, read)) = reads.next().await {
            match read {
                Ok(Some(record)) => {
                    let (at, kept) = summary(record);
                    self.newest = self.newest.max(Some(at));
                    records.push((key, kept));
                }
                // Only a hold may disappear, when somebody releases it; other objects are deleted by janitors alone.
                Ok(None) if matches!(key, ObjectKey::Hold(_)) => {}
                Ok(None) => self
                    .unreadable
                    .push((key, "it was listed, and is not there".to_owned())),
                Err(error) if is_unreadable(&error) => self.unreadable.push((key, chain(&error).to_string())),
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    /// Reads the manifests of these artefacts, and keeps the parts that retention needs.
    pub(crate) async fn manifests(
        &mut self,
        keys: Vec<ObjectKey>,
    ) -> Result<BTreeMap<ArtefactId, Sealed>, RepositoryError> {
        let read = self.all(keys, |m: Manifest| {
            let sealed = Sealed {
                run: m.captured.run,
                subject: Subject {
                    source: m.captured.source,
                    kind: m.captured.kind,
                    name: m.captured.name,
                },
                class: m.captured.class,
                packs: m.packs.iter().map(|pack| pack.id).collect(),
            };
            (m.captured.finished, (m.captured.artefact, sealed))
        });
        Ok(read.await?.into_iter().map(|(_, found)| found).collect())
    }

    /// Reads the holds of these runs, by run.
    pub(crate) async fn holds(&mut self, runs: Vec<RunId>) -> Result<BTreeMap<RunId, Hold>, RepositoryError> {
        let keys = runs.into_iter().map(ObjectKey::Hold).collect();
        let read = self.all(keys, |h: Hold| (h.at, (h.run, h))).await?;
        Ok(read.into_iter().map(|(_, found)| found).collect())
    }

    /// Reads the tombstones of these runs, by run.
    pub(crate) async fn tombstones(
        &mut self,
        runs: impl Iterator<Item = RunId>,
    ) -> Result<BTreeMap<RunId, Tombstone>, RepositoryError> {
        let keys = runs.map(ObjectKey::Tombstone).collect();
        Ok(by_key(self.all(keys, |t: Tombstone| (t.at, (t.run, t))).await?))
    }

    /// Reads verifications, by artefact and sorted by time.
    pub(crate) async fn verifications(
        &mut self,
        keys: Vec<ObjectKey>,
    ) -> Result<BTreeMap<ArtefactId, Vec<Verification>>, RepositoryError> {
        let read = self.all(keys, |v: Verification| (v.finished, v)).await?;
        let mut of: BTreeMap<ArtefactId, Vec<Verification>> = BTreeMap::new();
        for (_, verification) in read {
            of.entry(verification.artefact).or_default().push(verification);
        }
        Ok(of.into_iter().map(|(id, all)| (id, in_time(all))).collect())
    }
}

/// True if the object, or this host's key for it, is at fault. Then reading it again does not help, and deletion must
/// wait, since nobody knows what the object says. Other errors concern the connection to the place.
fn is_unreadable(error: &RepositoryError) -> bool {
    error.is_damage() || matches!(error, RepositoryError::NoKey { .. })
}

/// Every record that retention needs.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) manifests: BTreeMap<ArtefactId, Sealed>,
    pub(super) expected: BTreeMap<RunId, Expected>,
    pub(super) points: BTreeMap<RunId, RestorePoint>,
    pub(super) listed: Vec<Listed>,
    pub(super) holds: BTreeMap<RunId, Hold>,
    pub(super) tombstones: BTreeMap<RunId, Tombstone>,
    pub(super) condemned: BTreeMap<PackId, Timestamp>,
    pub(super) verifications: BTreeMap<ArtefactId, Vec<Verification>>,
    /// Times at which packs were found damaged.
    pub(super) damaged: BTreeMap<PackId, Timestamp>,
    /// Times at which artefacts failed.
    pub(super) failed: BTreeMap<ArtefactId, Timestamp>,
    pub(super) unreadable: Vec<(ObjectKey, String)>,
    pub(super) newest: Option<Timestamp>,
}

impl Records {
    pub(super) async fn of(repository: &Repository, inventory: &Inventory) -> Result<Self, RepositoryError> {
        let mut reader = Reader::new(repository);
        let manifests = inventory.of_artefacts(|key| matches!(key, ObjectKey::Manifest(_)));
        let verified = inventory.of_artefacts(|key| matches!(key, ObjectKey::Verified(..)));
        let expected = inventory.of_runs(|key| matches!(key, ObjectKey::Expected(_)));
        let points = inventory.of_runs(|key| matches!(key, ObjectKey::RestorePoint(_)));
        let listed = inventory.of_runs(|key| matches!(key, ObjectKey::Listed(..)));
        let condemned = inventory.condemned.iter().map(|pack| ObjectKey::Condemned(*pack));
        let damaged = inventory.damaged.keys().map(|pack| ObjectKey::Damaged(*pack));
        let failed = inventory.of_runs(|key| matches!(key, ObjectKey::ArtefactFailed(_, _, None)));
        let listed = reader.all(listed, |l: Listed| (l.at, l)).await?;
        let failed = reader.all(failed, |f: Failure| (f.at, (f.subject, f.at))).await?;
        let artefact = |(_, (subject, at)): (ObjectKey, (FailureSubject, Timestamp))| match subject {
            FailureSubject::Artefact(id) => Some((id, at)),
            _ => None,
        };
        Ok(Self {
            manifests: reader.manifests(manifests).await?,
            expected: by_key(reader.all(expected, |e: Expected| (e.created, (e.run, e))).await?),
            points: by_key(reader.all(points, |p: RestorePoint| (p.recorded, (p.run, p))).await?),
            listed: listed.into_iter().map(|(_, listed)| listed).collect(),
            holds: reader.holds(inventory.holds.keys().copied().collect()).await?,
            tombstones: reader.tombstones(inventory.tombstones.iter().copied()).await?,
            condemned: by_key(
                reader
                    .all(condemned.collect(), |c: Condemned| (c.at, (c.pack, c.at)))
                    .await?,
            ),
            verifications: reader.verifications(verified).await?,
            damaged: by_key(
                reader
                    .all(damaged.collect(), |d: Damaged| (d.at, (d.pack, d.at)))
                    .await?,
            ),
            failed: failed.into_iter().filter_map(artefact).collect(),
            unreadable: reader.unreadable,
            newest: reader.newest,
        })
    }
}

fn by_key<K: Ord, V>(read: Vec<(ObjectKey, (K, V))>) -> BTreeMap<K, V> {
    read.into_iter().map(|(_, found)| found).collect()
}
