//! `holdfast run`: a backup, from asking for it to its end.

mod report;

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use holdfast_bus::BusError;
use holdfast_config::{SecretSection, Settings};
use holdfast_events::{Refusal, RunState, Trigger, TriggerReply};
use holdfast_format::{Class, Level, RunId, SourceName};
use holdfast_scheduler::new_run_id;
use holdfast_service::{repository_keys, shutdown_signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::assembly::check_verifier;
use crate::follow::{End, Follower};
use crate::link::Link;
use crate::logs::Logs;
use crate::output::Output;
use crate::person::person;
use crate::progress::View;
use crate::{CliError, Exit, Global, access, parse};

/// The time limit for the scheduler's answer: it reads what is in the repository first.
const ANSWER: Duration = Duration::from_secs(120);
/// The time after which a request is made again: a scheduler that died cannot answer, its successor can.
const EACH: Duration = Duration::from_secs(10);
/// The pause before a request is sent again that the scheduler has put off.
const AGAIN: Duration = Duration::from_secs(1);
/// The time limit for a scheduler of this host to listen, and the interval at which it is asked.
const LISTENING: (Duration, Duration) = (Duration::from_secs(15), Duration::from_millis(10));

/// The time for which a run is waited for if nobody gave a limit: the longest that the scheduler gives it.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// The time after a run's deadline for which its end is waited for: the recorder names what did not come, and ends the run.
const RECORDED_WITHIN: Duration = Duration::from_secs(15);

/// The extent of a run's captures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackupType {
    /// Databases and volumes.
    #[default]
    All,
    /// PostgreSQL servers alone.
    Databases,
    /// Directories alone.
    Volumes,
    /// All, and the system configuration.
    Full,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The extent of the captures.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) backup_type: BackupType,
    /// Capture only this stack (a Compose project): its Docker volumes and databases, and no other sources but those that
    /// --source names.
    #[arg(long, value_name = "STACK")]
    pub(crate) stack: Option<String>,
    /// Only this source. Repeatable.
    #[arg(long = "source", value_name = "NAME", value_parser = parse::source)]
    pub(crate) sources: Vec<SourceName>,
    /// Read everything back, to this level: integrity, decrypt or restore; alone, to the configured level.
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, value_parser = parse::level)]
    pub(crate) verify: Option<Option<Level>>,
    /// Copy to all targets.
    #[arg(long)]
    pub(crate) sync_offsite: bool,
    /// Apply retention afterwards.
    #[arg(long)]
    pub(crate) cleanup: bool,
    /// A word that people find the run by, such as pre-upgrade.
    #[arg(long, value_name = "WORD")]
    pub(crate) label: Option<String>,
    /// Keep it at least that long, whatever retention says.
    #[arg(long, value_name = "14d", value_parser = parse::period)]
    pub(crate) hold: Option<Duration>,
    /// The class that retention goes by: daily, weekly, monthly or pinned; else the calendar says.
    #[arg(long, value_name = "CLASS", value_parser = parse::class)]
    pub(crate) class: Option<Class>,
    /// Capture without building on earlier backups.
    #[arg(long)]
    pub(crate) fresh: bool,
    /// The longest time for the run: later artefacts have failed; by itself 12 hours, or half of `janitor.grace` if that is shorter.
    #[arg(long, value_name = "2h", value_parser = parse::period)]
    pub(crate) timeout: Option<Duration>,
    /// Do not wait: print the run's id and leave it to `holdfast up` or the services.
    #[arg(long)]
    pub(crate) detach: bool,
    /// Print one JSON object at the end.
    #[arg(long)]
    pub(crate) json: bool,
}

impl RunArgs {
    fn trigger(&self, settings: &Settings) -> Trigger {
        let configured = || settings.verifier.level;
        Trigger {
            backup_type: self
                .backup_type
                .to_possible_value()
                .map(|v| v.get_name().to_owned())
                .unwrap_or_default(),
            sources: self.sources.clone(),
            stack: self.stack.clone(),
            verify: self.verify.map(|level| level.unwrap_or_else(configured)),
            sync_offsite: self.sync_offsite,
            cleanup: self.cleanup,
            label: self.label.clone(),
            hold_seconds: self.hold.map(|hold| hold.as_secs()),
            class: self.class,
            fresh: self.fresh,
            timeout_seconds: self.timeout.map(|timeout| timeout.as_secs()),
            run: None,
            person: Some(person()),
            wait: false,
        }
    }
}

pub(crate) async fn run(global: &Global, args: &RunArgs) -> Result<Exit, CliError> {
    access::harden()?;
    let settings = access::load(global, SecretSection::ALL)?;
    let mut view = View::new();
    let logs = Logs::start(global, Some(&settings), view.bars())?;
    // The root of the run's trace.
    let span = tracing::info_span!("holdfast run");
    let done = Box::pin(back_up(args, settings, &mut view)).instrument(span).await;
    view.end();
    logs.end().await;
    done
}

async fn back_up(args: &RunArgs, settings: Arc<Settings>, view: &mut View) -> Result<Exit, CliError> {
    let trigger = args.trigger(&settings);
    check_first(&settings, &trigger)?;
    let interrupt = CancellationToken::new();
    shutdown_signal(interrupt.clone());
    let mut session = Session {
        args,
        link: Link::open(&settings).await?,
        settings,
        until: Instant::now() + args.timeout.unwrap_or(LONGEST) + RECORDED_WITHIN,
        interrupt,
    };
    let done = session.run(&trigger, view).await;
    view.end();
    session.link.end().await;
    done
}

/// Checks the keys, before anything is captured.
fn check_first(settings: &Settings, trigger: &Trigger) -> Result<(), CliError> {
    repository_keys(settings)?;
    let here = settings.nats.url.is_none();
    if here && trigger.verify.is_some_and(Level::opens) {
        check_verifier(settings)?;
    }
    Ok(())
}

struct Session<'a> {
    args: &'a RunArgs,
    settings: Arc<Settings>,
    link: Link,
    until: Instant,
    interrupt: CancellationToken,
}

impl Session<'_> {
    async fn run(&mut self, trigger: &Trigger, view: &mut View) -> Result<Exit, CliError> {
        if self.args.detach && self.link.is_own() {
            return Err(CliError::Usage(
                "--detach needs somebody who goes on: start `holdfast up` first, or set nats.url".to_owned(),
            ));
        }
        let run = self.start(trigger, view).await?;
        let out = Output::new(self.args.json);
        if self.args.detach {
            out.print(&serde_json::json!({ "run": run }), |_| run.to_string());
            return Ok(Exit::Good);
        }
        view.say(&format!("run {run}"));
        let (end, state) = self.follow(run, view).await?;
        view.end();
        match end {
            End::Finished(outcome) => {
                let report = report::Report::new(self.link.catalogue(), &state, outcome).await;
                out.print(&report, |out| report.text(out));
                Ok(outcome.into())
            }
            end => Err(self.not_finished(end, &state)),
        }
    }

    /// Asks for the run. In a process of our own an overlap means that an earlier process died in the middle.
    async fn start(&mut self, trigger: &Trigger, view: &mut View) -> Result<RunId, CliError> {
        loop {
            let run = Some(new_run_id(holdfast_telemetry::clock::system().now()));
            let trigger = Trigger { run, ..trigger.clone() };
            match self.ask(&trigger).await? {
                TriggerReply::Started(run) | TriggerReply::Finished { run, .. } => return Ok(run),
                TriggerReply::Refused(Refusal::Overlap(earlier)) if self.link.is_own() => {
                    view.say(&format!(
                        "run {earlier} was cut off before its end: it is finished first"
                    ));
                    let (end, state) = self.follow(earlier, view).await?;
                    match end {
                        End::Finished(outcome) => view.say(&format!("run {earlier} ended: {}", outcome.as_str())),
                        end => return Err(self.not_finished(end, &state)),
                    }
                }
                TriggerReply::Refused(refusal) => return Err(CliError::Trigger(refusal)),
            }
        }
    }

    /// Asks until there is an answer. The request names the run's id, so that asking again starts nothing twice.
    async fn ask(&mut self, trigger: &Trigger) -> Result<TriggerReply, CliError> {
        let begun = Instant::now();
        let until = begun + ANSWER.min(self.args.timeout.unwrap_or(ANSWER));
        // Services of their own may be starting just now, too.
        let mut listening = begun + LISTENING.0;
        loop {
            let wait = until.saturating_duration_since(Instant::now()).clamp(LISTENING.1, EACH);
            let answer = self.link.bus().request(trigger, wait).await;
            let now = Instant::now();
            match answer {
                // Somebody was there, and may come back.
                Err(BusError::NotInTime { .. }) if now < until => listening = until,
                Err(BusError::NobodyAnswers) if now < listening => tokio::time::sleep(LISTENING.1).await,
                Ok(TriggerReply::Refused(Refusal::AskAgain(_))) if now < until => tokio::time::sleep(AGAIN).await,
                answer => return Ok(answer?),
            }
            if self.link.is_orphaned() {
                self.take_over().await?;
            }
        }
    }

    /// Follows a run to its end; if the process that did the work goes, this one does it.
    async fn follow(&mut self, run: RunId, view: &mut View) -> Result<(End, RunState), CliError> {
        loop {
            let follower = Follower {
                link: &self.link,
                run,
                until: self.until,
                interrupt: &self.interrupt,
            };
            let (end, state) = follower.follow(view).await?;
            if end != End::Orphaned {
                return Ok((end, state));
            }
            view.say("the process that did the work has ended: going on in this one");
            self.take_over().await?;
        }
    }

    async fn take_over(&mut self) -> Result<(), CliError> {
        self.link = Link::open(&self.settings).await?;
        Ok(())
    }

    fn not_finished(&self, end: End, state: &RunState) -> CliError {
        let run = state.expected.run;
        let goes_on = if self.link.is_own() {
            "the next `holdfast run` or `holdfast up` goes on with it"
        } else {
            "it goes on without this command; `holdfast show` tells how far it is"
        };
        match end {
            End::TimedOut => CliError::NoAnswer(format!("run {run} did not end in time; {goes_on}")),
            _ => CliError::failed(format!("run {run} was left before its end; {goes_on}")),
        }
    }
}
