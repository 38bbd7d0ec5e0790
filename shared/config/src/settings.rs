//! The whole configuration: loading, finding, and the rules that span sections.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use holdfast_format::{PlaceName, Site, SourceName};
use serde::Serialize;

use crate::error::{ConfigError, Fault};
use crate::known::Known;
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
use crate::sections::retention::{self, Retention};
use crate::sections::schedule::Schedule;
use crate::sections::staging::Staging;
use crate::sections::system::System;
use crate::sections::target::Target;
use crate::sections::telemetry::Telemetry;
use crate::sections::verifier::Verifier;
use crate::sections::workers::Workers;
use crate::table::Table;

/// Where [`Settings::find`] looks when no file is named.
pub(crate) const DEFAULT_FILES: [&str; 2] = ["holdfast.toml", "/etc/holdfast/holdfast.toml"];

/// The configuration in force: valid as far as can be told without touching the network.
///
/// Every path is absolute (relative ones are taken from the file's directory), every reference to another section
/// resolved.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// The site that this host's workers serve. Default: the host's name in lower case.
    pub site: Site,
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

    /// The rules that span sections.
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
        self.check_places(cx);
        for (index, schedule) in self.schedule.iter().enumerate() {
            // Condemned packs wait out the grace so that no run can still refer to them.
            if schedule.timeout >= self.janitor.grace {
                cx.fault(
                    &format!("schedule[{index}].timeout"),
                    "must be shorter than janitor.grace",
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

    /// All configured sources (PostgreSQL servers, directories, Docker engines, the system), and the site whose workers capture
    /// each: its own, else the configuration's.
    pub fn sources(&self) -> impl Iterator<Item = (&SourceName, &Site)> {
        let postgres = self.postgres.iter().map(|s| (&s.name, s.site.as_ref()));
        let directory = self.directory.iter().map(|s| (&s.name, s.site.as_ref()));
        let docker = self.docker_sources().iter().map(|s| (&s.name, Some(&s.site)));
        let system = self.system.iter().map(|s| (&s.name, s.site.as_ref()));
        let all = postgres.chain(directory).chain(docker).chain(system);
        all.map(|(name, site)| (name, site.unwrap_or(&self.site)))
    }

    /// The sources that `[docker]` makes.
    #[must_use]
    pub fn docker_sources(&self) -> &[DockerSource] {
        self.docker.as_ref().map_or(&[], |docker| &docker.sources)
    }

    /// The site whose workers capture the named source.
    #[must_use]
    pub fn site_of(&self, source: &SourceName) -> Option<&Site> {
        let found = self.sources().find(|(name, _)| *name == source);
        found.map(|(_, site)| site)
    }

    /// The target of that name.
    #[must_use]
    pub fn target(&self, name: &PlaceName) -> Option<&Target> {
        self.target.iter().find(|target| target.name == *name)
    }

    /// The retention of a place: `local` or a target's name. `None`: nothing is ever deleted there.
    #[must_use]
    pub fn retention(&self, place: &PlaceName) -> Option<&Retention> {
        self.retention.get(place)
    }
}

/// The sections that make sources, as they were read: `None` for one at fault.
struct Sources {
    postgres: Vec<Option<Postgres>>,
    directory: Vec<Option<Directory>>,
    docker: Option<Option<Docker>>,
    system: Option<Option<System>>,
}

impl Sources {
    /// `own` is the configuration's site.
    fn read(root: &mut Table<'_>, own: &Site) -> Self {
        Self {
            postgres: root.tables("postgres").into_iter().map(Postgres::read).collect(),
            directory: root.tables("directory").into_iter().map(Directory::read).collect(),
            docker: root.optional_table("docker").map(|table| Docker::read(table, own)),
            system: root.optional_table("system").map(System::read),
        }
    }

    fn known(&self) -> Known<SourceName> {
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
        Known::new(names, !at_fault)
    }
}

/// The places that there are, with the repository's own.
fn places(targets: &[Option<Target>]) -> Known<PlaceName> {
    let names = targets.iter().flatten().map(|target| target.name.clone());
    let names = names.chain([PlaceName::local()]).collect();
    Known::new(names, targets.iter().all(Option::is_some))
}

/// All or nothing.
fn all<T>(items: Vec<Option<T>>) -> Option<Vec<T>> {
    items.into_iter().collect()
}

/// A section that may be left out; `None` if it is at fault.
fn section<T>(section: Option<Option<T>>) -> Option<Option<T>> {
    match section {
        Some(read) => read.map(Some),
        None => Some(None),
    }
}

/// The names of a list's entries, with the keys that give them.
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

/// By line within a file; what has no line keeps its order, after the rest.
fn in_file_order(a: &Fault, b: &Fault) -> std::cmp::Ordering {
    a.line.unwrap_or(usize::MAX).cmp(&b.line.unwrap_or(usize::MAX))
}

/// This host's name as a site, else `local`.
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
