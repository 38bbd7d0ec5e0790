//! The answers to the dumper's questions about databases in containers: their names, and the way to reach one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_docker::engine::Engine;
use holdfast_docker::facts::Container;
use holdfast_docker::inventory::{self, Database};
use holdfast_docker::network::Joined;
use holdfast_docker::reach::{self, ReachProblem, Route};
use holdfast_events::{DockerAsk, DockerQuestion};
use holdfast_fault::chain;
use holdfast_service::{Context, JobError};
use holdfast_session::{DatabaseContainer, DockerReply, Reachable, answer_docker};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Docker, Seen};

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
                let asker = (from, ticket);
                let reachable = self.reach(database, &seen.containers, asker, networks).await?;
                Ok(DockerReply::Reachable(reachable))
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
        if let Some(fault) = reach::fault(database) {
            return Err(fault.of(&database.container).into());
        }
        let engine = self.engine().await?;
        let host = self.address(engine, database, containers, asker, networks).await?;
        let password = reach::password(engine, database).await;
        let password = password.map_err(|problem| problem.of(&database.container))?;
        Ok(Reachable {
            host,
            port: database.port,
            user: database.user.clone(),
            database: database.database.clone(),
            password: password.map(|password| password.expose().to_owned()),
            class: database.class,
        })
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
        let route = Route::find(database, dumper).map_err(|problem| problem.of(&database.container))?;
        let (Some(dumper), Some(network)) = (dumper, route.network) else {
            return Ok(route.address);
        };
        let key = (network.id.clone(), dumper.id.clone());
        let mut all = networks.lock().await;
        let until = Instant::now() + Duration::from_secs(DockerAsk::HOLDS_SECONDS);
        match all.get_mut(&key) {
            Some(way) => drop(way.needed.insert(ticket, until)),
            None if !route.is_shared => {
                let joined = Joined::join(engine, &self.state_dir, &network.id, &dumper.id).await;
                let joined = joined.map_err(|error| ReachProblem::from(error).of(&database.container))?;
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
        fault: reach::fault(database).map(|fault| fault.to_string()),
    };
    wanted.map(told).collect()
}
