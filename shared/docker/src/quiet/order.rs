//! Dependencies between containers, and the order that follows from them.

use std::collections::BTreeSet;

use crate::facts::Container;
use crate::inventory::{depends_on, project, service};

/// The dependencies between containers, which are given by index. An edge leads from a container to one that it depends
/// on.
pub(super) struct Graph {
    /// For each container, those that it depends on directly.
    edges: Vec<BTreeSet<usize>>,
    /// For each container, all that it depends on, directly or through others. Contains the container itself only if it
    /// is in a cycle.
    reach: Vec<BTreeSet<usize>>,
}

impl Graph {
    /// Reads the dependencies of containers: those that Compose wrote down, those of `named` (the names in each
    /// container's own label, by index), and those of shared namespaces. Adds a warning for each name that means
    /// nothing.
    pub(super) fn new(containers: &[Container], named: &[&[String]], warnings: &mut Vec<String>) -> Self {
        let mut edges = vec![BTreeSet::new(); containers.len()];
        for (at, container) in containers.iter().enumerate() {
            let edges = &mut edges[at];
            for name in depends_on(container) {
                edges.extend(of_service(containers, container, &name));
            }
            for name in named.get(at).copied().unwrap_or_default() {
                let by_name = containers.iter().position(|other| other.name == *name);
                let found: Vec<_> = match by_name {
                    Some(found) => vec![found],
                    None => of_service(containers, container, name).collect(),
                };
                if found.is_empty() {
                    warnings.push(format!(
                        "container {} depends on {name} (holdfast.depends-on), which is no container and no service of its stack",
                        container.name
                    ));
                }
                edges.extend(found);
            }
            for mode in [&container.network_mode, &container.ipc_mode, &container.pid_mode] {
                if let Some(target) = mode.strip_prefix("container:") {
                    edges.extend(
                        containers
                            .iter()
                            .position(|other| other.id == target || other.name == target),
                    );
                }
            }
            edges.remove(&at);
        }
        let reach = (0..containers.len()).map(|at| reach(at, &edges)).collect();
        Self { edges, reach }
    }

    /// Returns the running containers that depend on one of `stopped`, directly or through other running containers,
    /// without `stopped` themselves.
    pub(super) fn running_dependents(&self, stopped: &[usize], containers: &[Container]) -> BTreeSet<usize> {
        let mut dependents = BTreeSet::new();
        let mut left = stopped.to_vec();
        while let Some(target) = left.pop() {
            let on_target = |at: &usize| containers[*at].runs() && self.edges[*at].contains(&target);
            let found = (0..containers.len()).filter(on_target);
            left.extend(
                found
                    .filter(|at| !stopped.contains(at) && dependents.insert(*at))
                    .collect::<Vec<_>>(),
            );
        }
        dependents
    }

    /// Sorts `members` into the order of stopping: a container before those that it depends on, and members of a cycle
    /// by name.
    pub(super) fn order(&self, members: impl Iterator<Item = usize>, containers: &[Container]) -> Vec<usize> {
        let mut left: Vec<usize> = members.collect();
        left.sort_by(|a, b| {
            let key = |at: usize| (&containers[at].name, &containers[at].id);
            key(*a).cmp(&key(*b))
        });
        let mut order = Vec::with_capacity(left.len());
        while !left.is_empty() {
            // Members of one cycle depend on each other; that holds none of them back.
            let held = |at: usize| {
                left.iter()
                    .any(|other| self.reach[*other].contains(&at) && !self.reach[at].contains(other))
            };
            let next = left.iter().position(|at| !held(*at)).unwrap_or(0);
            order.push(left.remove(next));
        }
        order
    }
}

fn of_service<'a>(containers: &'a [Container], of: &'a Container, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let stack = project(of);
    let same = move |other: &Container| stack.is_some() && project(other) == stack && service(other) == Some(name);
    containers
        .iter()
        .enumerate()
        .filter(move |(_, other)| same(other))
        .map(|(at, _)| at)
}

/// Returns the indices that can be reached from `start`.
fn reach(start: usize, edges: &[BTreeSet<usize>]) -> BTreeSet<usize> {
    let mut seen = BTreeSet::new();
    let mut left = vec![start];
    while let Some(at) = left.pop() {
        left.extend(edges[at].iter().copied().filter(|next| seen.insert(*next)));
    }
    seen
}
