//! The places of a configuration, each opened when it is first needed.

use std::collections::BTreeMap;

use holdfast_config::{Settings, Target};
use holdfast_format::PlaceName;
use holdfast_repository::Repository;
use holdfast_service::target_place;
use holdfast_telemetry::clock::SharedClock;
use tokio::sync::{Mutex, OnceCell};

use crate::{CleanError, Rules};

/// The places that retention may be applied at, with the rules of each.
pub struct Places {
    lanes: BTreeMap<PlaceName, Lane>,
    local: Repository,
    clock: SharedClock,
}

/// One place.
struct Lane {
    /// How to reach it; `None` for the repository's own place, which is open already.
    target: Option<Target>,
    repository: OnceCell<Repository>,
    rules: Option<Rules>,
    /// Held by whoever cleans it.
    turn: Mutex<()>,
}

impl Lane {
    fn new(settings: &Settings, place: &PlaceName, target: Option<Target>, open: Option<Repository>) -> Self {
        let retention = settings.retention(place);
        Self {
            target,
            repository: OnceCell::new_with(open),
            rules: retention.map(|retention| Rules::new(retention, &settings.janitor)),
            turn: Mutex::default(),
        }
    }
}

impl Places {
    /// The places of `settings`, `local` being the repository at its own place.
    #[must_use]
    pub fn new(local: Repository, settings: &Settings, clock: SharedClock) -> Self {
        let mut lanes = BTreeMap::new();
        for target in &settings.target {
            let lane = Lane::new(settings, &target.name, Some(target.clone()), None);
            lanes.insert(target.name.clone(), lane);
        }
        let place = PlaceName::local();
        let lane = Lane::new(settings, &place, None, Some(local.clone()));
        lanes.insert(place, lane);
        Self { lanes, local, clock }
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &PlaceName> {
        self.lanes.keys()
    }

    /// The repository at its own place.
    #[must_use]
    pub fn local(&self) -> &Repository {
        &self.local
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    pub(crate) fn is_configured(&self, place: &PlaceName) -> bool {
        self.lanes.contains_key(place)
    }

    fn lane(&self, place: &PlaceName) -> Result<&Lane, CleanError> {
        let lane = self.lanes.get(place);
        lane.ok_or_else(|| CleanError::UnknownPlace { place: place.clone() })
    }

    /// What is configured for a place; `None` if nothing is ever to be deleted there.
    pub(crate) fn rules(&self, place: &PlaceName) -> Result<Option<&Rules>, CleanError> {
        Ok(self.lane(place)?.rules.as_ref())
    }

    /// The repository at a place. One that cannot be opened now is tried again next time.
    pub(crate) async fn at(&self, place: &PlaceName) -> Result<&Repository, CleanError> {
        let lane = self.lane(place)?;
        let open = async || {
            let Some(target) = &lane.target else {
                return Ok(self.local.clone());
            };
            let opened = target_place(target).await;
            let opened = opened.map_err(|source| CleanError::Open {
                place: place.clone(),
                source: Box::new(source),
            })?;
            Ok(self.local.at(opened))
        };
        lane.repository.get_or_try_init(open).await
    }

    /// Waits until nobody else of this process cleans the place.
    pub(crate) async fn turn(&self, place: &PlaceName) -> Result<tokio::sync::MutexGuard<'_, ()>, CleanError> {
        Ok(self.lane(place)?.turn.lock().await)
    }
}
