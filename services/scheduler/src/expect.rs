//! Turns a request and the configuration into the expectations of a run.

use holdfast_events::{Refusal, Trigger};
use holdfast_format::{
    AskedBy, Class, Expected, ExpectedSource, Level, PlaceName, Reason, RunId, Site, SourceKind, SourceName, Steps,
};
use jiff::{SignedDuration, Timestamp};

/// The longest label, in bytes.
const LABEL_MAX: usize = 100;

/// The largest difference between the time in a requested run id and the scheduler's clock.
const CLOCKS_APART: SignedDuration = SignedDuration::from_hours(1);

/// The configuration, as far as a run's expectations depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The site of the scheduler.
    pub site: Site,
    /// All sources, in the order of the configuration.
    pub sources: Vec<KnownSource>,
    /// All targets, in the order of the configuration.
    pub targets: Vec<PlaceName>,
    /// The places for which retention is configured.
    pub retention: Vec<PlaceName>,
    /// The time limit of a run whose request sets none.
    pub timeout: SignedDuration,
    /// The janitor's grace. A run must be shorter, since packs that it refers to are kept only for this time.
    pub grace: SignedDuration,
}

/// A configured source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownSource {
    /// The source's name, the kind of worker that captures it, and its site.
    pub source: ExpectedSource,
    /// The role, which decides the types of backup that the source belongs to.
    pub role: Role,
    /// True if the source holds stacks, so that a single stack can be requested.
    pub stacks: bool,
}

/// The role of a source: it decides the types of backup that the source belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A database server: captured by `databases`, `all` and `full`.
    Database,
    /// Volumes or a directory: captured by `volumes`, `all` and `full`.
    Volume,
    /// Paths of the system: captured by `full` alone.
    System,
}

/// A run that is about to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The id of the new run.
    pub run: RunId,
    /// Time of the start.
    pub now: Timestamp,
    /// The reason for the run: a request or a schedule.
    pub reason: Reason,
    /// The requester of the run.
    pub requester: AskedBy,
    /// The class by the calendar. A class in the request overrides it.
    pub class: Class,
}

/// Returns the expectations of the run: its sources, steps, class and deadline.
///
/// # Errors
/// [`Refusal::Invalid`] if the request makes no sense for this configuration; the text says what would.
pub fn expect(trigger: &Trigger, known: &Known, start: Start) -> Result<Expected, Refusal> {
    let backup_type = match trigger.backup_type.as_str() {
        "" => "all",
        asked => asked,
    };
    present(trigger, start.now)?;
    let sources = chosen(backup_type, trigger, known)?;
    let stack = stack(trigger)?;
    if trigger.sync_offsite && known.targets.is_empty() {
        return invalid("there is no target to copy to: configure a [[target]], or ask for no off-site copy");
    }
    if trigger.verify == Some(Level::Restore) && sources.iter().any(|source| source.kind == SourceKind::Postgres) {
        return invalid(
            "databases cannot be verified to level restore: that needs a scratch PostgreSQL server, which the verifier does \
             not have. Verify to level decrypt, or choose other sources",
        );
    }
    let timeout = timeout(trigger, known)?;
    let steps = Steps {
        verify: trigger.verify,
        targets: if trigger.sync_offsite {
            known.targets.clone()
        } else {
            Vec::new()
        },
        clean: if trigger.cleanup { cleaned(known) } else { Vec::new() },
    };
    Ok(Expected {
        run: start.run,
        created: start.now,
        reason: start.reason,
        requester: start.requester,
        site: known.site.clone(),
        backup_type: backup_type.to_owned(),
        stack,
        sources,
        steps,
        class: trigger.class.unwrap_or(start.class),
        label: label(trigger)?,
        hold_until: held(trigger, start.now)?,
        fresh: trigger.fresh,
        trace: std::collections::BTreeMap::new(),
        deadline: after(start.now, timeout).ok_or_else(|| Refusal::Invalid("the timeout is too long".into()))?,
    })
}

/// Returns the first of the `unfinished` runs that captures one of the wanted sources. Runs past their deadline capture
/// nothing any more, and the wanted run itself does not count.
#[must_use]
pub(crate) fn overlaps(unfinished: &[Expected], wanted: &Expected) -> Option<RunId> {
    let now = wanted.created;
    let busy = unfinished
        .iter()
        .filter(|run| run.run != wanted.run && run.deadline > now);
    let overlapping = busy.filter(|run| run.sources.iter().any(|s| wanted.source(&s.name).is_some()));
    overlapping.map(|run| run.run).min()
}

fn invalid<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Invalid(why.into()))
}

/// Returns the requested sources, each once, in the order of the configuration.
fn chosen(backup_type: &str, trigger: &Trigger, known: &Known) -> Result<Vec<ExpectedSource>, Refusal> {
    let named = trigger.sources.as_slice();
    let roles: &[Role] = match backup_type {
        "all" => &[Role::Database, Role::Volume],
        "databases" => &[Role::Database],
        "volumes" => &[Role::Volume],
        "full" => &[Role::Database, Role::Volume, Role::System],
        other => {
            return invalid(format!(
                "{other:?} is not a backup type: use all, databases, volumes or full"
            ));
        }
    };
    if let Some(unknown) = named.iter().find(|name| known.source(name).is_none()) {
        let names = known.names(|_| true);
        return invalid(format!("there is no source {unknown}: the configuration has {names}"));
    }
    let of_type = |source: &KnownSource| roles.contains(&source.role);
    // `all` is also what a request without a type gets, so it does not forbid named sources of other types.
    let strict = matches!(backup_type, "databases" | "volumes");
    if let Some(other) = named
        .iter()
        .filter_map(|name| known.source(name))
        .find(|s| strict && !of_type(s))
    {
        let name = &other.source.name;
        let names = known.names(of_type);
        return invalid(format!("source {name} is not among the {backup_type}: {names}"));
    }
    if trigger.stack.is_some() && !known.sources.iter().any(|source| source.stacks) {
        return invalid("stacks are known from a Docker engine alone: add [docker] to the configuration");
    }
    let wanted = |source: &&KnownSource| match named {
        // Only a source that holds stacks knows which volumes and databases belong to the requested one.
        [] => of_type(source) && (trigger.stack.is_none() || source.stacks),
        _ => named.contains(&source.source.name) || (trigger.stack.is_some() && source.stacks && of_type(source)),
    };
    let sources: Vec<_> = known.sources.iter().filter(wanted).map(|s| s.source.clone()).collect();
    if sources.is_empty() {
        let names = known.names(|_| true);
        return invalid(format!(
            "no source is of type {backup_type}: the configuration has {names}"
        ));
    }
    Ok(sources)
}

/// Returns the requested stack. Its name must be one that Compose allows.
fn stack(trigger: &Trigger) -> Result<Option<String>, Refusal> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    match &trigger.stack {
        Some(stack) if stack.is_empty() || stack.len() > LABEL_MAX || !stack.chars().all(fits) => {
            invalid("a stack is named by letters, digits, _ and -")
        }
        stack => Ok(stack.clone()),
    }
}

/// Checks the time in a requested run id. Runs are ordered by their ids, so the time must be the present.
fn present(trigger: &Trigger, now: Timestamp) -> Result<(), Refusal> {
    let Some(run) = trigger.run else { return Ok(()) };
    let of_run =
        Timestamp::from_millisecond(i64::try_from(run.unix_ms()).unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX);
    let apart = now.duration_since(of_run).abs();
    if apart > CLOCKS_APART {
        return invalid(format!(
            "the clocks of whoever asks and of the scheduler are {} minutes apart: set them right",
            apart.as_mins()
        ));
    }
    Ok(())
}

/// Returns the places with retention, the local one first.
fn cleaned(known: &Known) -> Vec<PlaceName> {
    let places = std::iter::once(PlaceName::local()).chain(known.targets.iter().cloned());
    places.filter(|place| known.retention.contains(place)).collect()
}

fn timeout(trigger: &Trigger, known: &Known) -> Result<SignedDuration, Refusal> {
    let timeout = trigger.timeout_seconds.map_or(known.timeout, seconds);
    if timeout.is_zero() {
        return invalid("the timeout must not be zero");
    }
    if timeout >= known.grace {
        let grace = known.grace.as_secs();
        return invalid(format!(
            "the timeout must be shorter than janitor.grace, which is {grace} seconds"
        ));
    }
    Ok(timeout)
}

fn held(trigger: &Trigger, now: Timestamp) -> Result<Option<Timestamp>, Refusal> {
    match trigger.hold_seconds.map(|hold| after(now, seconds(hold))) {
        None => Ok(None),
        Some(None) => invalid("a run cannot be held for so long: pin it instead (class pinned)"),
        Some(until) => Ok(until),
    }
}

fn label(trigger: &Trigger) -> Result<Option<String>, Refusal> {
    match &trigger.label {
        Some(label) if label.is_empty() || label.len() > LABEL_MAX || label.chars().any(char::is_control) => invalid(
            format!("the label must have 1 to {LABEL_MAX} bytes and no control characters"),
        ),
        label => Ok(label.clone()),
    }
}

fn seconds(seconds: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
}

fn after(now: Timestamp, time: SignedDuration) -> Option<Timestamp> {
    now.checked_add(time).ok()
}

impl Known {
    fn source(&self, name: &SourceName) -> Option<&KnownSource> {
        self.sources.iter().find(|known| known.source.name == *name)
    }

    fn names(&self, which: impl Fn(&KnownSource) -> bool) -> String {
        let names = self.sources.iter().filter(|s| which(s)).map(|s| s.source.name.as_str());
        match names.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "none".to_owned(),
            names => names,
        }
    }
}

impl KnownSource {
    /// Makes a source of this role. The kind follows from the role.
    #[must_use]
    pub fn new(name: SourceName, role: Role, site: Site) -> Self {
        let kind = match role {
            Role::Database => SourceKind::Postgres,
            Role::Volume | Role::System => SourceKind::Files,
        };
        let source = ExpectedSource { name, kind, site };
        Self {
            source,
            role,
            stacks: false,
        }
    }

    /// Marks the source as one that holds stacks.
    #[must_use]
    pub fn with_stacks(self) -> Self {
        Self { stacks: true, ..self }
    }
}

#[cfg(test)]
mod tests;
