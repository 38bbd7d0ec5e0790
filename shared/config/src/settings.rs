//! The whole configuration: how to find and load it, and the rules that concern several sections.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use holdfast_format::{BusUser, PlaceName, Site, SourceName};
use serde::Serialize;

use crate::defined_names::DefinedNames;
use crate::error::{ConfigError, Fault};
use crate::layers;
use crate::reader::Context;
use crate::secret_section::SecretSection;
use crate::sections::directory::Directory;
use crate::sections::docker::{Docker, DockerSource};
use crate::sections::encryption::Encryption;
use crate::sections::janitor::Janitor;
use crate::sections::nats::Nats;
use crate::sections::postgres::Postgres;
use crate::sections::repository::Repository;
use crate::sections::requester::Requester;
use crate::sections::retention::{self, Retention};
use crate::sections::schedule::Schedule;
use crate::sections::staging::Staging;
use crate::sections::system::System;
use crate::sections::target::Target;
use crate::sections::telemetry::Telemetry;
use crate::sections::verifier::Verifier;
use crate::sections::workers::Workers;
use crate::table::Table;
use crate::values::period::Period;

/// The files that [`Settings::find`] looks for if none is named.
pub(crate) const DEFAULT_FILES: [&str; 2] = ["holdfast.toml", "/etc/holdfast/holdfast.toml"];

/// The configuration in force. It is valid, as far as that can be told without the network.
///
/// Every path is absolute (relative ones start from the file's folder), and every reference to another section is
/// resolved.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// The site that this host's workers serve. Default: the host's name in lower case.
    pub site: Site,
    /// The folder for data that must survive a restart. Default: `/var/lib/holdfast`.
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
    /// `[[requester]]`
    pub requester: Vec<Requester>,
    /// `[[schedule]]`
    pub schedule: Vec<Schedule>,
    /// `[[target]]`
    pub target: Vec<Target>,
    /// `[retention.<place>]`
    pub retention: BTreeMap<PlaceName, Retention>,
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
    /// Reads the file at `path`, applies `env` over it, and reads every secret.
    ///
    /// `env` is [`Settings::environment`]. It is an argument so that tests need no global state.
    ///
    /// # Errors
    /// All faults that were found.
    pub fn load(path: &Path, env: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        Self::load_for(path, env, SecretSection::ALL)
    }

    /// Reads the configuration as [`Settings::load`] does, but only the secrets of the named sections. Those of the
    /// others are `None`.
    ///
    /// A service names the sections that it needs. So it neither holds nor requires the secrets of others, whose files
    /// are often mounted into one container alone.
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

    /// Returns the environment of this process, without the variables that are not UTF-8.
    #[must_use]
    pub fn environment() -> BTreeMap<String, String> {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// Returns the file to load: `explicit` (from `--config`), else `./holdfast.toml`, else
    /// `/etc/holdfast/holdfast.toml`.
    ///
    /// # Errors
    /// If there is no such file.
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
        let site = root.optional("site").or_else(|| host_site(&root))?;
        let state_dir = root.or("state_dir", PathBuf::from("/var/lib/holdfast"));
        let repository = Repository::read(root.table("repository"));
        let encryption = Encryption::read(root.table("encryption"));
        let staging = Staging::read(root.table("staging"));
        let nats = Nats::read(root.table("nats"));
        let sources = Sources::read(&mut root, &site);
        let known = sources.known();
        let target: Vec<Option<Target>> = root.tables("target").into_iter().map(Target::read).collect();
        let schedule = root.tables("schedule").into_iter();
        let schedule: Vec<Option<Schedule>> = schedule
            .map(|table| Schedule::read(table, &known, !target.is_empty()))
            .collect();
        let requester: Vec<Option<Requester>> = root.tables("requester").into_iter().map(Requester::read).collect();
        let retention = retention::read(root.table("retention"), &places(&target));
        let verifier = Verifier::read(root.table("verifier"));
        let janitor = Janitor::read(root.table("janitor"));
        let telemetry = Telemetry::read(root.table("telemetry"));
        let workers = Workers::read(root.table("workers"));
        let cx = root.cx;
        root.finish();
        let settings = Self {
            site,
            state_dir,
            repository: repository?,
            encryption: encryption?,
            staging,
            nats,
            postgres: all(sources.postgres)?,
            directory: all(sources.directory)?,
            docker: section(sources.docker)?,
            system: section(sources.system)?,
            requester: all(requester)?,
            schedule: all(schedule)?,
            target: all(target)?,
            retention,
            verifier,
            janitor,
            telemetry,
            workers,
        };
        settings.check(cx);
        Some(settings)
    }

    /// Checks the rules that concern several sections.
    fn check(&self, cx: &Context<'_>) {
        let postgres = keys("postgres", &self.postgres, |source| source.name.as_str());
        let directory = keys("directory", &self.directory, |source| source.name.as_str());
        let system = self.system.iter().map(|s| ("system.name".to_owned(), s.name.as_str()));
        let docker = self.docker_sources().iter();
        let docker = docker.map(|source| ("docker".to_owned(), source.name.as_str()));
        unique(cx, "source", postgres.chain(directory).chain(system).chain(docker));
        unique(
            cx,
            "schedule",
            keys("schedule", &self.schedule, |schedule| schedule.name.as_str()),
        );
        unique(
            cx,
            "target",
            keys("target", &self.target, |target| target.name.as_str()),
        );
        unique(
            cx,
            "requester",
            keys("requester", &self.requester, |requester| requester.name.as_str()),
        );
        self.check_places(cx);
        for (index, schedule) in self.schedule.iter().enumerate() {
            // Condemned packs wait for the grace, so that no run can still refer to them.
            if schedule.timeout >= self.janitor.grace {
                cx.fault(
                    &format!("schedule[{index}].timeout"),
                    "must be shorter than janitor.grace",
                );
            }
        }
    }

    /// Checks that each target is a place of its own. A copy in another place's folder is no copy, and the retention of
    /// that place would delete it.
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

    /// Returns all configured sources (PostgreSQL servers, directories, Docker engines, the system), each with the site
    /// whose workers capture it: its own, else the configuration's.
    pub fn sources(&self) -> impl Iterator<Item = (&SourceName, &Site)> {
        let postgres = self.postgres.iter().map(|s| (&s.name, s.site.as_ref()));
        let directory = self.directory.iter().map(|s| (&s.name, s.site.as_ref()));
        let docker = self.docker_sources().iter().map(|s| (&s.name, Some(&s.site)));
        let system = self.system.iter().map(|s| (&s.name, s.site.as_ref()));
        let all = postgres.chain(directory).chain(docker).chain(system);
        all.map(|(name, site)| (name, site.unwrap_or(&self.site)))
    }

    /// The greatest age that is set for the newest good backup of a source.
    #[must_use]
    pub fn max_age(&self, source: &SourceName) -> Option<Period> {
        let postgres = self.postgres.iter().map(|s| (&s.name, s.max_age));
        let directory = self.directory.iter().map(|s| (&s.name, s.max_age));
        let system = self.system.iter().map(|s| (&s.name, s.max_age));
        let docker = self
            .docker
            .iter()
            .flat_map(|d| d.sources.iter().map(|s| (&s.name, d.max_age)));
        let mut all = postgres.chain(directory).chain(docker).chain(system);
        all.find(|(name, _)| *name == source).and_then(|(_, age)| age)
    }

    /// Returns all folders that `[[postgres]]` sections name for PostgreSQL's programs, sorted.
    #[must_use]
    pub fn client_dirs(&self) -> Vec<PathBuf> {
        let mut dirs: Vec<PathBuf> = self
            .postgres
            .iter()
            .flat_map(|server| server.client_dirs.clone())
            .collect();
        dirs.sort();
        dirs.dedup();
        dirs
    }

    /// Returns the sources of `[docker]`.
    #[must_use]
    pub fn docker_sources(&self) -> &[DockerSource] {
        self.docker.as_ref().map_or(&[], |docker| &docker.sources)
    }

    /// Returns the site whose workers capture the named source.
    #[must_use]
    pub fn site_of(&self, source: &SourceName) -> Option<&Site> {
        let found = self.sources().find(|(name, _)| *name == source);
        found.map(|(_, site)| site)
    }

    /// Returns the folder for data of one service that must survive a restart, and that no other service is to write to.
    #[must_use]
    pub fn state_of(&self, service: &str) -> PathBuf {
        self.state_dir.join(service)
    }

    /// Returns what a user of NATS may ask for; `None` for a user who may ask for nothing.
    #[must_use]
    pub fn requester(&self, user: &BusUser) -> Option<Requester> {
        let named = self.requester.iter().find(|requester| requester.name == *user);
        named.cloned().or_else(|| Requester::unnamed(user))
    }

    /// Returns the target of this name.
    #[must_use]
    pub fn target(&self, name: &PlaceName) -> Option<&Target> {
        self.target.iter().find(|target| target.name == *name)
    }

    /// Returns the retention of a place: `local` or a target's name. `None` means that nothing is ever deleted there.
    #[must_use]
    pub fn retention(&self, place: &PlaceName) -> Option<&Retention> {
        self.retention.get(place)
    }
}

/// The sections that define sources, as they were read. `None` stands for one that is at fault.
struct Sources {
    postgres: Vec<Option<Postgres>>,
    directory: Vec<Option<Directory>>,
    docker: Option<Option<Docker>>,
    system: Option<Option<System>>,
}

impl Sources {
    /// Reads the sections. `own` is the configuration's site.
    fn read(root: &mut Table<'_>, own: &Site) -> Self {
        Self {
            postgres: root.tables("postgres").into_iter().map(Postgres::read).collect(),
            directory: root.tables("directory").into_iter().map(Directory::read).collect(),
            docker: root.optional_table("docker").map(|table| Docker::read(table, own)),
            system: root.optional_table("system").map(System::read),
        }
    }

    fn known(&self) -> DefinedNames<SourceName> {
        let postgres = self.postgres.iter().flatten().map(|source| &source.name);
        let directory = self.directory.iter().flatten().map(|source| &source.name);
        let docker = self.docker.iter().flatten().flat_map(|docker| &docker.sources);
        let docker = docker.map(|source| &source.name);
        let system = self.system.iter().flatten().map(|source| &source.name);
        let names = postgres.chain(directory).chain(docker).chain(system).cloned().collect();
        let at_fault = self.postgres.iter().any(Option::is_none)
            || self.directory.iter().any(Option::is_none)
            || matches!(self.docker, Some(None))
            || matches!(self.system, Some(None));
        DefinedNames::new(names, !at_fault)
    }
}

/// Returns the places that the configuration has, the repository's own among them.
fn places(targets: &[Option<Target>]) -> DefinedNames<PlaceName> {
    let names = targets.iter().flatten().map(|target| target.name.clone());
    let names = names.chain([PlaceName::local()]).collect();
    DefinedNames::new(names, targets.iter().all(Option::is_some))
}

/// Collects the items, or returns `None` if one is missing.
fn all<T>(items: Vec<Option<T>>) -> Option<Vec<T>> {
    items.into_iter().collect()
}

/// Returns a section that may be left out (`Some(None)`), or `None` if it is at fault.
fn section<T>(section: Option<Option<T>>) -> Option<Option<T>> {
    match section {
        Some(read) => read.map(Some),
        None => Some(None),
    }
}

/// Returns the names of a list's entries, each with its key.
fn keys<'a, T>(
    list: &'static str,
    entries: &'a [T],
    name: impl Fn(&'a T) -> &'a str,
) -> impl Iterator<Item = (String, &'a str)> {
    let key = move |(index, entry)| (format!("{list}[{index}].name"), name(entry));
    entries.iter().enumerate().map(key)
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

/// Orders faults by line. Faults without a line come last, in their own order.
fn in_file_order(a: &Fault, b: &Fault) -> std::cmp::Ordering {
    a.line.unwrap_or(usize::MAX).cmp(&b.line.unwrap_or(usize::MAX))
}

/// Returns this host's name as a site, or `local` if that is impossible.
fn host_site(root: &Table<'_>) -> Option<Site> {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let short = name.split('.').next().unwrap_or_default();
    let fit = |c: char| {
        if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' {
            c
        } else {
            '-'
        }
    };
    let fitting: String = short.chars().map(fit).take(63).collect();
    let site = fitting.trim_matches('-').parse().ok();
    site.or_else(|| root.named("site", "local"))
}

#[cfg(test)]
mod tests;
