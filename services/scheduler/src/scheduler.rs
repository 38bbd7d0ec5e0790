//! The scheduler's work: starts runs that are requested, and those that come due.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use holdfast_bus::{Answer, Asked, BusError};
use holdfast_events::{Fact, Job, Outcome, Refusal, Trigger, TriggerReply, Work};
use holdfast_format::{
    AskedBy, BusUser, Class, Expected, Finished, ObjectKey, Reason, RunId, ScheduleName, SourceName,
};
use holdfast_service::{Context, JobError, none_if_damaged, unfinished};
use holdfast_telemetry::failpoint;
use holdfast_telemetry::http::Health;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::class::{Past, class_for};
use crate::configured::trigger_of;
use crate::due::{Due, Schedule, Watch};
use crate::expect::{Known, Start, expect, overlaps};
use crate::policy;
use crate::recorder::Recorder;
use crate::run_ids::{new_run_id, run_id};
use crate::waiting::Waiting;

/// The longest pause between two looks at the calendar. The clock may be set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// The pause after a run was started, or could not be.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The interval at which a requester's run is checked for its end.
const END_EVERY: Duration = Duration::from_secs(1);

/// The milliseconds of an hour, for which the runs of a requester are counted.
const HOUR_MS: u64 = 3_600_000;

/// The number of failures in an answer, and the length of each in characters. An answer must fit into a message.
const FAILURES_MAX: usize = 50;
const FAILURE_CHARS: usize = 1000;

/// The number of past runs that decide the class of the next one: more than a month of hourly runs.
const HISTORY: usize = 800;

/// The number of past runs that are searched for the slots of a schedule. Runs of several schedules lie between each
/// other.
const SLOTS: usize = 2_000;

/// Starts runs and keeps their record.
pub struct Scheduler {
    cx: Context,
    /// The requesters who wait for the ends of runs.
    waiting: Waiting,
    /// Allows one start at a time: two at once could both find no overlap.
    starting: tokio::sync::Mutex<()>,
}

impl Scheduler {
    /// Makes the scheduler of this context.
    #[must_use]
    pub fn new(cx: &Context) -> Arc<Self> {
        Arc::new(Self {
            cx: cx.clone(),
            waiting: Waiting::default(),
            starting: tokio::sync::Mutex::new(()),
        })
    }

    /// Answers requests, keeps the record and, if `follow_calendar` is true, follows the calendar, until the process
    /// drains. `health` shows if requests are answered.
    #[must_use]
    pub fn serve(self: Arc<Self>, follow_calendar: bool, health: &Health) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(self.clone().record());
        tasks.spawn(self.clone().tell_ends());
        if follow_calendar {
            tasks.spawn(self.clone().tick());
        }
        let health = health.clone();
        tasks.spawn(async move {
            health.set("triggers", Ok(()));
            if let Err(error) = self.serve_triggers().await {
                let reason = holdfast_fault::chain(&error).to_string();
                tracing::error!(reason, "requests for runs are not answered any more");
                health.set("triggers", Err(reason));
            }
        });
        tasks
    }

    /// Keeps the record of runs until the process drains.
    async fn record(self: Arc<Self>) {
        Recorder::new(self.cx.clone()).run().await;
    }

    /// Answers requests for runs until the process drains.
    ///
    /// # Errors
    /// [`BusError`] if the server refuses the subscription.
    async fn serve_triggers(self: Arc<Self>) -> Result<(), BusError> {
        let bus = self.cx.bus.clone();
        let drain = self.cx.drain.clone();
        let answer = move |asked: Asked| self.clone().answer(asked);
        bus.serve_triggers(answer, drain).await
    }

    /// Starts the run that a user asks for, and returns the answer.
    async fn answer(self: Arc<Self>, asked: Asked) -> Answer {
        let wait = asked.trigger.wait;
        let user = asked.user.clone();
        let started = self.start(asked).await;
        match started {
            Ok(run) if wait => Answer::AtEnd(Box::pin(async move { self.end_of(run, user).await })),
            Ok(run) => Answer::Now(TriggerReply::Started(run)),
            Err(refusal) => {
                tracing::warn!(%user, ?refusal, "a request for a run was refused");
                Answer::Now(TriggerReply::Refused(refusal))
            }
        }
    }

    /// Waits for the end of a run, and returns the answer for the requester.
    async fn end_of(&self, run: RunId, user: BusUser) -> TriggerReply {
        let end = self.waiting.end_of(run, user);
        tokio::select! {
            reply = end => reply,
            () = self.cx.drain.cancelled() => {
                let why = format!("the scheduler ends before run {run}: ask again with this run's id");
                TriggerReply::Refused(Refusal::AskAgain(why))
            }
        }
    }

    /// Tells those who wait of the ends of runs, until the process drains.
    async fn tell_ends(self: Arc<Self>) {
        let mut every = tokio::time::interval(END_EVERY);
        loop {
            tokio::select! {
                () = self.cx.drain.cancelled() => return,
                _ = every.tick() => {}
            }
            for run in self.waiting.runs() {
                match self.cx.catalogue.finished(run).await {
                    Ok(Some(finished)) => self.waiting.tell(run, &reply_of(&finished)),
                    Ok(None) => {}
                    Err(error) => tracing::warn!(
                        %run, reason = %holdfast_fault::chain(&error),
                        "the end of a run cannot be looked for yet; trying again"
                    ),
                }
            }
        }
    }

    /// Starts the run that a user asks for, and returns its id.
    ///
    /// # Errors
    /// [`Refusal`], which says why the run was not started.
    async fn start(&self, asked: Asked) -> Result<RunId, Refusal> {
        let Asked { user, trigger } = asked;
        let rights = self.cx.settings.requester(&user);
        policy::check(&trigger, &user, rights.as_ref())?;
        let now = self.cx.now();
        let start = Start {
            run: trigger.run.unwrap_or_else(|| new_run_id(now)),
            now,
            reason: Reason::Manual,
            requester: AskedBy::User {
                name: user,
                person: trigger.person.clone(),
            },
            class: Class::Daily,
        };
        self.start_as(start, &trigger, &TimeZone::system()).await
    }

    /// Checks whether the requester has started fewer runs than it may.
    async fn check_rate(&self, start: &Start) -> Result<(), Refusal> {
        let AskedBy::User { name, .. } = &start.requester else {
            return Ok(());
        };
        let Some(limit) = self.cx.settings.requester(name).and_then(|rights| rights.per_hour) else {
            return Ok(());
        };
        let started = self.started_within_an_hour(name, start.now).await;
        let started = started.map_err(|error| Refusal::NotReady(error.reason().to_owned()))?;
        policy::check_rate(name, limit, started)
    }

    /// Counts the runs that a user has started within the last hour, in the repository: by whichever scheduler.
    async fn started_within_an_hour(&self, user: &BusUser, now: Timestamp) -> Result<u32, JobError> {
        let since = u64::try_from(now.as_millisecond()).unwrap_or(0).saturating_sub(HOUR_MS);
        let mut started = 0;
        let runs = self.cx.catalogue.runs().await?;
        for run in runs.into_iter().take_while(|run| run.unix_ms() >= since) {
            let expected = self.cx.catalogue.expected(run).await.or_else(none_if_damaged)?;
            let by_user =
                |expected: &Expected| matches!(&expected.requester, AskedBy::User { name, .. } if name == user);
            started += u32::from(expected.is_some_and(|expected| by_user(&expected)));
        }
        Ok(started)
    }

    async fn start_as(&self, start: Start, trigger: &Trigger, zone: &TimeZone) -> Result<RunId, Refusal> {
        let _one = self.starting.lock().await;
        let run = start.run;
        let not_ready = |e: JobError| Refusal::NotReady(e.reason().to_owned());
        // The run may be there already: the first requester died, or gave up waiting for the answer.
        let begun = match self.cx.catalogue.expected(run).await {
            // The run was started, and its expectations cannot be read any more. The slot is not made up for.
            Err(error) if error.is_damage() && matches!(start.reason, Reason::Schedule { .. }) => {
                tracing::warn!(%run, reason = %holdfast_fault::chain(&error), "the run of a slot cannot be read");
                return Ok(run);
            }
            begun => begun,
        };
        if let Some(stands) = begun.map_err(|e| not_ready(e.into()))? {
            policy::check_own(&stands, &start.requester)?;
            self.hand_out(&stands).await.map_err(not_ready)?;
            return Ok(run);
        }
        self.check_rate(&start).await?;
        self.check_ready()?;
        let known = Known::of(&self.cx.settings);
        let mut expected = expect(trigger, &known, start)?;
        // Runs of one stack do not count as the week's or the month's run.
        if trigger.class.is_none() && expected.stack.is_none() {
            expected.class = self.class(&expected, zone).await.map_err(not_ready)?;
        }
        let open = self.unfinished().await.map_err(not_ready)?;
        if let Some(other) = overlaps(&open, &expected) {
            return Err(Refusal::Overlap(other));
        }
        expected.trace = holdfast_telemetry::propagate::inject_current();
        self.publish(&expected).await.map_err(not_ready)?;
        Ok(run)
    }

    /// Checks what a run needs before anything is captured: recipients whose keys can still seal.
    fn check_ready(&self) -> Result<(), Refusal> {
        let not_ready = |e: JobError| Refusal::NotReady(e.reason().to_owned());
        let (recipients, _) = self.cx.recipients().map_err(not_ready)?;
        recipients
            .check(std::time::SystemTime::now())
            .map_err(|e| Refusal::NotReady(holdfast_fault::chain(&e).to_string()))
    }

    /// Writes the expectations, then asks for the listings. If this process dies in between, the reconciler asks.
    async fn publish(&self, expected: &Expected) -> Result<(), JobError> {
        let run = expected.run;
        self.cx.repository.write(&ObjectKey::Expected(run), expected).await?;
        failpoint::hit_async("scheduler.after_expected").await?;
        let stands = self.cx.expected(run).await?;
        self.hand_out(&stands).await?;
        tracing::info!(%run, sources = stands.sources.len(), class = %stands.class, "run started");
        Ok(())
    }

    /// Publishes the start of the run and asks for its listings. May be repeated.
    async fn hand_out(&self, stands: &Expected) -> Result<(), JobError> {
        let run = stands.run;
        let list = |s: &holdfast_format::ExpectedSource| Work {
            run,
            site: s.site.clone(),
            job: Job::List {
                source: s.name.clone(),
                kind: s.kind,
            },
        };
        let works: Vec<Work> = stands.sources.iter().map(list).collect();
        self.cx.bus.publish_fact(&Fact::started(stands)).await?;
        self.cx.bus.publish_works(&works).await?;
        Ok(())
    }

    async fn unfinished(&self) -> Result<Vec<Expected>, JobError> {
        let mut open = Vec::new();
        for run in unfinished(&self.cx, &mut HashSet::new()).await? {
            open.push((*self.cx.expected(run).await?).clone());
        }
        Ok(open)
    }

    /// Returns the class that the calendar gives a run of these sources.
    async fn class(&self, expected: &Expected, zone: &TimeZone) -> Result<Class, JobError> {
        let wanted: Vec<SourceName> = expected.sources.iter().map(|s| s.name.clone()).collect();
        let mut history = Vec::new();
        for run in self.cx.catalogue.runs().await?.into_iter().take(HISTORY) {
            let point = self.cx.catalogue.restore_point(run).await.or_else(none_if_damaged)?;
            let past = self.cx.catalogue.expected(run).await.or_else(none_if_damaged)?;
            let (Some(point), Some(past)) = (point, past) else {
                continue;
            };
            if past.stack.is_some() {
                continue;
            }
            let sources = past.sources.iter().map(|s| s.name.clone()).collect();
            history.push(Past {
                started: point.started,
                class: point.class,
                complete: point.complete,
                sources,
            });
        }
        Ok(class_for(&history, &wanted, expected.created, zone))
    }

    /// Starts scheduled runs as they come due, until the process drains.
    async fn tick(self: Arc<Self>) {
        let mut followed: Vec<Followed> = Vec::new();
        for configured in &self.cx.settings.schedule {
            match Schedule::of(configured) {
                Ok(schedule) => followed.push(Followed {
                    schedule,
                    trigger: trigger_of(configured),
                    watch: None,
                }),
                Err(error) => tracing::error!(schedule = %configured.name, %error, "a schedule is not followed"),
            }
        }
        loop {
            let mut pause = LOOK_AGAIN;
            for one in &mut followed {
                match self.tick_one(one).await {
                    Ok(until) => pause = pause.min(until),
                    Err(error) => {
                        let schedule = one.schedule.name.as_str();
                        tracing::warn!(
                            schedule,
                            reason = error.reason(),
                            "a schedule cannot be followed now; trying again"
                        );
                        pause = TRY_AGAIN;
                    }
                }
            }
            tokio::select! {
                () = self.cx.drain.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Starts the run of the schedule's slot that is due, if there is one. Returns the time until the next look.
    async fn tick_one(&self, one: &mut Followed) -> Result<Duration, JobError> {
        let now = self.cx.now();
        let name = one.schedule.name.clone();
        let watch = match &mut one.watch {
            Some(watch) => watch,
            none => none.insert(Watch::new(now, self.emitted(&name).await?)),
        };
        let Some(Due { slot, missed }) = watch.due(&one.schedule, now) else {
            let wake = watch.wake(&one.schedule, now);
            return Ok(wake.map_or(LOOK_AGAIN, |wake| wake.duration_since(now).unsigned_abs()));
        };
        if missed > 0 {
            tracing::warn!(schedule = %name, missed, "slots were missed; one run makes up for them");
        }
        let mut start = Start {
            run: run_id(&name, slot),
            now,
            reason: Reason::Schedule {
                name: name.clone(),
                slot,
                missed,
            },
            requester: AskedBy::Schedule(name.clone()),
            class: Class::Daily,
        };
        let zone = one.schedule.calendar.zone().clone();
        let span = tracing::info_span!("tick", schedule = %name);
        let started = self.start_as(start.clone(), &one.trigger, &zone);
        let mut started = started.instrument(span.clone()).await;
        if let Err(Refusal::NotAllowed(why)) = &started {
            // Anybody can work out the id of a slot's run, and ask for a run by it. That takes no slot away.
            tracing::error!(schedule = %name, %slot, why, "the id of a slot's run was taken; the run gets another");
            start.run = new_run_id(now);
            let again = self.start_as(start, &one.trigger, &zone);
            started = again.instrument(span).await;
        }
        match started {
            Ok(_) => {}
            Err(Refusal::Overlap(other)) => {
                tracing::warn!(
                    schedule = %name, %slot, %other,
                    "a scheduled run was skipped: the run before it has not ended"
                );
            }
            Err(Refusal::Invalid(why) | Refusal::NotAllowed(why)) => {
                tracing::error!(schedule = %name, why, "a schedule cannot be run");
            }
            Err(Refusal::NotReady(why) | Refusal::AskAgain(why)) => return Err(JobError::Retry(why)),
        }
        watch.emitted(slot);
        Ok(TRY_AGAIN)
    }

    /// Returns the slots of a schedule for which runs were started, as far back as the search goes.
    async fn emitted(&self, schedule: &ScheduleName) -> Result<Vec<Timestamp>, JobError> {
        let mut slots = Vec::new();
        for run in self.cx.catalogue.runs().await?.into_iter().take(SLOTS) {
            let expected = self.cx.catalogue.expected(run).await.or_else(none_if_damaged)?;
            let Some(expected) = expected else {
                continue;
            };
            if let Reason::Schedule { name, slot, .. } = &expected.reason
                && name == schedule
            {
                slots.push(*slot);
            }
        }
        Ok(slots)
    }
}

/// Returns the answer for those who wait for the end of a run.
fn reply_of(finished: &Finished) -> TriggerReply {
    let first = finished.failures.iter().take(FAILURES_MAX);
    TriggerReply::Finished {
        run: finished.run,
        complete: finished.outcome == Outcome::Complete.as_str(),
        failures: first.map(|why| why.chars().take(FAILURE_CHARS).collect()).collect(),
    }
}

/// A schedule that this process follows.
struct Followed {
    schedule: Schedule,
    trigger: Trigger,
    /// The schedule's past; `None` until the repository was read.
    watch: Option<Watch>,
}
