//! The labels that users put on containers and volumes, and their meaning.
//!
//! Nothing is guessed. A label that cannot be understood is a [`LabelFault`], and the caller decides what fails because
//! of it. A label that begins with `holdfast.` and is unknown, or stands where it has no meaning, is a
//! [`LabelWarning`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use holdfast_config::{Period, nearest};
use holdfast_format::Class;
use serde::{Deserialize, Serialize};

use crate::facts::{Labels, is_name};

/// The beginning of all labels of Holdfast.
pub const PREFIX: &str = "holdfast.";

/// Marks the containers that Holdfast makes for its own use; see [`crate::helper`].
pub const HELPER: &str = "holdfast.helper";

/// The label by which Compose names the stack of a container, volume or network.
pub const PROJECT: &str = "com.docker.compose.project";

const ENABLE: &str = "holdfast.enable";
const MODE: &str = "holdfast.mode";
const GROUP: &str = "holdfast.group";
const CLASS: &str = "holdfast.class";
const STOP_TIMEOUT: &str = "holdfast.stop-timeout";
const DEPENDS_ON: &str = "holdfast.depends-on";
const BEFORE: &str = "holdfast.exec.before";
const AFTER: &str = "holdfast.exec.after";
const USER: &str = "holdfast.exec.user";
const TIMEOUT: &str = "holdfast.exec.timeout";
const ON_FAILURE: &str = "holdfast.exec.on-failure";
const POSTGRES: &str = "holdfast.postgres";
const POSTGRES_USER: &str = "holdfast.postgres.user";
const POSTGRES_DATABASE: &str = "holdfast.postgres.database";
const POSTGRES_PORT: &str = "holdfast.postgres.port";
const POSTGRES_PASSWORD_FILE: &str = "holdfast.postgres.password-file";
const POSTGRES_NETWORK: &str = "holdfast.postgres.network";

/// Labels with a meaning on volumes and on containers.
const ON_BOTH: &[&str] = &[ENABLE, MODE, GROUP, CLASS];

/// Labels with a meaning on containers alone.
const ON_CONTAINERS: &[&str] = &[
    STOP_TIMEOUT,
    DEPENDS_ON,
    BEFORE,
    AFTER,
    USER,
    TIMEOUT,
    ON_FAILURE,
    POSTGRES,
    POSTGRES_USER,
    POSTGRES_DATABASE,
    POSTGRES_PORT,
    POSTGRES_PASSWORD_FILE,
    POSTGRES_NETWORK,
];

/// The time limit of a hook whose label sets none.
const HOOK_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest time that a label may give a stop or a hook. All containers of a quiet time are down for that long.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The number of characters of a faulty value that a message shows.
const SHOWN: usize = 60;

/// The treatment of a container while a volume that it writes to is read. Ordered: the stricter mode is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The container runs on.
    #[default]
    Live,
    /// The container is frozen, and continued afterwards.
    Pause,
    /// The container is stopped, and started again.
    Stop,
}

impl Mode {
    const WORDS: [(&'static str, Self); 3] = [("live", Self::Live), ("pause", Self::Pause), ("stop", Self::Stop)];
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::WORDS.iter().find(|(_, mode)| mode == self);
        f.write_str(word.map_or("", |(word, _)| word))
    }
}

/// The consequence of a hook that fails before the quiet time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The backup of the volume fails.
    #[default]
    Fail,
    /// The volume is backed up, with a warning.
    Warn,
}

/// Shell commands that run in a container before and after it is quiet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// The command that runs before the container is made quiet.
    pub before: Option<String>,
    /// The command that runs after the container is back.
    pub after: Option<String>,
    /// The user that runs both commands; `None`: the container's own.
    pub user: Option<String>,
    /// The time limit of each command.
    pub timeout: Duration,
    /// The consequence of a failure of `before`.
    pub on_failure: OnFailure,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            before: None,
            after: None,
            user: None,
            timeout: HOOK_TIMEOUT,
            on_failure: OnFailure::Fail,
        }
    }
}

impl Hooks {
    /// True if there is no command.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.before.is_none() && self.after.is_none()
    }
}

/// The labels of a volume. A label that is not set is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VolumePolicy {
    /// Back up the volume (`true`) or leave it out (`false`).
    pub enable: Option<bool>,
    /// The treatment of containers that write to the volume.
    pub mode: Option<Mode>,
    /// The group of volumes that are read together with this one.
    pub group: Option<String>,
    /// The lowest class that a backup of the volume may get.
    pub class: Option<Class>,
}

/// The labels of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContainerPolicy {
    /// Labels that apply to the volumes of the container.
    pub volume: VolumePolicy,
    /// The time that the container may take to stop.
    pub stop_timeout: Option<Duration>,
    /// Names of containers, or of services of the same stack, that the container depends on.
    pub depends_on: Vec<String>,
    /// The commands to run before and after a quiet time.
    pub hooks: Hooks,
    /// Labels on the databases in the container, if it is marked as PostgreSQL.
    pub postgres: Option<PostgresPolicy>,
}

/// The labels of a PostgreSQL container. They override its environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PostgresPolicy {
    /// The role to connect as.
    pub user: Option<String>,
    /// The database to connect to first.
    pub database: Option<String>,
    /// The port in the container.
    pub port: Option<u16>,
    /// The file in the container that holds the password.
    pub password_file: Option<String>,
    /// The network to reach the server by.
    pub network: Option<String>,
}

/// The result of reading labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Understood<P> {
    /// The labels that could be read. One with a fault counts as not set.
    pub policy: P,
    /// The labels that cannot be understood.
    pub faults: Vec<LabelFault>,
    /// The labels that have no effect.
    pub warnings: Vec<LabelWarning>,
}

/// A label whose value cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("label {label}: {value:?} {rule}")]
pub struct LabelFault {
    pub label: &'static str,
    /// The label's value, shortened to 60 characters.
    pub value: String,
    /// A rule for the value, to be read after it: `must be ...`.
    pub rule: String,
}

impl LabelFault {
    /// True if the label concerns the container's databases alone.
    #[must_use]
    pub fn is_of_postgres(&self) -> bool {
        self.label.starts_with(POSTGRES)
    }
}

/// The reason why a label has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelWarning {
    /// No label of this name is known.
    Unknown {
        label: String,
        /// The most similar name of a known label.
        nearest: Option<&'static str>,
    },
    /// The label has a meaning on containers alone, and stands on a volume.
    OnVolume { label: &'static str },
    /// The label has an effect only together with `holdfast.postgres=true`.
    WithoutPostgres { label: &'static str },
}

impl fmt::Display for LabelWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { label, nearest } => {
                write!(f, "label {:?} is unknown", cut(label))?;
                nearest.map_or(Ok(()), |near| write!(f, "; did you mean {near}?"))
            }
            Self::OnVolume { label } => write!(f, "label {label} has no meaning on a volume"),
            Self::WithoutPostgres { label } => write!(f, "label {label} has no effect without {POSTGRES}=true"),
        }
    }
}

/// Reads the labels of a volume.
#[must_use]
pub(crate) fn of_volume(labels: &Labels) -> Understood<VolumePolicy> {
    let mut reader = Reader::new(labels);
    let policy = reader.volume_policy();
    for label in ours(labels) {
        if let Some(known) = ON_CONTAINERS.iter().find(|known| **known == label) {
            reader.warnings.push(LabelWarning::OnVolume { label: known });
        } else if !ON_BOTH.contains(&label) {
            reader.unknown(label);
        }
    }
    reader.understood(policy)
}

/// Reads the labels of a container.
#[must_use]
pub(crate) fn of_container(labels: &Labels) -> Understood<ContainerPolicy> {
    let mut reader = Reader::new(labels);
    let policy = ContainerPolicy {
        volume: reader.volume_policy(),
        stop_timeout: reader.period(STOP_TIMEOUT),
        depends_on: reader.depends_on(),
        hooks: reader.hooks(),
        postgres: reader.postgres(),
    };
    for label in ours(labels).filter(|label| *label != HELPER) {
        if !ON_BOTH.contains(&label) && !ON_CONTAINERS.contains(&label) {
            reader.unknown(label);
        }
    }
    reader.understood(policy)
}

fn ours(labels: &Labels) -> impl Iterator<Item = &str> {
    labels
        .keys()
        .map(String::as_str)
        .filter(|label| label.starts_with(PREFIX))
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(SHOWN).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

struct Reader<'a> {
    labels: &'a Labels,
    faults: Vec<LabelFault>,
    warnings: Vec<LabelWarning>,
}

impl<'a> Reader<'a> {
    fn new(labels: &'a Labels) -> Self {
        Self {
            labels,
            faults: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn understood<P>(self, policy: P) -> Understood<P> {
        Understood {
            policy,
            faults: self.faults,
            warnings: self.warnings,
        }
    }

    fn unknown(&mut self, label: &str) {
        let known = ON_BOTH.iter().chain(ON_CONTAINERS).copied();
        let nearest = nearest(label, known);
        self.warnings.push(LabelWarning::Unknown {
            label: label.to_owned(),
            nearest,
        });
    }

    /// Returns the label's value as `read` understands it. If `read` returns `None`, adds a fault with the text of
    /// `rule`.
    fn value<T>(
        &mut self,
        label: &'static str,
        rule: impl FnOnce(&str) -> String,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.labels.get(label)?;
        let understood = read(value);
        if understood.is_none() {
            self.faults.push(LabelFault {
                label,
                value: cut(value),
                rule: rule(value),
            });
        }
        understood
    }

    fn word<T: Copy>(&mut self, label: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let rule = |value: &str| {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            let near = nearest(value, known.iter().copied());
            let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            format!("must be one of {}{hint}", known.join(", "))
        };
        self.value(label, rule, |value| {
            let found = words.iter().find(|(word, _)| *word == value);
            found.map(|(_, meaning)| *meaning)
        })
    }

    fn flag(&mut self, label: &'static str) -> Option<bool> {
        self.word(label, &[("true", true), ("false", false)])
    }

    fn period(&mut self, label: &'static str) -> Option<Duration> {
        let rule = |_: &str| "must be a time with a unit, such as 30s or 5m, of at most a day".to_owned();
        self.value(label, rule, |value| {
            let period = Period::from_str(value).ok()?.as_std();
            (period <= LONGEST).then_some(period)
        })
    }

    fn name(&mut self, label: &'static str, what: &str) -> Option<String> {
        let rule = |_: &str| format!("must be {what}: letters, digits, and after the first of them also _ . -");
        self.value(label, rule, |value| is_name(value).then(|| value.to_owned()))
    }

    fn text(&mut self, label: &'static str) -> Option<String> {
        let rule = |_: &str| "must not be empty, nor hold a NUL".to_owned();
        self.value(label, rule, |value| {
            let good = !value.trim().is_empty() && !value.contains('\0');
            good.then(|| value.to_owned())
        })
    }

    fn volume_policy(&mut self) -> VolumePolicy {
        VolumePolicy {
            enable: self.flag(ENABLE),
            mode: self.word(MODE, &Mode::WORDS),
            group: self.name(GROUP, "a name"),
            class: {
                let words: Vec<_> = Class::ALL.iter().map(|class| (class.as_str(), *class)).collect();
                self.word(CLASS, &words)
            },
        }
    }

    fn depends_on(&mut self) -> Vec<String> {
        let rule = |_: &str| "must be names of containers or services, parted by commas".to_owned();
        let names = self.value(DEPENDS_ON, rule, |value| {
            let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
            let names: Vec<_> = names.map(str::to_owned).collect();
            names.iter().all(|name| is_name(name)).then_some(names)
        });
        names.unwrap_or_default()
    }

    fn hooks(&mut self) -> Hooks {
        let on_failure = [("fail", OnFailure::Fail), ("warn", OnFailure::Warn)];
        Hooks {
            before: self.text(BEFORE),
            after: self.text(AFTER),
            user: self.text(USER),
            timeout: self.hook_timeout(),
            on_failure: self.word(ON_FAILURE, &on_failure).unwrap_or_default(),
        }
    }

    fn hook_timeout(&mut self) -> Duration {
        let timeout = self.period(TIMEOUT);
        if timeout == Some(Duration::ZERO) {
            let rule = "must be longer than nothing".to_owned();
            self.value::<()>(TIMEOUT, |_| rule, |_| None);
        }
        timeout.unwrap_or(HOOK_TIMEOUT)
    }

    fn postgres(&mut self) -> Option<PostgresPolicy> {
        let marked = self.flag(POSTGRES);
        let policy = PostgresPolicy {
            user: self.text(POSTGRES_USER),
            database: self.text(POSTGRES_DATABASE),
            port: self.port(),
            password_file: self.path(POSTGRES_PASSWORD_FILE),
            network: self.name(POSTGRES_NETWORK, "a network's name"),
        };
        if marked == Some(true) {
            return Some(policy);
        }
        if !self.labels.contains_key(POSTGRES) {
            let idle = ON_CONTAINERS
                .iter()
                .filter(|label| label.starts_with("holdfast.postgres."));
            let idle = idle.filter(|label| self.labels.contains_key(**label));
            self.warnings
                .extend(idle.map(|label| LabelWarning::WithoutPostgres { label }));
        }
        None
    }

    fn port(&mut self) -> Option<u16> {
        let rule = |_: &str| "must be a port: 1 to 65535".to_owned();
        self.value(POSTGRES_PORT, rule, |value| value.parse().ok().filter(|port| *port > 0))
    }

    fn path(&mut self, label: &'static str) -> Option<String> {
        let rule = |_: &str| "must be an absolute path in the container".to_owned();
        self.value(label, rule, |value| {
            let good = value.starts_with('/') && !value.contains('\0');
            good.then(|| value.to_owned())
        })
    }
}

#[cfg(test)]
mod tests;
