//! `[docker]`: the volumes, databases and metadata of a Docker engine.

use std::path::PathBuf;

use serde::Serialize;

use crate::choice::choice;
use crate::table::Table;

/// Where an engine usually listens.
const HOST: &str = "unix:///var/run/docker.sock";

choice! {
    /// How the files of a volume are read.
    ReadVolumes {
        /// At its mount point where that can be opened, else through the engine. The default.
        Auto = "auto",
        /// At its mount point.
        Path = "path",
        /// Through the engine, which reads all of it each time.
        Archive = "archive",
    }
}

/// `[docker]`
#[derive(Clone, Debug, Serialize)]
pub struct Docker {
    /// `unix:///path`, a path, or `tcp://address:port` of a socket proxy. Default: `unix:///var/run/docker.sock`.
    pub host: String,
    /// The sites that have an engine. Default: the configuration's `site`.
    pub sites: Vec<String>,
    /// Which volumes, and how.
    pub volumes: DockerVolumes,
    /// Where the engine's volumes folder is seen by the worker, if not where the engine says. Default: none.
    pub volumes_dir: Option<PathBuf>,
    /// Whether databases are dumped in containers that are labelled so. Default: true.
    pub databases: bool,
    /// Further places to look for `pg_dump`: `DIR/bin/pg_dump` or `DIR/pg_dump`. Default: none.
    pub client_dirs: Vec<PathBuf>,
}

/// `docker.volumes`
#[derive(Clone, Debug, Serialize)]
pub struct DockerVolumes {
    /// Patterns of volumes to take. Default: `["*"]`.
    pub include: Vec<String>,
    /// Patterns of volumes to leave out. Default: none.
    pub exclude: Vec<String>,
    /// Also take those without a name of their own. Default: false.
    pub anonymous: bool,
    /// `auto`, `path` or `archive`. Default: `auto`.
    pub read: ReadVolumes,
}

/// What a source brings of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DockerPart {
    /// Volumes and metadata.
    Volumes,
    /// Databases in containers.
    Databases,
}

/// A source that `[docker]` makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerSource {
    /// Its name: `docker` and `docker-postgres` at the first site, elsewhere with the site's name behind it.
    pub name: String,
    /// The site.
    pub site: String,
    /// What it brings.
    pub part: DockerPart,
}

impl Docker {
    pub(crate) fn read(mut table: Table<'_>) -> Option<Self> {
        let host = table.or("host", HOST.to_owned());
        let known = ["unix:///", "/", "tcp://", "http://"];
        if !known.iter().any(|start| host.starts_with(start)) {
            table.fault("host", "must be unix:///path, /path or tcp://address:port");
        }
        let sites: Vec<String> = table.or("sites", Vec::new());
        let tokens: Vec<Option<String>> = sites.into_iter().map(|site| table.token("sites", site)).collect();
        let volumes_dir = table.optional("volumes_dir");
        let databases = table.or("databases", true);
        let client_dirs = table.or("client_dirs", Vec::new());
        let volumes = DockerVolumes::read(table.table("volumes"));
        table.finish();
        Some(Self {
            host,
            sites: tokens.into_iter().collect::<Option<_>>()?,
            volumes,
            volumes_dir,
            databases,
            client_dirs,
        })
    }

    /// The sources that it makes; if it names no sites, for the configuration's own. With sites they are the same on every host.
    #[must_use]
    pub fn sources(&self, own: &str) -> Vec<DockerSource> {
        let own_alone = [own.to_owned()];
        let sites = if self.sites.is_empty() {
            &own_alone[..]
        } else {
            &self.sites
        };
        let source = |site: &String, part, name: &str| DockerSource {
            name: if sites.first() == Some(site) {
                name.to_owned()
            } else {
                format!("{name}-{site}")
            },
            site: site.clone(),
            part,
        };
        let volumes = sites.iter().map(|site| source(site, DockerPart::Volumes, "docker"));
        let databases = sites
            .iter()
            .filter(|_| self.databases)
            .map(|site| source(site, DockerPart::Databases, "docker-postgres"));
        // Databases first: their dumps are of the same moment as the volumes beside them, or a little older.
        databases.chain(volumes).collect()
    }
}

impl DockerVolumes {
    fn read(mut table: Table<'_>) -> Self {
        let volumes = Self {
            include: table.globs("include", &["*"]),
            exclude: table.globs("exclude", &[]),
            anonymous: table.or("anonymous", false),
            read: table.or("read", ReadVolumes::Auto),
        };
        table.finish();
        volumes
    }
}
