//! The answers to the dumper's questions about databases in containers: their names, and the way to reach one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holdfast_docker::engine::{Engine, Exec, Outcome};
use holdfast_docker::facts::{Container, State};
use holdfast_docker::inventory::{self, Database, DatabaseNetwork, Password, Selection};
use holdfast_docker::network::Joined;
use holdfast_events::{DockerAsk, DockerQuestion};
use holdfast_fault::chain;
use holdfast_service::{Context, JobError};
use holdfast_session::{DatabaseContainer, DockerReply, Reachable, answer_docker, own_container};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Docker, Seen};

/// The time limit for reading a password in its container.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// The largest password file, in bytes.
const PASSWORD_MAX: usize = 64 * 1024;

/// The time between two looks for joined networks that no dumper needs any more.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// Networks that were joined for dumpers, by network and dumper.
type JoinedNetworks = Arc<Mutex<BTreeMap<(String, String), JoinedNetwork>>>;

struct JoinedNetwork {
    joined: Joined,
    /// The tickets of the questions that need the network, each with the time until which it is held.
    needed: BTreeMap<u128, Instant>,
}

impl Docker {
    /// Answers the dumper until the process drains; then leaves the networks that were joined for it.
    pub(super) async fn answer(self: &Arc<Self>, cx: &Context) {
        if !self.section.databases {
            return;
        }
        let networks = JoinedNetworks::default();
        let docker = self.clone();
        let for_answers = networks.clone();
        let answering = answer_docker(cx, &cx.site, move |question, from| {
            let docker = docker.clone();
            let networks = for_answers.clone();
            async move { docker.told(question, from, &networks).await }
        });
        let leaving = async {
            let mut every = tokio::time::interval(LOOK_EVERY);
            loop {
                tokio::select! {
                    () = cx.drain.cancelled() => return,
                    _ = every.tick() => leave(&networks, |_, until| *until > Instant::now()).await,
                }
            }
        };
        tokio::join!(answering, leaving);
        leave(&networks, |_, _| false).await;
    }

    async fn told(
        &self,
        question: DockerQuestion,
        from: Option<String>,
        networks: &JoinedNetworks,
    ) -> Result<DockerReply, JobError> {
        match question {
            DockerQuestion::Databases { stack } => {
                let seen = self.look().await?;
                Ok(DockerReply::Databases(databases(&seen, stack.as_deref())))
            }
            DockerQuestion::Reach { container, ticket } => {
                let seen = self.look().await?;
                let database = seen.inventory.databases.get(&container);
                let database = database.ok_or_else(|| {
                    JobError::Fail(format!(
                        "container {container} is not there any more, or not marked as PostgreSQL any more"
                    ))
                })?;
                let reachable = self.reach(database, &seen.containers, (from, ticket), networks).await;
                Ok(DockerReply::Reachable(reachable.map_err(|error| {
                    error.during(&format!("reach the databases of container {container}"))
                })?))
            }
            DockerQuestion::Release { ticket } => {
                let now = Instant::now();
                leave(networks, |held, until| *held != ticket && *until > now).await;
                Ok(DockerReply::Released)
            }
        }
    }

    async fn reach(
        &self,
        database: &Database,
        containers: &[Container],
        asker: (Option<String>, u128),
        networks: &JoinedNetworks,
    ) -> Result<Reachable, JobError> {
        if let Some(fault) = fault(database) {
            return Err(JobError::Fail(fault));
        }
        let engine = self.engine().await?;
        let host = self.address(engine, database, containers, asker, networks).await?;
        reachable(engine, database, host).await
    }

    /// The address at which whoever asks reaches it: in a network that both are in, else in one of its own, which whoever
    /// asks is put into for as long as it asks. The host itself reaches every bridge.
    async fn address(
        &self,
        engine: &Engine,
        database: &Database,
        containers: &[Container],
        (from, ticket): (Option<String>, u128),
        networks: &JoinedNetworks,
    ) -> Result<String, JobError> {
        // A worker may run in a container of another engine, which can be told nothing.
        let dumper = from.and_then(|id| containers.iter().find(|one| one.id == id));
        let route = route(database, dumper)?;
        let (Some(dumper), Some(network)) = (dumper, route.network) else {
            return Ok(route.address);
        };
        let key = (network.id.clone(), dumper.id.clone());
        let mut all = networks.lock().await;
        let until = Instant::now() + Duration::from_secs(DockerAsk::HOLDS_SECONDS);
        match all.get_mut(&key) {
            Some(way) => drop(way.needed.insert(ticket, until)),
            None if !route.shared => {
                let joined = Joined::join(engine, &self.state_dir, &network.id, &dumper.id).await;
                let joined = joined?;
                tracing::info!(
                    network = network.name,
                    dumper = dumper.name,
                    "the container of a dumper joined a network for the time of a dump"
                );
                let needed = BTreeMap::from([(ticket, until)]);
                all.insert(key, JoinedNetwork { joined, needed });
            }
            None => {}
        }
        Ok(route.address)
    }
}

/// The address of a container's databases, and the network that leads there.
struct Route<'a> {
    address: String,
    /// The network that whoever asks has to be in; none for the host, which reaches every bridge.
    network: Option<&'a DatabaseNetwork>,
    /// True if the asker is in the network already.
    shared: bool,
}

/// By a network that both are in, else by one of the database's own. `asker` is the container that asks, of the same engine.
fn route<'a>(database: &'a Database, asker: Option<&Container>) -> Result<Route<'a>, JobError> {
    let on_host = asker.is_none_or(|asker| asker.network_mode == "host");
    if database.on_host_network {
        return match asker {
            Some(asker) if !on_host => Err(JobError::Fail(format!(
                "it is in the host's network, which the container {} is not: name it in a [[postgres]] of its own",
                asker.name
            ))),
            _ => Ok(Route {
                address: "127.0.0.1".to_owned(),
                network: None,
                shared: true,
            }),
        };
    }
    let is_shared = |network: &DatabaseNetwork| {
        let mut own = asker.into_iter().flat_map(|asker| asker.networks.values());
        own.any(|endpoint| endpoint.network_id == network.id)
    };
    let addressed = || {
        let networks = database.networks.iter();
        networks.filter_map(|network| Some((network, network.address.clone().filter(|address| !address.is_empty())?)))
    };
    let shared = addressed().find(|(network, _)| is_shared(network));
    let (network, address) = shared
        .or_else(|| addressed().next())
        .ok_or_else(|| JobError::Retry("it has no address yet".to_owned()))?;
    Ok(Route {
        address,
        network: (!on_host).then_some(network),
        shared: is_shared(network),
    })
}

/// Finds out how this process, on the engine's host or in a container of it, reaches the databases of a container that
/// is marked as PostgreSQL. If a network is returned, this process's own container was put into it, and the caller must
/// leave it again.
///
/// # Errors
/// With the reason, if there is no such container, it does not run, or its password cannot be read.
pub async fn reach_from_here(
    engine: &Engine,
    state_dir: &Path,
    container: &str,
) -> Result<(Reachable, Option<Joined>), JobError> {
    let containers = engine.containers().await?;
    let nothing = Selection {
        include: Vec::new(),
        exclude: Vec::new(),
        anonymous: false,
        databases: true,
    };
    let inventory = inventory::take(&containers, &[], &nothing);
    let database = inventory.databases.get(container).ok_or_else(|| {
        JobError::Fail(format!(
            "there is no container {container} with the label holdfast.postgres=true: bring it up first"
        ))
    })?;
    if let Some(fault) = fault(database) {
        return Err(JobError::Fail(format!("container {container}: {fault}")));
    }
    let own = own_container().and_then(|id| containers.iter().find(|one| one.id == id));
    let Route {
        address,
        network,
        shared,
    } = route(database, own)?;
    let found = reachable(engine, database, address).await?;
    let joined = match (own, network) {
        (Some(own), Some(network)) if !shared => {
            let joined = Joined::join(engine, state_dir, &network.id, &own.id).await;
            Some(joined?)
        }
        _ => None,
    };
    Ok((found, joined))
}

async fn reachable(engine: &Engine, database: &Database, host: String) -> Result<Reachable, JobError> {
    let password = match &database.password {
        Password::Absent => None,
        Password::Value(password) => Some(password.expose().to_owned()),
        Password::File(path) => Some(read_password(engine, &database.id, path).await?),
    };
    Ok(Reachable {
        host,
        port: database.port,
        user: database.user.clone(),
        database: database.database.clone(),
        password,
        class: database.class,
    })
}

/// Leaves the networks that nobody needs any more.
async fn leave(networks: &JoinedNetworks, is_needed: impl Fn(&u128, &Instant) -> bool) {
    let mut all = networks.lock().await;
    for way in all.values_mut() {
        way.needed.retain(|ticket, until| is_needed(ticket, until));
    }
    let idle: Vec<_> = all
        .iter()
        .filter(|(_, way)| way.needed.is_empty())
        .map(|(key, _)| key.clone())
        .collect();
    for key in idle {
        let Some(way) = all.remove(&key) else { continue };
        if let Err(error) = way.joined.leave().await {
            tracing::warn!("{}; the next recovery tries again", chain(&error));
        }
    }
}

fn databases(seen: &Seen, stack: Option<&str>) -> Vec<DatabaseContainer> {
    let of_stack = |name: &str| {
        let mut containers = seen.containers.iter();
        stack.is_none() || containers.any(|one| one.name == name && inventory::project(one) == stack)
    };
    let wanted = seen.inventory.databases.values().filter(|one| of_stack(&one.container));
    let told = |database: &Database| DatabaseContainer {
        container: database.container.clone(),
        fault: fault(database),
    };
    wanted.map(told).collect()
}

/// Returns the reason why nothing of the server can be dumped, if there is one.
fn fault(database: &Database) -> Option<String> {
    if !database.faults.is_empty() {
        let faults: Vec<String> = database.faults.iter().map(ToString::to_string).collect();
        return Some(faults.join("; "));
    }
    match database.state {
        State::Running => None,
        State::Paused => Some("it is paused".to_owned()),
        State::Restarting => Some("it ends and is started again and again".to_owned()),
        State::Stopped => Some("it does not run".to_owned()),
    }
}

async fn read_password(engine: &Engine, container: &str, path: &str) -> Result<String, JobError> {
    let exec = Exec {
        command: &["cat", "--", path],
        user: None,
        timeout: READ_WITHIN,
        keep: PASSWORD_MAX,
    };
    let read = engine.exec(container, &exec).await?;
    match read.outcome {
        Outcome::Ended(0) if !read.cut => {}
        Outcome::Ended(code) => {
            return Err(JobError::Fail(format!(
                "its password file {path} cannot be read in it (exit code {code})"
            )));
        }
        Outcome::TimedOut => {
            return Err(JobError::Retry(format!(
                "its password file {path} was not read in time"
            )));
        }
    }
    let text = String::from_utf8(read.stdout)
        .map_err(|_| JobError::Fail(format!("its password file {path} does not hold text")))?;
    // As its image reads it: without the line ends behind it.
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
