//! Plans a quiet time: which containers stop or pause while volumes are read, and in which order. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::facts::Container;
use crate::labels::{self, Hooks, LabelFault, Mode};

mod order;

/// A volume that is read in the quiet time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    pub volume: String,
    /// The treatment of the containers that write to the volume.
    pub mode: Mode,
}

/// The treatment of one container: an element of a [`QuietPlan`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietStep {
    pub id: String,
    pub name: String,
    /// The treatment; `Live` means that only the hooks run.
    pub action: Mode,
    /// The time that the container may take to stop; `None` leaves it to the engine.
    pub stop_timeout: Option<Duration>,
    /// Time of the container's last start, as the engine writes it. Tells if somebody restarted the container
    /// meanwhile.
    pub started_at: String,
    /// The commands to run before and after. Never written to disk: who could change the file could have them run.
    #[serde(skip)]
    pub hooks: Hooks,
}

/// The treatment of all containers of a quiet time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuietPlan {
    /// The steps in the order of stopping: a container comes before those that it depends on.
    pub steps: Vec<QuietStep>,
    /// Remarks for the user, as sentences.
    pub warnings: Vec<String>,
}

impl QuietPlan {
    /// True if no container is treated in any way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// A reason why a container cannot be made quiet. Nothing is guessed, so the volumes that need it fail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A label of the container cannot be understood.
    #[error("container {container}: {fault}")]
    Label {
        container: String,
        /// The label and its rule.
        fault: LabelFault,
    },
    /// The engine removes the container when it stops, so it cannot be started again.
    #[error("container {container} is removed when it stops (--rm), so it cannot be stopped and started again")]
    RemovedWhenStopped { container: String },
    /// The container is one of those that must not be touched.
    #[error("container {container} is Holdfast's own, so it cannot be stopped or paused while it works")]
    Own { container: String },
}

/// Plans the quiet time in which `volumes` are read. `own` holds the ids of containers that must not be touched: those
/// that Holdfast itself runs in, and those that it needs for its work.
///
/// # Errors
/// The refusals of all containers that have to be made quiet and cannot be.
pub fn plan(containers: &[Container], volumes: &[Covered], own: &BTreeSet<String>) -> Result<QuietPlan, Vec<Refusal>> {
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
        let container = &containers[at];
        let policy = &understood[at].policy;
        QuietStep {
            id: container.id.clone(),
            name: container.name.clone(),
            action: actions.get(&at).copied().unwrap_or_default(),
            stop_timeout: policy.stop_timeout.or(container.stop_timeout),
            started_at: container.started_at.clone(),
            hooks: policy.hooks.clone(),
        }
    };
    let steps = order.into_iter().map(step).collect();
    Ok(QuietPlan { steps, warnings })
}

/// Returns the strictest mode of the volumes that the container may write to, or `None` if there is no such volume.
fn strictest(container: &Container, volumes: &[Covered]) -> Option<Mode> {
    let written = container.mounts.iter().filter(|mount| mount.writable);
    let names: BTreeSet<&str> = written.filter_map(|mount| mount.volume.as_deref()).collect();
    let covered = volumes.iter().filter(|covered| names.contains(covered.volume.as_str()));
    covered.map(|covered| covered.mode).max()
}

#[cfg(test)]
mod tests;
