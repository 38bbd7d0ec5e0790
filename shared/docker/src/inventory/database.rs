//! PostgreSQL in containers.

use std::path::Path;

use holdfast_config::Secret;
use holdfast_format::Class;

use crate::facts::{Container, MountKind, State};
use crate::labels::{ContainerPolicy, LabelFault, PostgresPolicy, Understood};

/// Where the official images keep their data if `PGDATA` does not say; newer ones below a folder of it.
const DATA_DIR: &str = "/var/lib/postgresql/data";

/// A container that is marked as PostgreSQL.
#[derive(Clone, Debug)]
pub struct Database {
    /// The container's id.
    pub id: String,
    /// Its name.
    pub container: String,
    /// Whether it runs.
    pub state: State,
    /// The role.
    pub user: String,
    /// The database to connect to first.
    pub database: String,
    /// The port in the container.
    pub port: u16,
    /// Where the password is.
    pub password: Password,
    /// The networks that it can be reached by; if its label names one, that alone.
    pub networks: Vec<DatabaseNetwork>,
    /// Whether it is in the host's network, and so is reached at the host itself.
    pub on_host_network: bool,
    /// What its databases count as at least.
    pub class: Option<Class>,
    /// The volume that holds its data directory.
    pub data_volume: Option<String>,
    /// Why it cannot be dumped.
    pub faults: Vec<DatabaseFault>,
}

/// Where a database's password is.
#[derive(Clone, Debug)]
pub enum Password {
    /// In a file in the container.
    File(String),
    /// In the container's environment.
    Value(Secret),
    /// Nowhere: the server is told to trust, or the role has none.
    Absent,
}

/// A network that a database can be reached by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseNetwork {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// The container's address in it, while it runs.
    pub address: Option<String>,
}

/// Why the databases of a container cannot be dumped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseFault {
    /// One of its labels.
    #[error("{0}")]
    Label(LabelFault),
    /// Its environment names a port that is none. What it names is not shown.
    #[error("PGPORT in its environment is no port")]
    Port,
    /// It is not in the network that its label names.
    #[error("label holdfast.postgres.network: it is not in network {0}")]
    Network(String),
    /// It is in no network at all.
    #[error("it is in no network")]
    NoNetwork,
}

/// The container's databases, if it is marked to have some.
pub(super) fn of(container: &Container, understood: &Understood<ContainerPolicy>) -> Option<Database> {
    let of_postgres = understood.faults.iter().filter(|fault| fault.is_of_postgres());
    let mut faults: Vec<_> = of_postgres.cloned().map(DatabaseFault::Label).collect();
    let nothing = PostgresPolicy::default();
    let policy = match &understood.policy.postgres {
        Some(policy) => policy,
        // Marked, but in words that cannot be understood.
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

/// The volume whose mount holds the data directory: of nested mounts the innermost.
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
