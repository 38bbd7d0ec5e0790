//! One volume, or all volumes of a group, in one quiet time if their containers must be quiet.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use holdfast_bus::Delivery;
use holdfast_capture::{LAYOUT, Root, TreeOutcome, TreeSpec, capture_archive, capture_tree};
use holdfast_config::ReadVolumes;
use holdfast_docker::engine::{Archive, Engine};
use holdfast_docker::facts::{Container, State};
use holdfast_docker::helper::{Access, Helper};
use holdfast_docker::inventory::{Decision, User, VolumeEntry};
use holdfast_docker::perform::{BroughtBack, QuietTime};
use holdfast_docker::quiet::{self, Covered};
use holdfast_events::{Job, Work};
use holdfast_fault::{Retry, chain};
use holdfast_format::{Artefact, ArtefactKind, VolumeInfo, VolumeUser};
use holdfast_service::{Context, JobError};
use holdfast_session::{Found, Input, Precopy, Session, is_in_memory};
use holdfast_telemetry::failpoint;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::io::SyncIoBridge;

use super::gate::{Closed, Gate, Pass, Quieted};
use super::{Docker, Seen, log, own};
use crate::stage::tools;

/// How long a turn is waited for before the job is given back.
const TURN: Duration = Duration::from_secs(4 * 3600);

/// What looks like a secret in a driver's options: `o=username=x,password=y`.
const SECRETS: [&str; 3] = ["password=", "pass=", "credentials="];

/// How a volume's files are reached.
enum Way {
    /// At a path of this host.
    Path(PathBuf),
    /// Through the engine: at this place of a container that has it mounted, else of one that is made for it.
    Archive(Option<(String, String)>),
}

/// One volume that is about to be read.
struct Reading {
    entry: VolumeEntry,
    way: Way,
    engine: Engine,
    state_dir: PathBuf,
    /// How many of a group are read at the same time.
    turns: Arc<Semaphore>,
}

impl Docker {
    pub(super) async fn volume(
        &self,
        cx: &Context,
        session: Session,
        work: &Work,
        delivery: &Delivery,
    ) -> Result<(), JobError> {
        failpoint::hit_async("docker.before_look").await?;
        let seen = self.look().await?;
        let entry = wanted(&seen, &session.artefact().name)?.clone();
        let members = self.members(cx, work, &entry, &seen).await?;
        if may_need_quiet(&seen.containers, &members) {
            drop(session);
            return self.quiet_time(cx, work, delivery, (members, &seen)).await;
        }
        let reading = self.reading(entry, &seen).await?;
        let session = session.at_least(reading.entry.class);
        session.run(cx.now(), move |mut input| reading.read(&mut input)).await
    }

    /// The volumes of the run that are read together with this one, itself among them.
    async fn members(
        &self,
        cx: &Context,
        work: &Work,
        entry: &VolumeEntry,
        seen: &Seen,
    ) -> Result<Vec<(Artefact, VolumeEntry)>, JobError> {
        let Job::Capture { source, artefact, .. } = &work.job else {
            return Err(JobError::Fail(format!("{} is no capture", work.stage())));
        };
        let listed = cx.catalogue.listed(work.run, source).await?;
        let listed = listed.ok_or_else(|| JobError::Retry(format!("the listing of {source} is not there yet")))?;
        let mut members = Vec::new();
        for one in listed.artefacts.iter().filter(|one| one.kind == ArtefactKind::Volume) {
            let own = one.id == *artefact;
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

    /// Captures all `members` that are not captured yet, with their containers quiet while they are read. The others' own
    /// jobs find them done.
    async fn quiet_time(
        &self,
        cx: &Context,
        work: &Work,
        delivery: &Delivery,
        (members, seen): (Vec<(Artefact, VolumeEntry)>, &Seen),
    ) -> Result<(), JobError> {
        let Job::Capture { source, kind, artefact } = &work.job else {
            return Err(JobError::Fail(format!("{} is no capture", work.stage())));
        };
        let _quieting = self.quieting.lock().await;
        let turn = self.quiet().await?.turn(TURN).await?;
        log(turn.recovery());
        // Whoever had the turn before may have captured them all.
        let mut sessions = Vec::new();
        for (member, entry) in members {
            let job = Job::Capture {
                source: source.clone(),
                kind: *kind,
                artefact: member.id,
            };
            let of_member = Work { job, ..work.clone() };
            if let Some(session) = Session::begin(cx, &self.staging, &of_member, delivery).await? {
                sessions.push((member, entry, session));
            }
        }
        if !sessions.iter().any(|(member, ..)| member.id == *artefact) {
            return Ok(());
        }
        let covers = match &sessions[..] {
            [(member, ..)] => format!("volume {}", member.name),
            _ => format!("group {}", sessions[0].1.group.as_deref().unwrap_or_default()),
        };
        let (mut gate, mut captures, mut volumes) = (Gate::default(), Vec::new(), Vec::new());
        for (member, entry, session) in sessions {
            let covered = covers_one(&entry);
            let reading = match self.reading(entry, seen).await {
                Ok(reading) => reading,
                Err(error) if member.id == *artefact => return Err(error),
                Err(error) => {
                    not_with_its_group(&member, &error);
                    continue;
                }
            };
            volumes.push(covered);
            let (session, pass) = (session.at_least(reading.entry.class), gate.pass());
            captures.push(async move {
                let captured = session.run(cx.now(), move |input| reading.between(pass, input)).await;
                (member, captured)
            });
        }
        let quieting = async {
            if !gate.all_ready().await {
                return;
            }
            // Only now, since a container that another worker had stopped looked as if it had not run.
            let begun = async {
                let containers = self.engine().await?.containers().await?;
                let plan = quiet::plan(&containers, &volumes, &own(&containers)).map_err(refused)?;
                // Pre-copies may take long: who has lost the job meanwhile, or is to end, is to stop nothing any more.
                if delivery.lost.is_cancelled() {
                    let why = "the job was given up before its containers were made quiet";
                    return Err(JobError::Retry(why.to_owned()));
                }
                let begun = turn.begin(&work.run.to_string(), &covers, &plan).await;
                begun.map_err(|failed| {
                    let undone = not_back(&failed.brought_back).map(|text| format!("; and {text}"));
                    JobError::from(failed.error).and(&undone.unwrap_or_default())
                })
            };
            match begun.await {
                Err(error) => gate.close(&closed(&error)),
                Ok(time) => {
                    let mut opened = gate.open();
                    opened.all_read().await;
                    opened.judge(&end(time).await);
                }
            }
        };
        let (captured, ()) = tokio::join!(join_all(captures), Box::pin(quieting));
        let mut own_result = Ok(());
        for (member, result) in captured {
            if member.id == *artefact {
                own_result = result;
            } else if let Err(error) = result {
                not_with_its_group(&member, &error);
            }
        }
        own_result
    }

    async fn reading(&self, entry: VolumeEntry, seen: &Seen) -> Result<Reading, JobError> {
        let way = self.way(&entry, seen).await?;
        Ok(Reading {
            way,
            entry,
            engine: self.engine().await?.clone(),
            state_dir: self.state_dir.clone(),
            turns: self.reading.clone(),
        })
    }

    /// Where its files can be read.
    async fn way(&self, entry: &VolumeEntry, seen: &Seen) -> Result<Way, JobError> {
        let (volume, read) = (&entry.volume, self.section.volumes.read);
        let path = volume.folder(self.section.volumes_dir.as_deref());
        if read == ReadVolumes::Archive {
            return Ok(Way::Archive(place(entry, seen)));
        }
        let looked_at = path.clone();
        let opened = tokio::task::spawn_blocking(move || std::fs::read_dir(&looked_at).map(drop)).await?;
        match opened {
            Ok(()) if volume.is_plain() && path.is_absolute() => Ok(Way::Path(path)),
            _ if read == ReadVolumes::Auto => Ok(Way::Archive(place(entry, seen))),
            Ok(()) => Err(JobError::Fail(format!(
                "volume {} is mounted by its driver's own rules, so its mount point cannot be relied on: \
                 docker.volumes.read must be auto or archive",
                volume.name
            ))),
            Err(error) => Err(JobError::Fail(format!(
                "volume {} cannot be read at {}: {error}; mount the engine's volumes there (docker.volumes_dir), or set \
                 docker.volumes.read to auto",
                volume.name,
                path.display()
            ))),
        }
    }
}

impl Reading {
    /// Reads between the two doors of a quiet time, after a pre-copy: what did not change since need not be read in it, and
    /// hardly anything compressed.
    fn between(self, mut pass: Pass, mut input: Input<'_, '_>) -> Result<Found, JobError> {
        let precopy = self.precopy(&mut input)?;
        pass.enter()?;
        let found = match &precopy {
            Some(precopy) => self.read(&mut input.after(precopy)),
            None => self.read(&mut input),
        };
        let quieted = pass.leave();
        let (mut found, quieted) = (found?, quieted?);
        self.add(&mut found, &quieted);
        Ok(found)
    }

    /// The volume while its containers run. `None` if what is found then says too little about what will be later.
    fn precopy<'a>(&self, input: &mut Input<'a, '_>) -> Result<Option<Precopy<'a>>, JobError> {
        if let Way::Path(path) = &self.way {
            // In memory, writes through maps never show in the times of files.
            if is_in_memory(path) {
                return Ok(None);
            }
            return input.precopy(|input| self.read(input)).map(Some);
        }
        match input.precopy(|input| self.read(input)) {
            Ok(precopy) => Ok(Some(precopy)),
            Err(error) if input.watch.stopped() || matches!(error, JobError::Superseded(_)) => Err(error),
            // An engine breaks an archive off when a file in it changes: which it no longer does once all are quiet.
            Err(error) => {
                let (volume, reason) = (&self.entry.volume.name, error.reason());
                tracing::info!(volume, reason, "it could not be read while its containers run");
                Ok(None)
            }
        }
    }

    fn add(&self, found: &mut Found, quieted: &Quieted) {
        for warning in &quieted.warnings {
            found.warnings.add("docker", warning);
        }
        if let Some(volume) = &mut found.volume {
            volume.quiet_ms = quieted.milliseconds;
        }
    }

    fn read(&self, input: &mut Input<'_, '_>) -> Result<Found, JobError> {
        let runtime = Handle::current();
        // Closed never: it is ours.
        let _turn = runtime.block_on(self.turns.acquire()).ok();
        let (outcome, read) = match &self.way {
            Way::Path(path) => {
                let spec = TreeSpec::new(vec![Root::directory(path)], &[], false)?;
                let outcome = capture_tree(
                    &spec,
                    input.earlier.as_ref(),
                    input.packer,
                    input.contents,
                    &mut input.watch,
                )?;
                (outcome, "path")
            }
            Way::Archive(Some((container, path))) => {
                let archive = runtime.block_on(self.engine.download(container, path))?;
                (self.archive(archive, &runtime, input)?, "archive")
            }
            Way::Archive(None) => {
                let volume = &self.entry.volume.name;
                let helper = runtime.block_on(Helper::create(&self.engine, &self.state_dir, volume, Access::Read))?;
                let archive = runtime.block_on(helper.download()).map_err(JobError::from);
                let captured = archive.and_then(|archive| self.archive(archive, &runtime, input));
                if let Err(error) = runtime.block_on(helper.remove()) {
                    tracing::warn!("{}; the next recovery tries again", chain(&error));
                }
                (captured?, "archive")
            }
        };
        Ok(Found {
            counts: outcome.counts,
            database: None,
            volume: Some(self.info(read)),
            warnings: outcome.warnings,
            tools: tools(LAYOUT),
            closing: outcome.closing,
        })
    }

    fn archive(&self, archive: Archive, runtime: &Handle, input: &mut Input<'_, '_>) -> Result<TreeOutcome, JobError> {
        let archive = SyncIoBridge::new_with_handle(archive, runtime.clone());
        let earlier = input.earlier.as_ref();
        let captured = capture_archive(archive, earlier, input.packer, input.contents, &mut input.watch);
        captured.map_err(|error| JobError::from(error).during(&format!("read volume {}", self.entry.volume.name)))
    }

    fn info(&self, read: &str) -> VolumeInfo {
        let entry = &self.entry;
        let user = |user: &User| VolumeUser {
            container: user.name.clone(),
            destination: user.destination.clone(),
            writable: user.writable,
            running: user.state == State::Running,
        };
        let secret = |value: &str| SECRETS.iter().any(|word| value.to_ascii_lowercase().contains(word));
        let options = entry.volume.options.iter().map(|(name, value)| {
            let shown = if secret(&format!("{name}={value}")) {
                "(not kept: it holds a secret)"
            } else {
                value
            };
            (name.clone(), shown.to_owned())
        });
        VolumeInfo {
            driver: entry.volume.driver.clone(),
            options: options.collect(),
            labels: entry.volume.labels.clone(),
            stack: entry.stack.clone(),
            containers: entry.users.iter().map(user).collect(),
            mode: entry.mode.to_string(),
            group: entry.group.clone(),
            read: read.to_owned(),
            quiet_ms: None,
        }
    }
}

/// Where a container has the volume mounted with nothing else mounted below, if one has.
fn place(entry: &VolumeEntry, seen: &Seen) -> Option<(String, String)> {
    let alone = |user: &&User| {
        let container = seen.containers.iter().find(|one| one.id == user.id);
        let below = format!("{}/", user.destination.trim_end_matches('/'));
        container.is_some_and(|one| !one.mounts.iter().any(|mount| mount.destination.starts_with(&below)))
    };
    let user = entry.users.iter().find(alone)?;
    Some((user.id.clone(), format!("{}/.", user.destination.trim_end_matches('/'))))
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

/// Its own job tells, and tries again.
fn not_with_its_group(member: &Artefact, error: &JobError) {
    tracing::warn!(
        volume = member.name,
        reason = error.reason(),
        "it was not captured with its group"
    );
}

fn covers_one(entry: &VolumeEntry) -> Covered {
    Covered {
        volume: entry.volume.name.clone(),
        mode: entry.mode,
    }
}

fn covered(members: &[(Artefact, VolumeEntry)]) -> Vec<Covered> {
    members.iter().map(|(_, entry)| covers_one(entry)).collect()
}

fn refused(refusals: Vec<quiet::Refusal>) -> JobError {
    let reasons: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    JobError::Fail(reasons.join("; "))
}

fn closed(error: &JobError) -> Closed {
    Closed {
        reason: error.reason().to_owned(),
        retry: error.retry(),
    }
}

/// Whether a container would be made quiet if all ran. One that does not run now may have been stopped by another quiet
/// time, which the plan that is made in its turn finds out.
fn may_need_quiet(containers: &[Container], members: &[(Artefact, VolumeEntry)]) -> bool {
    let running = |one: &Container| Container {
        state: State::Running,
        ..one.clone()
    };
    let all: Vec<Container> = containers.iter().map(running).collect();
    let plan = quiet::plan(&all, &covered(members), &BTreeSet::new());
    plan.map_or(true, |plan| !plan.is_empty())
}

/// Ends the quiet time. What was read while a container ran after all is void; a container that does not come back is a
/// failure of the volumes that it was stopped for, so that nobody overlooks it.
async fn end(time: QuietTime) -> Result<Quieted, Closed> {
    let mut warnings = time.warnings().to_vec();
    let done = time.bring_back().await;
    if let Some(reason) = not_back(&done) {
        return Err(Closed {
            reason,
            retry: Retry::Never,
        });
    }
    if !done.disturbed.is_empty() {
        return Err(Closed {
            reason: format!(
                "while the volume was read, its containers ran: {} (a restart of the engine, or somebody, started them)",
                done.disturbed.join(", ")
            ),
            retry: Retry::Later,
        });
    }
    warnings.extend(done.warnings);
    let milliseconds = done
        .down_time
        .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    Ok(Quieted { milliseconds, warnings })
}

fn not_back(done: &BroughtBack) -> Option<String> {
    let failures: Vec<String> = done.failures.iter().map(|failure| chain(failure).to_string()).collect();
    (!failures.is_empty()).then(|| failures.join("; "))
}
