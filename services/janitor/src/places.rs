//! The places of a configuration. Each is opened when it is first needed.

use std::collections::BTreeMap;

use holdfast_config::{Settings, Target};
use holdfast_format::PlaceName;
use holdfast_repository::Repository;
use holdfast_service::target_place;
use holdfast_telemetry::clock::SharedClock;
use tokio::sync::{Mutex, OnceCell};

use crate::CleanError;
use crate::plan::Rules;

/// The places that retention may be applied at, each with its rules.
pub struct Places {
    lanes: BTreeMap<PlaceName, Lane>,
    local: Repository,
    clock: SharedClock,
}

/// One place, with its rules and its connection.
struct Lane {
    /// The configuration of a target; `None` for the repository's own place, which is open already.
    target: Option<Target>,
    repository: OnceCell<Repository>,
    rules: Option<Rules>,
    /// Held by the caller that cleans the place.
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
    /// Makes the places of `settings`. `local` is the repository at its own place.
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

    /// Returns the names of all places.
    pub fn names(&self) -> impl Iterator<Item = &PlaceName> {
        self.lanes.keys()
    }

    /// Returns the repository at its own place.
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

    /// Returns the rules of a place, or `None` if nothing is ever deleted there.
    pub(crate) fn rules(&self, place: &PlaceName) -> Result<Option<&Rules>, CleanError> {
        Ok(self.lane(place)?.rules.as_ref())
    }

    /// Returns the repository at a place. If the place cannot be opened now, the next call tries again.
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

    /// Waits until no other task of this process cleans the place.
    pub(crate) async fn turn(&self, place: &PlaceName) -> Result<tokio::sync::MutexGuard<'_, ()>, CleanError> {
        Ok(self.lane(place)?.turn.lock().await)
    }
}
