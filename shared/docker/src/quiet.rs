//! Which containers are made quiet while volumes are read, and in which order. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::facts::Container;
use crate::labels::{self, Hooks, LabelFault, Mode};

mod order;

/// A volume that is read in the quiet time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Its name.
    pub volume: String,
    /// What happens to the containers that write to it.
    pub mode: Mode,
}

/// What is done to a container: an element of a [`Plan`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The container's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `Live` if only its hooks run.
    pub action: Mode,
    /// How long it may take to stop; `None`: what the engine takes.
    pub stop_timeout: Option<Duration>,
    /// When it was last started, in the engine's words.
    pub started_at: String,
    /// Its hooks.
    pub hooks: Hooks,
}

/// What is done to containers, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of stopping: those that depend on others come first.
    pub steps: Vec<Step>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Whether nothing is done to any container.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// A container cannot be made quiet. Nothing is guessed: the volumes that need it fail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// One of its labels cannot be understood.
    #[error("container {container}: {fault}")]
    Label {
        /// The container's name.
        container: String,
        /// The label.
        fault: LabelFault,
    },
    /// The engine would remove it.
    #[error("container {container} is removed when it stops (--rm), so it cannot be stopped and started again")]
    RemovedWhenStopped {
        /// The container's name.
        container: String,
    },
    /// It is one of those that must not be touched.
    #[error("container {container} is Holdfast's own, so it cannot be stopped or paused while it works")]
    Own {
        /// The container's name.
        container: String,
    },
}

/// Plans the quiet time of `volumes`. `own` are the ids of containers that must not be touched: those that Holdfast
/// itself runs in and needs for its work.
///
/// # Errors
/// If a container that has to be made quiet cannot be; with all such.
pub fn plan(containers: &[Container], volumes: &[Covered], own: &BTreeSet<String>) -> Result<Plan, Vec<Refusal>> {
    let understood: Vec<_> = containers.iter().map(|one| labels::of_container(&one.labels)).collect();
    let mut warnings = Vec::new();
    let named: Vec<&[String]> = understood.iter().map(|one| one.policy.depends_on.as_slice()).collect();
    let graph = order::Graph::new(containers, &named, &mut warnings);

    let mut actions: BTreeMap<usize, Mode> = BTreeMap::new();
    for (at, container) in containers.iter().enumerate() {
        let Some(mode) = strictest(container, volumes) else {
            continue;
        };
        if container.runs() {
            actions.insert(at, mode);
        } else if container.state == crate::facts::State::Paused && mode != Mode::Live {
            warnings.push(format!(
                "container {} is paused already, and is left so",
                container.name
            ));
        }
    }
    let stopped: Vec<usize> = actions
        .iter()
        .filter(|(_, mode)| **mode == Mode::Stop)
        .map(|(at, _)| *at)
        .collect();
    for dependent in graph.running_dependents(&stopped, containers) {
        actions.insert(dependent, Mode::Stop);
    }
    actions.retain(|at, mode| *mode != Mode::Live || !understood[*at].policy.hooks.is_empty());

    let mut refusals = Vec::new();
    for (at, mode) in &actions {
        let container = &containers[*at];
        let faults = understood[*at].faults.iter().filter(|fault| !fault.is_of_postgres());
        refusals.extend(faults.map(|fault| Refusal::Label {
            container: container.name.clone(),
            fault: fault.clone(),
        }));
        if *mode != Mode::Live && own.contains(&container.id) {
            refusals.push(Refusal::Own {
                container: container.name.clone(),
            });
        } else if *mode == Mode::Stop && container.auto_remove {
            refusals.push(Refusal::RemovedWhenStopped {
                container: container.name.clone(),
            });
        }
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }

    let order = graph.order(actions.keys().copied(), containers);
    let step = |at: usize| {
        let (container, policy) = (&containers[at], &understood[at].policy);
        Step {
            id: container.id.clone(),
            name: container.name.clone(),
            action: actions.get(&at).copied().unwrap_or_default(),
            stop_timeout: policy.stop_timeout.or(container.stop_timeout),
            started_at: container.started_at.clone(),
            hooks: policy.hooks.clone(),
        }
    };
    let steps = order.into_iter().map(step).collect();
    Ok(Plan { steps, warnings })
}

/// The strictest mode of the volumes that the container may write to; `None` if there is no such volume.
fn strictest(container: &Container, volumes: &[Covered]) -> Option<Mode> {
    let written = container.mounts.iter().filter(|mount| mount.writable);
    let names: BTreeSet<&str> = written.filter_map(|mount| mount.volume.as_deref()).collect();
    let covered = volumes.iter().filter(|covered| names.contains(covered.volume.as_str()));
    covered.map(|covered| covered.mode).max()
}

#[cfg(test)]
mod tests;
