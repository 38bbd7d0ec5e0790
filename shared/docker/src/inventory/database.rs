//! PostgreSQL servers in containers.

use std::path::Path;

use holdfast_config::Secret;
use holdfast_format::Class;

use crate::facts::{Container, MountKind, State};
use crate::labels::{ContainerPolicy, LabelFault, PostgresPolicy, Understood};

/// The data directory of the official images if `PGDATA` is not set. Newer images use a folder below it.
const DATA_DIR: &str = "/var/lib/postgresql/data";

/// A container that is marked as PostgreSQL.
#[derive(Clone, Debug)]
pub struct Database {
    pub id: String,
    pub container: String,
    pub state: State,
    /// The role to connect as.
    pub user: String,
    /// The database to connect to first.
    pub database: String,
    /// The port in the container.
    pub port: u16,
    /// The place of the role's password.
    pub password: Password,
    /// The networks by which the server can be reached. If the container's label names one, only that one.
    pub networks: Vec<DatabaseNetwork>,
    /// True if the container uses the host's network, so that the server is reached at the host itself.
    pub on_host_network: bool,
    /// The lowest class that a backup of the databases may get.
    pub class: Option<Class>,
    /// The volume that holds the server's data directory.
    pub data_volume: Option<String>,
    /// The reasons why the databases cannot be dumped; empty if they can.
    pub faults: Vec<DatabaseFault>,
}

/// The place of a database's password.
#[derive(Clone, Debug)]
pub enum Password {
    /// A file in the container, at this path.
    File(String),
    /// A variable in the container's environment, with this value.
    Value(Secret),
    /// No password is set: the server trusts its clients, or the role has none.
    Absent,
}

/// A network by which a database can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseNetwork {
    pub name: String,
    pub id: String,
    /// The container's address in the network. Set only while the container runs.
    pub address: Option<String>,
}

/// A reason why the databases of a container cannot be dumped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseFault {
    /// A label of the container cannot be understood.
    #[error("{0}")]
    Label(LabelFault),
    /// `PGPORT` in the container's environment is not a port. The message does not show the value, which may be a
    /// secret.
    #[error("PGPORT in its environment is no port")]
    Port,
    /// The container is not in the network that its label names.
    #[error("label holdfast.postgres.network: it is not in network {0}")]
    Network(String),
    /// The container is in no network.
    #[error("it is in no network")]
    NoNetwork,
}

/// Describes the container's databases, if it is marked as PostgreSQL.
pub(super) fn of(container: &Container, understood: &Understood<ContainerPolicy>) -> Option<Database> {
    let of_postgres = understood.faults.iter().filter(|fault| fault.is_of_postgres());
    let mut faults: Vec<_> = of_postgres.cloned().map(DatabaseFault::Label).collect();
    let nothing = PostgresPolicy::default();
    let policy = match &understood.policy.postgres {
        Some(policy) => policy,
        // The mark is there, but its value cannot be understood.
        None if faults.iter().any(is_of_the_mark) => &nothing,
        None => return None,
    };
    let variable = |name: &str| container.environment.get(name).map(|value| value.expose().to_owned());
    let user = policy.user.clone().or_else(|| variable("POSTGRES_USER"));
    let user = user.unwrap_or_else(|| "postgres".to_owned());
    let database = policy.database.clone().or_else(|| variable("POSTGRES_DB"));
    let port = policy.port.or_else(|| {
        let port = variable("PGPORT")?.parse().ok().filter(|port| *port > 0);
        if port.is_none() {
            faults.push(DatabaseFault::Port);
        }
        port
    });
    let networks = networks(container, policy, &mut faults);
    Some(Database {
        id: container.id.clone(),
        container: container.name.clone(),
        state: container.state,
        database: database.unwrap_or_else(|| user.clone()),
        user,
        port: port.unwrap_or(5432),
        password: password(container, policy),
        networks,
        on_host_network: container.network_mode == "host",
        class: understood.policy.volume.class,
        data_volume: data_volume(container),
        faults,
    })
}

fn is_of_the_mark(fault: &DatabaseFault) -> bool {
    matches!(fault, DatabaseFault::Label(fault) if fault.label == "holdfast.postgres")
}

fn password(container: &Container, policy: &PostgresPolicy) -> Password {
    let file = || {
        container
            .environment
            .get("POSTGRES_PASSWORD_FILE")
            .map(|file| file.expose().to_owned())
    };
    match policy.password_file.clone().or_else(file) {
        Some(file) => Password::File(file),
        None => match container.environment.get("POSTGRES_PASSWORD") {
            Some(password) => Password::Value(password.clone()),
            None => Password::Absent,
        },
    }
}

fn networks(container: &Container, policy: &PostgresPolicy, faults: &mut Vec<DatabaseFault>) -> Vec<DatabaseNetwork> {
    let wanted = |name: &str| policy.network.as_deref().is_none_or(|network| network == name);
    // "none" is a network by name alone, and "host" has no addresses.
    let real = container
        .networks
        .iter()
        .filter(|(name, _)| *name != "none" && *name != "host");
    let found: Vec<_> = real
        .filter(|(name, _)| wanted(name))
        .map(|(name, endpoint)| DatabaseNetwork {
            name: name.clone(),
            id: endpoint.network_id.clone(),
            address: endpoint.address.clone(),
        })
        .collect();
    if found.is_empty() && container.network_mode != "host" {
        faults.push(match &policy.network {
            Some(network) => DatabaseFault::Network(network.clone()),
            None => DatabaseFault::NoNetwork,
        });
    }
    found
}

/// Returns the volume whose mount holds the data directory. If mounts are nested, the innermost counts.
fn data_volume(container: &Container) -> Option<String> {
    let directory = container
        .environment
        .get("PGDATA")
        .map_or(DATA_DIR, |path| path.expose());
    let holding = container
        .mounts
        .iter()
        .filter(|mount| Path::new(directory).starts_with(&mount.destination));
    let innermost = holding.max_by_key(|mount| Path::new(&mount.destination).components().count())?;
    innermost.volume.clone().filter(|_| innermost.kind == MountKind::Volume)
}
