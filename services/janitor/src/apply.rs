//! Carries out a plan.

use std::collections::{BTreeSet, VecDeque};

use holdfast_fault::{Retry, Retryable};
use holdfast_format::{Condemned, ObjectKey, PackId, PlaceName, RunId, Tombstone};
use holdfast_repository::{Repository, RepositoryError};
use holdfast_storage::StorageError;
use holdfast_telemetry::failpoint;
use jiff::Timestamp;

use crate::view::Sight;
use crate::{Action, RetentionPlan};

/// A failure to carry out a plan to its end. The steps that were done stay done; the rest has to be planned again.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A step failed.
    #[error("retention at place {place} stopped: cannot {step}")]
    Step {
        place: PlaceName,
        /// A description of the step.
        step: String,
        /// The error of the step.
        #[source]
        source: Box<RepositoryError>,
    },
    /// An object was written after the plan was made.
    #[error("retention at place {place} stopped: {object} was written since it was planned")]
    Changed {
        place: PlaceName,
        /// The key of the object.
        object: ObjectKey,
    },
    /// The caller asked to stop.
    #[error("retention at place {place} was told to stop")]
    Stopped { place: PlaceName },
    /// A failpoint fired, which happens in tests only.
    #[error(transparent)]
    Injected(#[from] failpoint::Injected),
}

impl Retryable for ApplyError {
    /// A worker that is told to stop has not failed. The next worker, or the reconciler after the next start, goes on
    /// where it stopped.
    fn retry(&self) -> Retry {
        match self {
            Self::Step { source, .. } => source.retry(),
            Self::Changed { .. } => Retry::Later,
            Self::Stopped { .. } => Retry::Superseded,
            Self::Injected(source) => source.retry(),
        }
    }
}

impl ApplyError {
    fn is_no_space(&self) -> bool {
        matches!(self, Self::Step { source, .. } if source.is_no_space())
    }
}

/// Carries out the steps of a plan that was made from `sight`, one after the other, until one fails or `stop` returns
/// true. Returns the steps that were done, also if it did not get to the end. Every deletion is logged.
///
/// Two things are checked once more, since other processes may do them meanwhile: a run that is held now is not given
/// up, and a pack that was stored again is not deleted.
///
/// On a full disk not even a tombstone can be written. Then the packs that the plan deletes go first, since they do not
/// depend on any earlier step.
pub(crate) async fn apply(
    repository: &Repository,
    sight: &Sight,
    plan: &RetentionPlan,
    stop: &(dyn Fn() -> bool + Send + Sync),
) -> (Vec<Action>, Result<(), ApplyError>) {
    let mut applying = Applying {
        repository,
        sight,
        at: plan.at,
        doomed: plan.delete_packs.iter().map(|(pack, _)| *pack).collect(),
        left: plan.steps().into(),
        done: Vec::new(),
        stop,
    };
    let result = applying.run().await;
    (applying.done, result)
}

struct Applying<'a> {
    repository: &'a Repository,
    sight: &'a Sight,
    at: Timestamp,
    /// The packs that the plan deletes.
    doomed: BTreeSet<PackId>,
    left: VecDeque<Action>,
    done: Vec<Action>,
    stop: &'a (dyn Fn() -> bool + Send + Sync),
}

impl Applying<'_> {
    fn place(&self) -> PlaceName {
        self.repository.place().name().clone()
    }

    async fn run(&mut self) -> Result<(), ApplyError> {
        while let Some(step) = self.left.pop_front() {
            match self.step(&step).await {
                Err(full) if full.is_no_space() => {
                    if !self.make_space().await? {
                        return Err(full);
                    }
                    self.step(&step).await?;
                }
                other => other?,
            }
            self.finished(step).await?;
        }
        Ok(())
    }

    /// Deletes the packs of the plan before their turn. Returns true if there were any.
    async fn make_space(&mut self) -> Result<bool, ApplyError> {
        let of_pack = |step: &Action| match step {
            Action::Delete { object, .. } => match &object.key {
                ObjectKey::Pack(pack) | ObjectKey::Condemned(pack) => self.doomed.contains(pack),
                _ => false,
            },
            _ => false,
        };
        let (packs, rest): (VecDeque<_>, VecDeque<_>) = self.left.drain(..).partition(of_pack);
        self.left = rest;
        let any = !packs.is_empty();
        for step in packs {
            self.step(&step).await?;
            self.finished(step).await?;
        }
        Ok(any)
    }

    async fn step(&self, step: &Action) -> Result<(), ApplyError> {
        if (self.stop)() {
            return Err(ApplyError::Stopped { place: self.place() });
        }
        let done = match step {
            Action::WriteTombstone { run, rule, artefacts } => {
                self.check_not_held_since(*run).await?;
                let run = *run;
                let rule = rule.clone();
                let artefacts = artefacts.clone();
                let tombstone = Tombstone {
                    run,
                    at: self.at,
                    rule,
                    artefacts,
                };
                self.repository
                    .write(&ObjectKey::Tombstone(run), &tombstone)
                    .await
                    .map(drop)
            }
            Action::Condemn(pack) => {
                let pack = *pack;
                let at = self.at;
                self.repository
                    .write(&ObjectKey::Condemned(pack), &Condemned { pack, at })
                    .await
                    .map(drop)
            }
            Action::Delete { object, .. } => match &object.key {
                ObjectKey::Pack(pack) => return self.delete_pack(*pack, step).await,
                key => self.repository.place().delete(key).await.map_err(Into::into),
            },
        };
        done.map_err(|source| self.failed(step, source))
    }

    fn failed(&self, step: &Action, source: RepositoryError) -> ApplyError {
        ApplyError::Step {
            place: self.place(),
            step: step.to_string(),
            source: Box::new(source),
        }
    }

    async fn check_not_held_since(&self, run: RunId) -> Result<(), ApplyError> {
        let object = ObjectKey::Hold(run);
        let now = self.head(&object).await?;
        if now.is_some() && now != self.sight.holds.get(&run).copied() {
            return Err(ApplyError::Changed {
                place: self.place(),
                object,
            });
        }
        Ok(())
    }

    /// Deletes a pack, and then its mark of damage: the next pack with this id is another one.
    async fn delete_pack(&self, pack: PackId, step: &Action) -> Result<(), ApplyError> {
        let place = self.repository.place();
        let object = ObjectKey::Pack(pack);
        let planned = self.sight.view.packs.get(&pack).map(|pack| pack.modified);
        let now = self.head(&object).await?;
        if now.is_some() && now != planned {
            return Err(ApplyError::Changed {
                place: self.place(),
                object,
            });
        }
        let deleted = async {
            place.delete(&object).await?;
            if self.sight.marks.contains_key(&pack) {
                place.delete(&ObjectKey::Damaged(pack)).await?;
            }
            Ok(())
        };
        deleted
            .await
            .map_err(|error: StorageError| self.failed(step, error.into()))
    }

    /// Returns the time at which an object was written, or `None` if there is no such object.
    async fn head(&self, object: &ObjectKey) -> Result<Option<Timestamp>, ApplyError> {
        let meta = self.repository.place().head(object).await;
        let meta = meta.map_err(|error| ApplyError::Step {
            place: self.place(),
            step: format!("look for {object}"),
            source: Box::new(error.into()),
        })?;
        Ok(meta.map(|meta| meta.modified))
    }

    async fn finished(&mut self, step: Action) -> Result<(), ApplyError> {
        let place = self.repository.place().name();
        let is_tombstone = matches!(step, Action::WriteTombstone { .. });
        match &step {
            Action::WriteTombstone { run, rule, .. } => tracing::info!(%place, %run, rule, "run given up"),
            Action::Condemn(pack) => tracing::info!(%place, %pack, "pack condemned"),
            Action::Delete { object, rule } => tracing::info!(%place, object = %object.key, rule, "object deleted"),
        }
        self.done.push(step);
        if is_tombstone {
            failpoint::hit_async("janitor.after_tombstone").await?;
        }
        failpoint::hit_async("janitor.mid_apply").await?;
        Ok(())
    }
}
