//! What a run is to bring, from what was asked for and what is configured.

use holdfast_events::{Refusal, Trigger};
use holdfast_format::{
    Class, Expected, ExpectedSource, Level, PlaceName, Reason, RunId, Site, SourceKind, SourceName, Steps,
};
use jiff::{SignedDuration, Timestamp};

/// The longest label, in bytes.
const LABEL_MAX: usize = 100;

/// How far the time in a run id that is asked for may be from the scheduler's.
const CLOCKS_APART: SignedDuration = SignedDuration::from_hours(1);

/// What is configured, as far as a run's expectations depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The scheduler's site.
    pub site: Site,
    /// All sources, in the order of the configuration.
    pub sources: Vec<KnownSource>,
    /// All targets.
    pub targets: Vec<PlaceName>,
    /// The places that retention is configured for.
    pub retention: Vec<PlaceName>,
    /// How long a run may take if nothing else is asked for.
    pub timeout: SignedDuration,
    /// The janitor's grace: no run may take longer, since packs that it refers to are kept for so long only.
    pub grace: SignedDuration,
}

/// A configured source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownSource {
    /// Its name, who captures it, and where.
    pub source: ExpectedSource,
    /// Which types of backup it belongs to.
    pub role: Role,
    /// Whether it holds stacks, of which one can be asked for.
    pub stacks: bool,
}

/// Which types of backup a source belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `databases`, `all`, `full`.
    Database,
    /// `volumes`, `all`, `full`.
    Volume,
    /// `full`.
    System,
}

/// A run about to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Its id.
    pub run: RunId,
    /// When it starts.
    pub now: Timestamp,
    /// Why.
    pub reason: Reason,
    /// The class that the calendar gives it; a class that is asked for goes before.
    pub class: Class,
}

/// What the run is to bring.
///
/// # Errors
/// [`Refusal::Invalid`] if the request makes no sense for this configuration; it says what would.
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

/// The run among `unfinished` that has one of the wanted sources in hand, if there is one. Runs past their deadline
/// have nothing in hand any more; the wanted run itself, triggered again, is none.
#[must_use]
pub fn overlaps(unfinished: &[Expected], wanted: &Expected) -> Option<RunId> {
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

/// The sources asked for, each once, in the order of the configuration.
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
    // `all` is what is asked for when nothing is said; sources that are named are wanted.
    let strict = matches!(backup_type, "databases" | "volumes");
    if let Some(other) = named
        .iter()
        .filter_map(|name| known.source(name))
        .find(|s| strict && !of_type(s))
    {
        let (name, names) = (&other.source.name, known.names(of_type));
        return invalid(format!("source {name} is not among the {backup_type}: {names}"));
    }
    if trigger.stack.is_some() && !known.sources.iter().any(|source| source.stacks) {
        return invalid("stacks are known from a Docker engine alone: add [docker] to the configuration");
    }
    let wanted = |source: &&KnownSource| match named {
        // Of a stack, only who knows stacks can tell what belongs to it.
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

/// The stack that is asked for; its name is one that Compose would take.
fn stack(trigger: &Trigger) -> Result<Option<String>, Refusal> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    match &trigger.stack {
        Some(stack) if stack.is_empty() || stack.len() > LABEL_MAX || !stack.chars().all(fits) => {
            invalid("a stack is named by letters, digits, _ and -")
        }
        stack => Ok(stack.clone()),
    }
}

/// Runs are ordered by their ids, so an id that is asked for must be of the present.
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

/// The places with retention, the local one first.
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
        Some(None) => invalid("it cannot be held for so long: pin it instead (class pinned)"),
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
    /// A source of this role; who captures it follows from the role.
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

    /// The same, holding stacks.
    #[must_use]
    pub fn with_stacks(self) -> Self {
        Self { stacks: true, ..self }
    }
}

#[cfg(test)]
mod tests;
