//! One quiet time: volumes that are captured while their containers are quiet, as a value with steps.
//!
//! A capture prepares itself (its parent is fetched, its attempt begun, a pre-copy made) before any container stops, and
//! does what remains (packs sealed, contents written) after all are back: only reading lies between. All volumes of a group
//! go from step to step together; one that fails is out, and holds no other up.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use holdfast_docker::inventory::VolumeEntry;
use holdfast_docker::perform::{BroughtBack, QuietTime, Turn};
use holdfast_docker::quiet::{self, Covered};
use holdfast_fault::chain;
use holdfast_format::{Artefact, ArtefactId};
use holdfast_service::{Context, JobError};
use holdfast_session::{Recorded, Recording, Session, SourceFacts};

use super::reading::Reading;
use super::{Docker, Seen, log, own};

/// The time to wait for a turn before the job is given back.
const TURN: Duration = Duration::from_secs(4 * 3600);

/// A volume on its way through a quiet time, with its capture as far as that is.
struct Member<C> {
    artefact: Artefact,
    reading: Arc<Reading>,
    capture: C,
}

/// The volumes of one quiet time, all at the same step.
struct Group<C> {
    members: Vec<Member<C>>,
    /// Volumes that are out, and why.
    failed: Vec<(Artefact, JobError)>,
}

/// The volumes that a quiet time is for.
struct Covers {
    volumes: Vec<Covered>,
    /// A name for people: `group shop`, `volume shop_files`.
    name: String,
}

/// The outcome of a quiet time.
struct Quieted {
    /// The milliseconds for which containers were quiet, if any were.
    milliseconds: Option<u64>,
    warnings: Vec<String>,
}

impl Docker {
    /// Captures those of `members` that are not captured yet, with their containers quiet while they are read. The volume
    /// of `session` is one of them; the others' own jobs find them done, or try again.
    ///
    /// # Errors
    /// [`JobError`] if the volume of `session` was not captured.
    pub(super) async fn quiet_time(
        &self,
        cx: &Context,
        session: Session,
        members: Vec<(Artefact, VolumeEntry)>,
        seen: &Seen,
    ) -> Result<(), JobError> {
        let _quieting = self.quieting.lock().await;
        let turn = self.quiet().await?.turn(TURN).await?;
        log(turn.recovery());
        // Turns may be waited for for hours: who has lost the job meanwhile is to begin no attempt any more.
        still_ours(&session, "its turn came")?;
        let Some(group) = self.group(&session, members, seen).await? else {
            return Ok(());
        };
        let group = group.prepare(cx).await;
        let own = session.artefact().id;
        if group.members.is_empty() {
            return group.result_of(own);
        }
        let covers = group.covers();
        let time = match self.make_quiet(turn, &session, &covers).await {
            Ok(time) => time,
            Err(error) => return group.give_up(&error).await.result_of(own),
        };
        let group = group.read().await;
        match end(time).await {
            Ok(quieted) => group.finish(&quieted).await.result_of(own),
            Err(error) => group.give_up(&error).await.result_of(own),
        }
    }

    /// The sessions of what is not captured yet; `None` if the volume of `session` is. Whoever had the turn before may have
    /// captured it.
    async fn group(
        &self,
        session: &Session,
        members: Vec<(Artefact, VolumeEntry)>,
        seen: &Seen,
    ) -> Result<Option<Group<Session>>, JobError> {
        let own = session.artefact().id;
        let mut group = Group {
            members: Vec::new(),
            failed: Vec::new(),
        };
        let mut is_own_left = false;
        for (artefact, entry) in members {
            let Some(capture) = session.sibling(artefact.id).await? else {
                continue;
            };
            is_own_left |= artefact.id == own;
            match self.reading(entry, seen).await {
                Ok(reading) => group.members.push(Member {
                    artefact,
                    capture: capture.at_least(reading.class()),
                    reading: Arc::new(reading),
                }),
                Err(error) => group.failed.push((artefact, error)),
            }
        }
        Ok(is_own_left.then_some(group))
    }

    /// Makes the containers of all volumes quiet.
    async fn make_quiet(&self, turn: Turn, session: &Session, covers: &Covers) -> Result<QuietTime, JobError> {
        // Only now, since a container that another worker had stopped looked as if it had not run.
        let containers = self.engine().await?.containers().await?;
        let plan = quiet::plan(&containers, &covers.volumes, &own(&containers)).map_err(refused)?;
        // Pre-copies may take long: who has lost the job meanwhile, or is to end, is to stop nothing any more.
        still_ours(session, "its containers were made quiet")?;
        let begun = turn.begin(&session.run_id().to_string(), &covers.name, &plan).await;
        begun.map_err(|failed| {
            let undone = not_back(&failed.brought_back).map(|text| format!("; and {text}"));
            JobError::from(failed.error).and(&undone.unwrap_or_default())
        })
    }
}

impl<C> Group<C> {
    /// Takes all members a step further, at the same time.
    async fn each<D, F>(self, step: impl Fn(C, Arc<Reading>) -> F) -> Group<D>
    where
        F: Future<Output = Result<D, JobError>>,
    {
        let steps = self.members.into_iter().map(|member| {
            let done = step(member.capture, member.reading.clone());
            async move { (member.artefact, member.reading, done.await) }
        });
        let mut group = Group {
            members: Vec::new(),
            failed: self.failed,
        };
        for (artefact, reading, done) in join_all(steps).await {
            match done {
                Ok(capture) => group.members.push(Member {
                    artefact,
                    reading,
                    capture,
                }),
                Err(error) => group.failed.push((artefact, error)),
            }
        }
        group
    }

    /// Returns the result of one volume. The others' own jobs tell of theirs.
    fn result_of(self, own: ArtefactId) -> Result<(), JobError> {
        let mut result = Ok(());
        for (artefact, error) in self.failed {
            if artefact.id == own {
                result = Err(error);
            } else {
                let reason = error.reason();
                tracing::warn!(
                    volume = artefact.name,
                    reason,
                    "a volume was not captured with its group"
                );
            }
        }
        result
    }

    fn covers(&self) -> Covers {
        let name = match &self.members[..] {
            [one] => format!("volume {}", one.artefact.name),
            all => format!(
                "group {}",
                all.iter().find_map(|one| one.reading.group()).unwrap_or_default()
            ),
        };
        Covers {
            volumes: self.members.iter().map(|member| member.reading.covered()).collect(),
            name,
        }
    }
}

impl Group<Session> {
    /// Begins all recordings, each with a pre-copy if that makes sense.
    async fn prepare(self, cx: &Context) -> Group<Recording> {
        let prepare = |session: Session, reading: Arc<Reading>| async move {
            let recording = session.recording(cx.now()).await?;
            if !reading.takes_precopy() {
                return Ok(recording);
            }
            recording.precopy(move |input| reading.precopy(input)).await
        };
        self.each(prepare).await
    }
}

impl Group<Recording> {
    async fn read(self) -> Group<Recorded> {
        self.each(|recording, reading| recording.read(move |input| reading.read(input)))
            .await
    }

    async fn give_up(self, error: &JobError) -> Group<()> {
        let give_up = |recording: Recording, _| async move {
            recording.give_up().await;
            Err(error.clone())
        };
        self.each(give_up).await
    }
}

impl Group<Recorded> {
    async fn finish(self, quieted: &Quieted) -> Group<()> {
        let finish = |mut recorded: Recorded, _| async move {
            quieted.note_in(recorded.facts_mut());
            recorded.finish().await
        };
        self.each(finish).await
    }

    async fn give_up(self, error: &JobError) -> Group<()> {
        let give_up = |recorded: Recorded, _| async move {
            recorded.give_up().await;
            Err(error.clone())
        };
        self.each(give_up).await
    }
}

impl Quieted {
    fn note_in(&self, found: &mut SourceFacts) {
        for warning in &self.warnings {
            found.warnings.add("docker", warning);
        }
        if let Some(volume) = &mut found.volume {
            volume.quiet_ms = self.milliseconds;
        }
    }
}

fn still_ours(session: &Session, before: &str) -> Result<(), JobError> {
    if session.lost().is_cancelled() {
        return Err(JobError::Retry(format!("the job was given up before {before}")));
    }
    Ok(())
}

fn refused(refusals: Vec<quiet::Refusal>) -> JobError {
    let reasons: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    JobError::Fail(reasons.join("; "))
}

/// Ends the quiet time. What was read while a container ran after all is void; a container that does not come back is a
/// failure of the volumes that it was stopped for, so that nobody overlooks it.
async fn end(time: QuietTime) -> Result<Quieted, JobError> {
    let mut warnings = time.warnings().to_vec();
    let done = time.bring_back().await;
    if let Some(reason) = not_back(&done) {
        return Err(JobError::Fail(reason));
    }
    if !done.disturbed.is_empty() {
        return Err(JobError::Retry(format!(
            "while the volume was read, its containers ran: {} (a restart of the engine, or somebody, started them)",
            done.disturbed.join(", ")
        )));
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
