//! A Docker engine: whether it answers, what would be taken and what not.

use holdfast_config::Docker;
use holdfast_docker::engine::{Engine, EngineError, Kind, Limits};
use holdfast_docker::inventory::{self, Decision, Inventory, Reason, Selection};

use super::Check;
use crate::human;

const NAME: &str = "docker";

/// Looks at the engine and what it has. Where services run apart (`apart`), the engine may well be the snapshotter's alone.
pub(crate) async fn all(section: &Docker, apart: bool) -> Vec<Check> {
    let engine = match Engine::connect(&section.host, Limits::default()).await {
        Ok(engine) => engine,
        Err(error) if apart && error.kind() == Kind::Missing => {
            let found = format!("{} is not here: what it has was not looked at", section.host);
            return vec![Check::warn(
                NAME,
                found,
                "a run's notes and failures tell; or ask doctor where the socket is",
            )];
        }
        Err(error) => return vec![unreachable(section, &error)],
    };
    match look(&engine, section).await {
        Ok((version, inventory)) => judged(&version, &inventory),
        Err(error) => vec![unreachable(section, &error)],
    }
}

async fn look(engine: &Engine, section: &Docker) -> Result<(String, Inventory), EngineError> {
    let version = engine.version().await?;
    let containers = engine.containers().await?;
    let volumes = engine.volumes().await?;
    let found = inventory::take(&containers, &volumes, &Selection::of(section));
    Ok((version.engine, found))
}

fn unreachable(section: &Docker, error: &EngineError) -> Check {
    let found = holdfast_fault::chain(error).to_string();
    let advice = "start it, let holdfast's user write to its socket, or name another one in docker.host";
    Check::fail(format!("{NAME} {}", section.host), found, advice)
}

fn judged(version: &str, inventory: &Inventory) -> Vec<Check> {
    let taken = inventory.volumes.values().filter(|entry| entry.is_taken()).count();
    let databases = inventory.databases.len();
    let mut checks = vec![Check::ok(
        NAME,
        format!(
            "engine {version}: {} of {} taken, databases in {}",
            taken,
            human::count(inventory.volumes.len() as u64, "volume"),
            human::count(databases as u64, "container")
        ),
    )];
    for (name, entry) in &inventory.volumes {
        match &entry.decision {
            Decision::Take | Decision::Leave(Reason::NotIncluded | Reason::Excluded(_) | Reason::Disabled(_)) => {}
            Decision::Leave(reason) => checks.push(Check::ok(NAME, format!("volume {name} is left out: {reason}"))),
            Decision::Fail(faults) => {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                let found = format!("volume {name} cannot be taken: {}", faults.join("; "));
                checks.push(Check::fail(
                    NAME,
                    found,
                    "mend the label; docs/docker.md has a table of all",
                ));
            }
        }
    }
    for database in inventory
        .databases
        .values()
        .filter(|database| !database.faults.is_empty())
    {
        let faults: Vec<String> = database.faults.iter().map(ToString::to_string).collect();
        let found = format!(
            "container {}: its databases cannot be dumped: {}",
            database.container,
            faults.join("; ")
        );
        checks.push(Check::fail(
            NAME,
            found,
            "mend the label; docs/docker.md has a table of all",
        ));
    }
    let warnings = inventory.warnings.iter();
    checks.extend(
        warnings.map(|warning| Check::warn(NAME, warning.to_string(), "docs/docker.md has a table of all labels")),
    );
    checks
}
