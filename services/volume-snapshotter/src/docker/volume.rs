//! Capturing a volume: alone while its containers run, or with its group in a quiet time.

use std::collections::BTreeSet;

use holdfast_docker::facts::{Container, State};
use holdfast_docker::inventory::{Decision, VolumeEntry};
use holdfast_docker::quiet;
use holdfast_format::{Artefact, ArtefactKind};
use holdfast_service::{Context, JobError};
use holdfast_session::Session;
use holdfast_telemetry::failpoint;

use super::reading::covered;
use super::{Docker, Seen};

impl Docker {
    /// Captures the volume of `session`, and those of its group with it if their containers must be quiet.
    pub(super) async fn volume(&self, cx: &Context, session: Session) -> Result<(), JobError> {
        failpoint::hit_async("docker.before_look").await?;
        let seen = self.look().await?;
        let entry = wanted(&seen, &session.artefact().name)?.clone();
        let members = members(cx, &session, &entry, &seen).await?;
        if may_need_quiet(&seen.containers, &members) {
            return self.quiet_time(cx, session, members, &seen).await;
        }
        let reading = self.reading(entry, &seen).await?;
        let session = session.at_least(reading.class());
        session.capture(cx.now(), move |input| reading.read(input)).await
    }
}

/// The volumes of the run that are read together with this one, itself among them.
async fn members(
    cx: &Context,
    session: &Session,
    entry: &VolumeEntry,
    seen: &Seen,
) -> Result<Vec<(Artefact, VolumeEntry)>, JobError> {
    let source = session.source();
    let listed = cx.catalogue.listed(session.run_id(), source).await?;
    let listed = listed.ok_or_else(|| JobError::Retry(format!("the listing of {source} is not there yet")))?;
    let mut members = Vec::new();
    for one in listed.artefacts.iter().filter(|one| one.kind == ArtefactKind::Volume) {
        let own = one.id == session.artefact().id;
        let Some(other) = seen.inventory.volumes.get(&one.name) else {
            continue;
        };
        let together = entry.group.is_some() && other.group == entry.group && other.is_taken();
        if own || together {
            members.push((one.clone(), other.clone()));
        }
    }
    Ok(members)
}

/// The volume, if it is to be taken.
fn wanted<'a>(seen: &'a Seen, name: &str) -> Result<&'a VolumeEntry, JobError> {
    let entry = seen.inventory.volumes.get(name);
    let entry = entry.ok_or_else(|| JobError::Fail(format!("volume {name} was removed after it was listed")))?;
    match &entry.decision {
        Decision::Take => Ok(entry),
        Decision::Leave(reason) => Err(JobError::Fail(format!(
            "volume {name} was to be taken when it was listed, and is not any more: {reason}"
        ))),
        Decision::Fail(faults) => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Err(JobError::Fail(format!("volume {name}: {}", faults.join("; "))))
        }
    }
}

/// True if a container would be made quiet if all ran. A container that does not run now may have been stopped by
/// another quiet time: the plan that is made in this volume's own turn finds that out.
fn may_need_quiet(containers: &[Container], members: &[(Artefact, VolumeEntry)]) -> bool {
    let running = |one: &Container| Container {
        state: State::Running,
        ..one.clone()
    };
    let all: Vec<Container> = containers.iter().map(running).collect();
    let covers: Vec<_> = members.iter().map(|(_, entry)| covered(entry)).collect();
    let plan = quiet::plan(&all, &covers, &BTreeSet::new());
    plan.map_or(true, |plan| !plan.is_empty())
}
