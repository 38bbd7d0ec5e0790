//! Finds a repository's runs, their records, and the newest artefacts.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream;
use holdfast_format::{
    Artefact, ArtefactId, ArtefactKind, CleanReport, Digest, Expected, Failure, Finished, Listed, ObjectKey, PackId,
    PlaceName, PointCopied, Record, RestorePoint, RunId, SourceName, Tombstone, Verdict, Verification,
};
use holdfast_storage::Prefix;

use crate::cache::Cache;
use crate::{Repository, RepositoryError, SealedManifest};

/// Sealed bytes of the records that are kept in memory.
const RECORDS: u64 = 64 << 20;

/// Number of runs that are asked at the same time whether they have an artefact.
const LOOKING: usize = 16;

/// A record, and the SHA-256 of the roster that it was judged by.
type Kept = (Digest, Arc<dyn Any + Send + Sync>);

/// Looks records up and keeps them in memory. Cheap to clone.
#[derive(Clone)]
pub struct Catalogue {
    repository: Repository,
    records: Arc<Cache<ObjectKey, Kept>>,
}

/// The latest artefact of a source and name, good or not.
#[derive(Clone, Debug, Default)]
pub struct Latest {
    /// The newest manifest that can be read, if there is one.
    pub manifest: Option<Arc<SealedManifest>>,
    /// Number of newer manifests that cannot be read.
    pub unreadable: u64,
}

impl Latest {
    /// Returns the number of the next artefact in the sequence; the first is 1. Artefacts that cannot be read count.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.manifest
            .as_ref()
            .map_or(0, |latest| latest.manifest.captured.sequence)
            + self.unreadable
            + 1
    }
}

impl Catalogue {
    /// Makes the catalogue of a repository.
    #[must_use]
    pub fn new(repository: Repository) -> Self {
        Self {
            repository,
            records: Arc::new(Cache::new(RECORDS)),
        }
    }

    /// Returns the repository that is looked at.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    async fn record<T>(&self, key: &ObjectKey) -> Result<Option<Arc<T>>, RepositoryError>
    where
        T: Record + Send + Sync + 'static,
    {
        let roster = self.repository.authority(false).await?.sha256;
        if let Some((judged_by, known)) = self.records.get(key)
            && judged_by == roster
            && let Ok(known) = known.downcast::<T>()
        {
            return Ok(Some(known));
        }
        let Some((record, sealed)) = self.repository.read_sealed::<T>(key).await? else {
            return Ok(None);
        };
        let record = Arc::new(record);
        let kept: Arc<dyn Any + Send + Sync> = record.clone();
        self.records.insert(key.clone(), (roster, kept), sealed.len() as u64);
        Ok(Some(record))
    }

    /// Returns the runs of which the place holds anything, newest first.
    ///
    /// # Errors
    /// [`RepositoryError`] if the place does not tell.
    pub async fn runs(&self) -> Result<Vec<RunId>, RepositoryError> {
        let mut runs = self.repository.place().runs().await?;
        runs.reverse();
        Ok(runs)
    }

    /// Returns the expectations of a run; `None` if they were not written.
    ///
    /// # Errors
    /// As [`Repository::read`].
    pub async fn expected(&self, run: RunId) -> Result<Option<Arc<Expected>>, RepositoryError> {
        self.record(&ObjectKey::Expected(run)).await
    }

    /// Returns the word of a syncer that a target has the restore point of a run; `None` if there is none.
    ///
    /// # Errors
    /// As [`Repository::read`].
    pub async fn copied(&self, run: RunId, place: &PlaceName) -> Result<Option<Arc<PointCopied>>, RepositoryError> {
        self.record(&ObjectKey::Copied(run, place.clone())).await
    }

    /// Returns the artefacts that a source is to bring; `None` if it was not listed yet.
    ///
    /// # Errors
    /// As [`Repository::read`].
    pub async fn listed(&self, run: RunId, source: &SourceName) -> Result<Option<Arc<Listed>>, RepositoryError> {
        self.record(&ObjectKey::Listed(run, source.clone())).await
    }

    /// Returns a run's restore point; `None` until it is written.
    ///
    /// # Errors
    /// As [`Repository::read`].
    pub async fn restore_point(&self, run: RunId) -> Result<Option<Arc<RestorePoint>>, RepositoryError> {
        self.record(&ObjectKey::RestorePoint(run)).await
    }

    /// Returns the end of a run. `None` until all its steps are done, and always at targets.
    ///
    /// # Errors
    /// As [`Repository::read`].
    pub async fn finished(&self, run: RunId) -> Result<Option<Arc<Finished>>, RepositoryError> {
        self.record(&ObjectKey::Finished(run)).await
    }

    /// Returns the packs that a verification marked as damaged or missing: none of them may be referenced again. Goes
    /// by the marks' keys alone, so a mark that cannot be read counts too.
    ///
    /// # Errors
    /// [`RepositoryError`] if the place does not tell.
    pub async fn damaged_packs(&self) -> Result<BTreeSet<PackId>, RepositoryError> {
        let listing = self.repository.place().list(Prefix::Damaged).await?;
        let pack = |object: holdfast_storage::Listed| match object.key {
            ObjectKey::Damaged(pack) => Some(pack),
            _ => None,
        };
        Ok(listing.objects.into_iter().filter_map(pack).collect())
    }

    /// Returns the retention report of one place after a run; `None` until there is one.
    ///
    /// # Errors
    /// As [`Repository::read`].
    pub async fn cleaned(&self, run: RunId, place: &PlaceName) -> Result<Option<Arc<CleanReport>>, RepositoryError> {
        self.record(&ObjectKey::Cleaned(run, place.clone())).await
    }

    /// Returns the failures of a run, in the order of the keys.
    ///
    /// # Errors
    /// As [`Repository::read`].
    pub async fn failures(&self, run: RunId) -> Result<Vec<Arc<Failure>>, RepositoryError> {
        let is_failure = |key: &ObjectKey| {
            matches!(
                key,
                ObjectKey::SourceFailed(..) | ObjectKey::ArtefactFailed(..) | ObjectKey::PlaceFailed(..)
            )
        };
        self.records_below(Prefix::Run(run), is_failure).await
    }

    /// Returns the verifications of an artefact, those of other places included, oldest first.
    ///
    /// # Errors
    /// As [`Repository::read`].
    pub async fn verifications(&self, artefact: ArtefactId) -> Result<Vec<Arc<Verification>>, RepositoryError> {
        let is_verification = |key: &ObjectKey| matches!(key, ObjectKey::Verified(..));
        let found = self.records_below(Prefix::Artefact(artefact), is_verification).await?;
        Ok(in_time(found))
    }

    /// Returns the verifications of an artefact like [`Catalogue::verifications`], but for those that cannot be read, and the
    /// keys of these: they say nothing of the artefact, and hide nothing that others say.
    ///
    /// # Errors
    /// [`RepositoryError`] if the place does not tell.
    pub async fn readable_verifications(
        &self,
        artefact: ArtefactId,
    ) -> Result<(Vec<Arc<Verification>>, Vec<ObjectKey>), RepositoryError> {
        let mut found = Vec::new();
        let mut unreadable = Vec::new();
        for object in self.repository.place().list(Prefix::Artefact(artefact)).await?.objects {
            if !matches!(object.key, ObjectKey::Verified(..)) {
                continue;
            }
            match self.record::<Verification>(&object.key).await {
                Ok(record) => found.extend(record),
                Err(error) if error.is_unreadable() => {
                    let reason = holdfast_fault::chain(&error);
                    tracing::warn!(%artefact, %reason, "a verification's record cannot be read: it says nothing of the artefact");
                    unreadable.push(object.key);
                }
                Err(error) => return Err(error),
            }
        }
        Ok((in_time(found), unreadable))
    }

    async fn records_below<T>(
        &self,
        prefix: Prefix,
        is_wanted: impl Fn(&ObjectKey) -> bool,
    ) -> Result<Vec<Arc<T>>, RepositoryError>
    where
        T: Record + Send + Sync + 'static,
    {
        let mut records = Vec::new();
        for object in self.repository.place().list(prefix).await?.objects {
            if is_wanted(&object.key) {
                // A record that was deleted since it was listed reads as none.
                records.extend(self.record(&object.key).await?);
            }
        }
        Ok(records)
    }

    /// Returns the newest artefact of this source, kind and name that another capture may build on: from a run before
    /// `before` (or any), with a manifest, not known to be bad at this place, and not given up by retention.
    ///
    /// An artefact whose manifest is damaged is passed over with a warning: an older one will do.
    ///
    /// # Errors
    /// [`RepositoryError`] if the place or the keys fail.
    pub async fn newest(
        &self,
        source: &SourceName,
        kind: ArtefactKind,
        name: &str,
        before: Option<RunId>,
    ) -> Result<Option<Arc<SealedManifest>>, RepositoryError> {
        let runs = self.runs_before(before).await?;
        let mut from = 0;
        while let Some((at, run, id)) = self.next_with_manifest(&runs, from, source, kind, name).await? {
            from = at + 1;
            let Some(found) = self.readable(run, id, source, kind, name).await? else {
                continue;
            };
            if self.may_build_on(run, id).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Tells if retention gave a run up, which a tombstone says. A tombstone that cannot be read is an error.
    ///
    /// # Errors
    /// As [`Repository::read`].
    pub async fn is_given_up(&self, run: RunId) -> Result<bool, RepositoryError> {
        // Read anew each time: a tombstone comes at any time, and goes when nothing is left of its run.
        let tombstone = self.repository.read::<Tombstone>(&ObjectKey::Tombstone(run)).await?;
        Ok(tombstone.is_some())
    }

    async fn may_build_on(&self, run: RunId, id: ArtefactId) -> Result<bool, RepositoryError> {
        let judged = async { Ok(!self.is_given_up(run).await? && !self.is_known_bad(id).await?) };
        match judged.await {
            Err(error) if RepositoryError::is_unreadable(&error) => {
                tracing::warn!(artefact = %id, %error, "a verification or tombstone cannot be read; its artefact is passed over");
                Ok(false)
            }
            judged => judged,
        }
    }

    /// Returns the latest artefact of this source, kind and name from a run before `before` (or any), good or bad. The
    /// next artefact follows it in sequence.
    ///
    /// # Errors
    /// [`RepositoryError`] if the place or the keys fail.
    pub async fn latest(
        &self,
        source: &SourceName,
        kind: ArtefactKind,
        name: &str,
        before: Option<RunId>,
    ) -> Result<Latest, RepositoryError> {
        let runs = self.runs_before(before).await?;
        let mut latest = Latest::default();
        let mut from = 0;
        while let Some((at, run, id)) = self.next_with_manifest(&runs, from, source, kind, name).await? {
            from = at + 1;
            latest.manifest = self.readable(run, id, source, kind, name).await?;
            if latest.manifest.is_some() {
                break;
            }
            latest.unreadable += 1;
        }
        Ok(latest)
    }

    async fn runs_before(&self, before: Option<RunId>) -> Result<Vec<RunId>, RepositoryError> {
        let mut runs = self.runs().await?;
        runs.retain(|run| before.is_none_or(|before| *run < before));
        Ok(runs)
    }

    /// Finds the first of `runs`, from index `from`, that has a manifest of this artefact. The artefact's id follows
    /// from run, source, kind and name, so no record of a run need be read to find it, and a run that never finished is
    /// found too.
    async fn next_with_manifest(
        &self,
        runs: &[RunId],
        from: usize,
        source: &SourceName,
        kind: ArtefactKind,
        name: &str,
    ) -> Result<Option<(usize, RunId, ArtefactId)>, RepositoryError> {
        let candidates: Vec<(usize, RunId, ArtefactId)> = (from..)
            .zip(runs.iter().skip(from))
            .map(|(at, run)| (at, *run, Artefact::new(*run, source, kind, name).id))
            .collect();
        let place = self.repository.place();
        let mut looks = stream::iter(candidates)
            .map(|candidate| async move { (candidate, place.head(&ObjectKey::Manifest(candidate.2)).await) })
            .buffered(LOOKING);
        while let Some((candidate, there)) = looks.next().await {
            if there?.is_some() {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    /// Returns the manifest, if it can be read and is what its id says.
    async fn readable(
        &self,
        run: RunId,
        id: ArtefactId,
        source: &SourceName,
        kind: ArtefactKind,
        name: &str,
    ) -> Result<Option<Arc<SealedManifest>>, RepositoryError> {
        match self.repository.manifest(id).await {
            Ok(Some(found)) => {
                let m = &found.manifest;
                let fits = m.captured.run == run
                    && m.captured.source == *source
                    && m.captured.kind == kind
                    && m.captured.name == name;
                if !fits {
                    tracing::warn!(artefact = %id, "a manifest does not say what its id says; it is passed over");
                }
                Ok(Some(found).filter(|_| fits))
            }
            Ok(None) => Ok(None),
            Err(error) if error.is_damage() => {
                tracing::warn!(artefact = %id, %error, "a manifest cannot be used; it is passed over");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Tells whether a verification at this place found the artefact bad, and no later one that went as deep found it
    /// good.
    ///
    /// # Errors
    /// [`RepositoryError`] if its verifications cannot be read.
    pub async fn is_known_bad(&self, artefact: ArtefactId) -> Result<bool, RepositoryError> {
        Ok(self.calls_bad(&self.verifications(artefact).await?))
    }

    /// Tells whether one of these verifications, sorted by time, found their artefact bad at this place, and no later one that
    /// went as deep found it good. One that came to no judgement says neither.
    #[must_use]
    pub fn calls_bad(&self, all: &[Arc<Verification>]) -> bool {
        let here = self.repository.place().name();
        let mut deepest_good = None;
        for verification in all.iter().rev().filter(|v| v.place == *here) {
            match verification.verdict {
                Verdict::Good => deepest_good = deepest_good.max(Some(verification.level)),
                Verdict::Damaged if deepest_good < Some(verification.level) => return true,
                Verdict::Damaged | Verdict::Unknown => {}
            }
        }
        false
    }
}

/// Sorts verifications by the time at which they ended.
fn in_time(mut all: Vec<Arc<Verification>>) -> Vec<Arc<Verification>> {
    all.sort_by_key(|verification| (verification.finished, verification.id));
    all
}
