//! The stacks, volumes and databases of an engine, and what is backed up of them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use glob::Pattern;
use holdfast_format::Class;

use crate::facts::{Container, MountKind, State, Volume};
use crate::labels::{self, ContainerPolicy, HELPER, LabelFault, LabelWarning, Mode, PROJECT, Understood, VolumePolicy};

mod database;

pub use database::{Database, DatabaseFault, DatabaseNetwork, Password};

const SERVICE: &str = "com.docker.compose.service";
const DEPENDS_ON: &str = "com.docker.compose.depends_on";
const WORKING_DIR: &str = "com.docker.compose.project.working_dir";
const CONFIG_FILES: &str = "com.docker.compose.project.config_files";
const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// The volumes that the configuration wants (`[docker] volumes`).
#[derive(Clone, Debug)]
pub struct Selection {
    /// Patterns; a volume must match at least one.
    pub include: Vec<Pattern>,
    /// Patterns; a volume must match none.
    pub exclude: Vec<Pattern>,
    /// True if volumes without a name of their own are wanted, too.
    pub anonymous: bool,
    /// True if databases are dumped, so that the volumes with their data directories can be left out.
    pub databases: bool,
}

impl Selection {
    /// Reads the selection from a configuration. Loading the configuration has checked the patterns.
    #[must_use]
    pub fn of(section: &holdfast_config::Docker) -> Self {
        let patterns = |texts: &[String]| texts.iter().filter_map(|text| Pattern::new(text).ok()).collect();
        Self {
            include: patterns(&section.volumes.include),
            exclude: patterns(&section.volumes.exclude),
            anonymous: section.volumes.anonymous,
            databases: section.databases,
        }
    }
}

/// The stacks, volumes and databases of an engine that matter for backups.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Compose projects, by name.
    pub stacks: BTreeMap<String, Stack>,
    /// All volumes, by name: those that are taken and those that are not.
    pub volumes: BTreeMap<String, VolumeEntry>,
    /// The containers that are marked as PostgreSQL, by name.
    pub databases: BTreeMap<String, Database>,
    /// Labels without effect, each with the container or volume that carries it.
    pub warnings: Vec<Warning>,
}

/// A Compose project, with its containers and files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// The folder that the stack was brought up in.
    pub working_dir: Option<String>,
    /// The stack's Compose files, as paths on the host that it was brought up from.
    pub config_files: BTreeSet<String>,
    /// The names of the containers of each service, by service.
    pub services: BTreeMap<String, BTreeSet<String>>,
    /// The names of the stack's volumes.
    pub volumes: BTreeSet<String>,
}

/// A volume and the decision about it.
#[derive(Clone, Debug)]
pub struct VolumeEntry {
    /// The volume as the engine describes it.
    pub volume: Volume,
    /// The stack that the volume belongs to.
    pub stack: Option<String>,
    /// The containers that have the volume mounted, one entry for each mount.
    pub users: Vec<User>,
    /// The treatment of the containers that write to the volume, while it is read.
    pub mode: Mode,
    /// The group of volumes that this one is read with.
    pub group: Option<String>,
    /// The lowest class that a backup of the volume may get.
    pub class: Option<Class>,
    /// The decision whether the volume is backed up.
    pub decision: Decision,
}

impl VolumeEntry {
    /// True if the volume is backed up.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        matches!(self.decision, Decision::Take)
    }
}

/// A container that has a volume mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: String,
    pub name: String,
    /// The path of the mount in the container.
    pub destination: String,
    /// True if the container may write to the volume.
    pub writable: bool,
    pub state: State,
}

/// The decision about a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The volume is backed up.
    Take,
    /// The volume is left out.
    Leave(Reason),
    /// The volume should be backed up, and cannot be. Nothing is guessed, so its backup fails.
    Fail(Vec<VolumeFault>),
}

/// A reason to leave a volume out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The volume matches no pattern of `docker.volumes.include`.
    NotIncluded,
    /// The volume matches this pattern of `docker.volumes.exclude`.
    Excluded(String),
    /// The label `holdfast.enable=false` stands on the volume (`None`), or on this container, which is the only one
    /// that uses the volume.
    Disabled(Option<String>),
    /// The volume has no name of its own.
    Anonymous,
    /// The volume holds the data directory of this container, whose databases are dumped.
    Database(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotIncluded => f.write_str("it matches nothing in docker.volumes.include"),
            Self::Excluded(pattern) => write!(f, "it matches {pattern:?} in docker.volumes.exclude"),
            Self::Disabled(None) => f.write_str("its label says holdfast.enable=false"),
            Self::Disabled(Some(container)) => {
                write!(
                    f,
                    "container {container}, which alone uses it, says holdfast.enable=false"
                )
            }
            Self::Anonymous => f.write_str("it is anonymous (docker.volumes.anonymous would take it)"),
            Self::Database(container) => write!(
                f,
                "it holds the data directory of container {container}, whose databases are dumped (label the volume holdfast.enable=true to take it, too)"
            ),
        }
    }
}

/// A reason why a volume cannot be backed up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeFault {
    /// A label of the volume cannot be understood.
    #[error("{0}")]
    Label(LabelFault),
    /// A label of a container that uses the volume cannot be understood.
    #[error("container {container}, which uses it: {fault}")]
    UserLabel {
        container: String,
        /// The label and its rule.
        fault: LabelFault,
    },
    /// Several containers use the volume, and their labels name different groups.
    #[error("its containers name different groups: {}", .0.join(", "))]
    Groups(Vec<String>),
}

/// A label without effect, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The container or volume with the label: `container shop-db-1`, `volume shop_files`.
    pub on: String,
    /// The label, and why it has no effect.
    pub warning: LabelWarning,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.on, self.warning)
    }
}

/// Returns the stack that a container belongs to.
#[must_use]
pub fn project(container: &Container) -> Option<&str> {
    container.label(PROJECT)
}

/// Returns the ids of the containers that the container `id` needs to work, itself among them: those of its stack that
/// share a network with it. The other containers of its stack count as workloads that Holdfast backs up. If a container
/// has no network of its own, its needs cannot be told, so all of the stack counts.
#[must_use]
pub fn needed_by(id: &str, containers: &[Container]) -> BTreeSet<String> {
    let Some(one) = containers.iter().find(|container| container.id == id) else {
        return [id.to_owned()].into();
    };
    let near = |other: &Container| {
        let alone = one.networks.is_empty() || other.networks.is_empty();
        alone || other.networks.keys().any(|network| one.networks.contains_key(network))
    };
    let needed = |other: &&Container| {
        other.id == id || (project(one).is_some() && project(other) == project(one) && near(other))
    };
    containers.iter().filter(needed).map(|other| other.id.clone()).collect()
}

/// Returns the service of its stack that a container runs.
#[must_use]
pub fn service(container: &Container) -> Option<&str> {
    container.label(SERVICE)
}

/// Returns the services of its stack that a container depends on, read from the label of Compose
/// (`db:service_healthy:true,cache:...`).
#[must_use]
pub fn depends_on(container: &Container) -> Vec<String> {
    let text = container.label(DEPENDS_ON).unwrap_or_default();
    let names = text
        .split(',')
        .map(|part| part.split(':').next().unwrap_or_default().trim());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Takes stock of an engine. Holdfast's own helper containers do not count.
#[must_use]
pub fn take(containers: &[Container], volumes: &[Volume], selection: &Selection) -> Inventory {
    let containers: Vec<&Container> = containers.iter().filter(|one| one.label(HELPER).is_none()).collect();
    let policies: Vec<_> = containers.iter().map(|one| labels::of_container(&one.labels)).collect();
    let mut inventory = Inventory::default();
    for (container, understood) in containers.iter().zip(&policies) {
        inventory.note(&format!("container {}", container.name), &understood.warnings);
        if let Some(database) = database::of(container, understood) {
            inventory.databases.insert(container.name.clone(), database);
        }
    }
    for volume in volumes {
        let users: Vec<_> = containers
            .iter()
            .copied()
            .zip(&policies)
            .filter(|(one, _)| uses(one, &volume.name))
            .collect();
        let own = labels::of_volume(&volume.labels);
        inventory.note(&format!("volume {}", volume.name), &own.warnings);
        let entry = judge(volume, &own, &users, selection, &inventory.databases);
        inventory.volumes.insert(volume.name.clone(), entry);
    }
    inventory.stacks = stacks(&containers, &inventory.volumes);
    inventory
}

impl Inventory {
    fn note(&mut self, on: &str, warnings: &[LabelWarning]) {
        let warning = |warning: &LabelWarning| Warning {
            on: on.to_owned(),
            warning: warning.clone(),
        };
        self.warnings.extend(warnings.iter().map(warning));
    }
}

type Users<'a> = [(&'a Container, &'a Understood<ContainerPolicy>)];

fn uses(container: &Container, volume: &str) -> bool {
    container.mounts.iter().any(|mount| is_of(mount, volume))
}

fn is_of(mount: &crate::facts::Mount, volume: &str) -> bool {
    mount.kind == MountKind::Volume && mount.volume.as_deref() == Some(volume)
}

fn judge(
    volume: &Volume,
    own: &Understood<VolumePolicy>,
    users: &Users<'_>,
    selection: &Selection,
    databases: &BTreeMap<String, Database>,
) -> VolumeEntry {
    let said =
        |get: fn(&VolumePolicy) -> Option<Mode>| users.iter().filter_map(move |(_, one)| get(&one.policy.volume));
    let mode = own
        .policy
        .mode
        .or_else(|| said(|policy| policy.mode).max())
        .unwrap_or_default();
    let classes = users.iter().filter_map(|(_, one)| one.policy.volume.class);
    let mut groups: Vec<String> = users
        .iter()
        .filter_map(|(_, one)| one.policy.volume.group.clone())
        .collect();
    groups.sort();
    groups.dedup();
    let decision = match leave(volume, own, users, selection, databases) {
        Some(reason) => Decision::Leave(reason),
        None => {
            let faults = faults(own, users, &groups);
            if faults.is_empty() {
                Decision::Take
            } else {
                Decision::Fail(faults)
            }
        }
    };
    VolumeEntry {
        volume: volume.clone(),
        stack: stack_of(volume, users),
        users: users
            .iter()
            .flat_map(|(container, _)| places(container, &volume.name))
            .collect(),
        mode,
        group: own.policy.group.clone().or_else(|| groups.into_iter().next()),
        class: own.policy.class.or_else(|| classes.max()),
        decision,
    }
}

fn places<'a>(container: &'a Container, volume: &'a str) -> impl Iterator<Item = User> + 'a {
    let mounts = container.mounts.iter().filter(move |mount| is_of(mount, volume));
    mounts.map(|mount| User {
        id: container.id.clone(),
        name: container.name.clone(),
        destination: mount.destination.clone(),
        writable: mount.writable,
        state: container.state,
    })
}

/// Returns the stack of a volume. Compose labels the volumes that it makes; another volume belongs to the only stack
/// that uses it.
fn stack_of(volume: &Volume, users: &Users<'_>) -> Option<String> {
    if let Some(stack) = volume.labels.get(PROJECT) {
        return Some(stack.clone());
    }
    let stacks: BTreeSet<_> = users.iter().map(|(container, _)| project(container)).collect();
    let mut stacks = stacks.into_iter();
    match (stacks.next(), stacks.next()) {
        (Some(Some(stack)), None) => Some(stack.to_owned()),
        _ => None,
    }
}

fn leave(
    volume: &Volume,
    own: &Understood<VolumePolicy>,
    users: &Users<'_>,
    selection: &Selection,
    databases: &BTreeMap<String, Database>,
) -> Option<Reason> {
    if !selection.include.iter().any(|pattern| pattern.matches(&volume.name)) {
        return Some(Reason::NotIncluded);
    }
    if let Some(pattern) = selection.exclude.iter().find(|pattern| pattern.matches(&volume.name)) {
        return Some(Reason::Excluded(pattern.as_str().to_owned()));
    }
    match (own.policy.enable, users) {
        (Some(false), _) => return Some(Reason::Disabled(None)),
        (None, [(only, understood)]) if understood.policy.volume.enable == Some(false) => {
            return Some(Reason::Disabled(Some(only.name.clone())));
        }
        _ => {}
    }
    if is_anonymous(volume) && !selection.anonymous {
        return Some(Reason::Anonymous);
    }
    if own.policy.enable == Some(true) {
        return None;
    }
    let dumped = databases
        .values()
        .filter(|database| selection.databases && database.faults.is_empty());
    let mut holders = dumped.filter(|database| database.data_volume.as_deref() == Some(&volume.name));
    holders
        .next()
        .map(|database| Reason::Database(database.container.clone()))
}

fn is_anonymous(volume: &Volume) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    volume.labels.contains_key(ANONYMOUS) || (volume.name.len() == 64 && volume.name.bytes().all(hex))
}

fn faults(own: &Understood<VolumePolicy>, users: &Users<'_>, groups: &[String]) -> Vec<VolumeFault> {
    let mut faults: Vec<_> = own.faults.iter().cloned().map(VolumeFault::Label).collect();
    for (container, understood) in users {
        let of_volumes = understood.faults.iter().filter(|fault| !fault.is_of_postgres());
        faults.extend(of_volumes.map(|fault| VolumeFault::UserLabel {
            container: container.name.clone(),
            fault: fault.clone(),
        }));
    }
    if own.policy.group.is_none() && groups.len() > 1 {
        faults.push(VolumeFault::Groups(groups.to_vec()));
    }
    faults
}

fn stacks(containers: &[&Container], volumes: &BTreeMap<String, VolumeEntry>) -> BTreeMap<String, Stack> {
    let mut stacks: BTreeMap<String, Stack> = BTreeMap::new();
    for container in containers {
        let Some(name) = project(container) else { continue };
        let stack = stacks.entry(name.to_owned()).or_default();
        if stack.working_dir.is_none() {
            stack.working_dir = container.label(WORKING_DIR).map(str::to_owned);
        }
        let files = container.label(CONFIG_FILES).unwrap_or_default().split(',');
        stack
            .config_files
            .extend(files.filter(|file| !file.is_empty()).map(str::to_owned));
        let service = service(container).unwrap_or_default().to_owned();
        stack
            .services
            .entry(service)
            .or_default()
            .insert(container.name.clone());
    }
    for entry in volumes.values() {
        if let Some(stack) = &entry.stack {
            stacks
                .entry(stack.clone())
                .or_default()
                .volumes
                .insert(entry.volume.name.clone());
        }
    }
    stacks
}

#[cfg(test)]
mod tests;
