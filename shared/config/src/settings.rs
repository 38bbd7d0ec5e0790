//! The whole configuration: loading, finding, and the rules that span sections.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::choice::choice;
use crate::error::{ConfigError, Fault};
use crate::reader::Context;
use crate::sections::directory::Directory;
use crate::sections::docker::{Docker, DockerSource};
use crate::sections::encryption::Encryption;
use crate::sections::janitor::Janitor;
use crate::sections::nats::Nats;
use crate::sections::postgres::Postgres;
use crate::sections::repository::Repository;
use crate::sections::retention::{self, Retention};
use crate::sections::schedule::Schedule;
use crate::sections::staging::Staging;
use crate::sections::system::System;
use crate::sections::target::Target;
use crate::sections::telemetry::Telemetry;
use crate::sections::verifier::Verifier;
use crate::sections::workers::Workers;
use crate::table::{Table, is_token};
use crate::{layers, suggest};

/// Where [`Settings::find`] looks when no file is named.
pub const DEFAULT_FILES: [&str; 2] = ["holdfast.toml", "/etc/holdfast/holdfast.toml"];

/// The name of the repository's own place; no target may have it.
pub const LOCAL_PLACE: &str = "local";

choice! {
    /// The sections that hold secrets: what a service names to say which it needs.
    SecretSection {
        /// Credentials of the repository's bucket.
        Repository = "repository",
        /// The pipeline key's passphrase.
        Encryption = "encryption",
        /// Credentials of the NATS server.
        Nats = "nats",
        /// Passwords of the PostgreSQL servers.
        Postgres = "postgres",
        /// Credentials of the off-site targets.
        Target = "target",
        /// The backup key's passphrase.
        Verifier = "verifier",
    }
}

/// The configuration in force: valid as far as can be told without touching the network.
///
/// Every path is absolute (relative ones are taken from the file's directory), every name a token, every reference
/// to another section resolved.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// What this host's workers serve, as a token. Default: the host's name in lower case.
    pub site: String,
    /// Where services keep what must survive a restart. Default: `/var/lib/holdfast`.
    pub state_dir: PathBuf,
    /// `[repository]`
    pub repository: Repository,
    /// `[encryption]`
    pub encryption: Encryption,
    /// `[staging]`
    pub staging: Staging,
    /// `[nats]`
    pub nats: Nats,
    /// `[[postgres]]`
    pub postgres: Vec<Postgres>,
    /// `[[directory]]`
    pub directory: Vec<Directory>,
    /// `[docker]`
    pub docker: Option<Docker>,
    /// `[system]`
    pub system: Option<System>,
    /// `[[schedule]]`
    pub schedule: Vec<Schedule>,
    /// `[[target]]`
    pub target: Vec<Target>,
    /// `[retention.<place>]`
    pub retention: BTreeMap<String, Retention>,
    /// `[verifier]`
    pub verifier: Verifier,
    /// `[janitor]`
    pub janitor: Janitor,
    /// `[telemetry]`
    pub telemetry: Telemetry,
    /// `[workers]`
    pub workers: Workers,
}

impl Settings {
    /// Reads the file at `path`, lays `env` over it and reads every secret.
    ///
    /// `env` is [`Settings::environment`], passed in so that tests need no global state.
    ///
    /// # Errors
    /// Every fault found, together.
    pub fn load(path: &Path, env: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        Self::load_for(path, env, SecretSection::ALL)
    }

    /// As [`Settings::load`], but reads only the secrets of the named sections; those of the others are `None`.
    ///
    /// A service names what it needs, so that it neither holds nor requires the secrets of others: their files are
    /// often mounted into one container alone.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load_for(
        path: &Path,
        env: &BTreeMap<String, String>,
        secrets: &[SecretSection],
    ) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let unreadable = |error: std::io::Error| ConfigError::one(&file, format!("cannot be read: {error}"));
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let absolute = std::path::absolute(path).map_err(unreadable)?;
        let dir = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        let lines = layers::lines(&file, &text)?;
        let variables = BTreeMap::new();
        let mut cx = Context {
            file,
            dir,
            lines,
            variables,
            env,
            reveal: secrets,
            faults: RefCell::default(),
        };
        let tree = layers::merge(&mut cx, &text)?;
        let settings = Self::read(Table::new(&cx, String::new(), tree));
        let mut faults = cx.faults.into_inner();
        match settings {
            Some(settings) if faults.is_empty() => Ok(settings),
            _ => {
                faults.sort_by(in_file_order);
                Err(ConfigError { faults })
            }
        }
    }

    /// This process's environment; variables that are not UTF-8 are left out.
    #[must_use]
    pub fn environment() -> BTreeMap<String, String> {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The file to load: `explicit` (from `--config`), else `./holdfast.toml`, else `/etc/holdfast/holdfast.toml`.
    ///
    /// # Errors
    /// There is no such file.
    pub fn find(explicit: Option<&Path>) -> Result<PathBuf, ConfigError> {
        if let Some(path) = explicit {
            let missing = || ConfigError::one(path.display().to_string(), "does not exist");
            return path.exists().then(|| path.to_owned()).ok_or_else(missing);
        }
        DEFAULT_FILES
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
            .ok_or_else(|| {
                let rule = "does not exist, nor does /etc/holdfast/holdfast.toml; \
                        name a file with --config or make one with `holdfast init`";
                ConfigError::one(DEFAULT_FILES[0], rule)
            })
    }

    fn read(mut root: Table<'_>) -> Option<Self> {
        let site = root
            .optional("site")
            .and_then(|site| root.token("site", site))
            .unwrap_or_else(host_site);
        let state_dir = root.or("state_dir", PathBuf::from("/var/lib/holdfast"));
        let repository = Repository::read(root.table("repository"));
        let encryption = Encryption::read(root.table("encryption"));
        let staging = Staging::read(root.table("staging"));
        let nats = Nats::read(root.table("nats"));
        let postgres = all(root.tables("postgres").into_iter().map(Postgres::read));
        let directory = all(root.tables("directory").into_iter().map(Directory::read));
        let docker = (root.has("docker"), root.table("docker"));
        let docker = docker.0.then(|| Docker::read(docker.1));
        let system = (root.has("system"), root.table("system"));
        let system = system.0.then(|| System::read(system.1));
        let target = all(root.tables("target").into_iter().map(Target::read));
        let any_target = target.as_ref().is_none_or(|target| !target.is_empty());
        let schedule = all(root
            .tables("schedule")
            .into_iter()
            .map(|table| Schedule::read(table, any_target)));
        let retention = retention::read(root.table("retention"));
        let verifier = Verifier::read(root.table("verifier"));
        let janitor = Janitor::read(root.table("janitor"));
        let telemetry = Telemetry::read(root.table("telemetry"));
        let workers = Workers::read(root.table("workers"));
        let cx = root.cx;
        root.finish();
        let system = match system {
            Some(system) => Some(system?),
            None => None,
        };
        let docker = match docker {
            Some(docker) => Some(docker?),
            None => None,
        };
        let settings = Self {
            site,
            state_dir,
            repository: repository?,
            encryption: encryption?,
            staging,
            nats: nats?,
            postgres: postgres?,
            directory: directory?,
            docker,
            system,
            schedule: schedule?,
            target: target?,
            retention,
            verifier,
            janitor,
            telemetry,
            workers,
        };
        settings.check(cx);
        Some(settings)
    }

    /// The rules that span sections.
    fn check(&self, cx: &Context<'_>) {
        let postgres = self
            .postgres
            .iter()
            .enumerate()
            .map(|(i, s)| (format!("postgres[{i}].name"), s.name.as_str()));
        let directory = self
            .directory
            .iter()
            .enumerate()
            .map(|(i, s)| (format!("directory[{i}].name"), s.name.as_str()));
        let system = self.system.iter().map(|s| ("system.name".to_owned(), s.name.as_str()));
        let docker = self.docker_sources();
        let docker = docker.iter().map(|s| ("docker".to_owned(), s.name.as_str()));
        unique(cx, "source", postgres.chain(directory).chain(system).chain(docker));
        unique(
            cx,
            "schedule",
            self.schedule
                .iter()
                .enumerate()
                .map(|(i, s)| (format!("schedule[{i}].name"), s.name.as_str())),
        );
        unique(
            cx,
            "target",
            self.target
                .iter()
                .enumerate()
                .map(|(i, t)| (format!("target[{i}].name"), t.name.as_str())),
        );
        self.check_places(cx);
        let names = self.source_names();
        let sources: Vec<&str> = names.iter().map(String::as_str).collect();
        for (index, schedule) in self.schedule.iter().enumerate() {
            for (at, source) in schedule.sources.iter().enumerate() {
                if !sources.contains(&source.as_str()) {
                    let hint = suggest::hint(source, sources.iter().copied());
                    cx.fault(
                        &format!("schedule[{index}].sources[{at}]"),
                        format!("must name a configured source{hint}"),
                    );
                }
            }
            // Condemned packs wait out the grace so that no run can still refer to them.
            if schedule.timeout >= self.janitor.grace {
                cx.fault(
                    &format!("schedule[{index}].timeout"),
                    "must be shorter than janitor.grace",
                );
            }
        }
        for place in self.retention.keys() {
            if place != LOCAL_PLACE && self.target(place).is_none() {
                let places = self
                    .target
                    .iter()
                    .map(|target| target.name.as_str())
                    .chain([LOCAL_PLACE]);
                let hint = suggest::hint(place, places);
                cx.fault(
                    &format!("retention.{place}"),
                    format!("must be `local` or the name of a target{hint}"),
                );
            }
        }
    }

    /// Each target is a copy of its own: what is kept in another place's folder is none, and retention would clean it there.
    fn check_places(&self, cx: &Context<'_>) {
        let mut places = vec![(
            "the repository".to_owned(),
            &self.repository.url,
            &self.repository.s3.endpoint,
        )];
        for (index, target) in self.target.iter().enumerate() {
            for (other, url, endpoint) in &places {
                if target.url.overlaps(url) && target.s3.endpoint == **endpoint {
                    let key = format!("target[{index}].url");
                    cx.fault(
                        &key,
                        format!("must be a place of its own: it is, holds or lies in that of {other}"),
                    );
                }
            }
            places.push((format!("target `{}`", target.name), &target.url, &target.s3.endpoint));
        }
    }

    /// The names of all configured sources: PostgreSQL servers, directories, Docker engines, the system.
    #[must_use]
    pub fn source_names(&self) -> Vec<String> {
        let postgres = self.postgres.iter().map(|source| source.name.clone());
        let directory = self.directory.iter().map(|source| source.name.clone());
        let docker = self.docker_sources().into_iter().map(|source| source.name);
        let system = self.system.iter().map(|source| source.name.clone());
        postgres.chain(directory).chain(docker).chain(system).collect()
    }

    /// The sources that `[docker]` makes.
    #[must_use]
    pub fn docker_sources(&self) -> Vec<DockerSource> {
        self.docker
            .as_ref()
            .map(|docker| docker.sources(&self.site))
            .unwrap_or_default()
    }

    /// The site whose workers capture the named source: its own, else the configuration's.
    #[must_use]
    pub fn site_of(&self, source: &str) -> Option<String> {
        if let Some(docker) = self.docker_sources().into_iter().find(|docker| docker.name == source) {
            return Some(docker.site);
        }
        let postgres = self.postgres.iter().map(|s| (&s.name, &s.site));
        let directory = self.directory.iter().map(|s| (&s.name, &s.site));
        let system = self.system.iter().map(|s| (&s.name, &s.site));
        let found = postgres
            .chain(directory)
            .chain(system)
            .find(|(name, _)| *name == source);
        found.map(|(_, site)| site.clone().unwrap_or_else(|| self.site.clone()))
    }

    /// The target of that name.
    #[must_use]
    pub fn target(&self, name: &str) -> Option<&Target> {
        self.target.iter().find(|target| target.name == name)
    }

    /// The retention of a place: `local` or a target's name. `None`: nothing is ever deleted there.
    #[must_use]
    pub fn retention(&self, place: &str) -> Option<&Retention> {
        self.retention.get(place)
    }
}

/// All or nothing, after every one was read.
fn all<T>(items: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let items: Vec<Option<T>> = items.collect();
    items.into_iter().collect()
}

fn unique<'a>(cx: &Context<'_>, noun: &str, names: impl Iterator<Item = (String, &'a str)>) {
    let mut first: BTreeMap<&str, String> = BTreeMap::new();
    for (key, name) in names {
        if let Some(other) = first.get(name) {
            cx.fault(
                &key,
                format!("must be unique: another {noun} ({other}) is named `{name}` too"),
            );
        } else {
            first.insert(name, key);
        }
    }
}

/// By line within a file; what has no line keeps its order, after the rest.
fn in_file_order(a: &Fault, b: &Fault) -> std::cmp::Ordering {
    a.line.unwrap_or(usize::MAX).cmp(&b.line.unwrap_or(usize::MAX))
}

/// This host's name as a token, else `local`.
fn host_site() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let short = name.split('.').next().unwrap_or_default();
    let fit = |c: char| {
        if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' {
            c
        } else {
            '-'
        }
    };
    let token: String = short.chars().map(fit).take(63).collect();
    let token = token.trim_matches('-').to_owned();
    if is_token(&token) { token } else { "local".to_owned() }
}

#[cfg(test)]
mod tests;
