//! `[docker]`: the volumes, databases and metadata of a Docker engine.

use std::path::PathBuf;

use holdfast_format::{Site, SourceName, word_enum};
use serde::Serialize;

use crate::reader::read_words;
use crate::table::Table;
use crate::values::period::Period;

/// The default address of an engine.
const HOST: &str = "unix:///var/run/docker.sock";

word_enum! {
    /// The way in which the files of a volume are read.
    ReadVolumes {
        /// At the volume's mount point if that can be opened, else through the engine. The default.
        Auto = "auto",
        /// At the volume's mount point.
        Path = "path",
        /// Through the engine, which reads the whole volume each time.
        Archive = "archive",
    }
}

read_words!(ReadVolumes);

/// `[docker]`: the Docker engines of all sites.
#[derive(Clone, Debug, Serialize)]
pub struct Docker {
    /// `unix:///path`, a path, or `tcp://address:port` of a socket proxy. Default: `unix:///var/run/docker.sock`.
    pub host: String,
    /// The sites that have an engine. Default: the configuration's `site`.
    pub sites: Vec<Site>,
    /// The greatest age that the newest good backup of each source may have. Default: by the schedules that capture
    /// the source.
    pub max_age: Option<Period>,
    /// The volumes to back up, and the way to read them.
    pub volumes: DockerVolumes,
    /// The path of the engine's volumes folder for the worker, if it differs from the engine's own. Default: none.
    pub volumes_dir: Option<PathBuf>,
    /// True to dump databases in containers that are labelled for it. Default: true.
    pub databases: bool,
    /// Additional folders to search for `pg_dump`, as `DIR/bin/pg_dump` or `DIR/pg_dump`. Default: none.
    pub client_dirs: Vec<PathBuf>,
    /// The sources that this section makes: of each site's databases, then of each site's volumes. With sites, they are the
    /// same on every host.
    #[serde(skip)]
    pub sources: Vec<DockerSource>,
}

/// `docker.volumes`: the volumes to back up.
#[derive(Clone, Debug, Serialize)]
pub struct DockerVolumes {
    /// Patterns of volumes to back up. Default: `["*"]`.
    pub include: Vec<String>,
    /// Patterns of volumes to leave out. Default: none.
    pub exclude: Vec<String>,
    /// True to back up volumes without a name of their own, too. Default: false.
    pub anonymous: bool,
    /// `auto`, `path` or `archive`. Default: `auto`.
    pub read: ReadVolumes,
}

/// The part of an engine that a source backs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DockerPart {
    /// Volumes, and the engine's metadata.
    Volumes,
    /// The databases in containers.
    Databases,
}

/// A source that `[docker]` makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerSource {
    /// The source's name: `docker` or `docker-postgres` at the first site; at others the name of the site is added.
    pub name: SourceName,
    /// The site of the engine.
    pub site: Site,
    /// The part of the engine.
    pub part: DockerPart,
}

impl Docker {
    /// Reads the section. `own` is the configuration's site.
    pub(crate) fn read(mut table: Table<'_>, own: &Site) -> Option<Self> {
        let host = table.or("host", HOST.to_owned());
        let known = ["unix:///", "/", "tcp://", "http://"];
        if !known.iter().any(|start| host.starts_with(start)) {
            table.fault("host", "must be unix:///path, /path or tcp://address:port");
        }
        let sites: Vec<Site> = table.or("sites", Vec::new());
        for (index, site) in sites.iter().enumerate() {
            if sites[..index].contains(site) {
                table.fault(&format!("sites[{index}]"), "must not be named twice");
            }
        }
        let max_age = table.max_age();
        let volumes_dir = table.optional("volumes_dir");
        let databases = table.or("databases", true);
        let client_dirs = table.or("client_dirs", Vec::new());
        let volumes = DockerVolumes::read(table.table("volumes"));
        let at = if sites.is_empty() {
            std::slice::from_ref(own)
        } else {
            &sites
        };
        // Databases come first, so that their dumps are as old as the volumes beside them, or a little older.
        let parts = [
            (DockerPart::Databases, "docker-postgres"),
            (DockerPart::Volumes, "docker"),
        ];
        let wanted = parts
            .iter()
            .filter(|(part, _)| databases || *part == DockerPart::Volumes);
        let sources = wanted.map(|(part, name)| sources_at(&table, at, *part, name));
        let sources: Option<Vec<Vec<DockerSource>>> = sources.collect();
        table.finish();
        Some(Self {
            host,
            max_age,
            sources: sources?.concat(),
            sites,
            volumes,
            volumes_dir,
            databases,
            client_dirs,
        })
    }
}

/// Returns the sources of one part of the engines. The source of the first site is called `name`.
fn sources_at(table: &Table<'_>, sites: &[Site], part: DockerPart, name: &str) -> Option<Vec<DockerSource>> {
    let source = |(index, site): (usize, &Site)| {
        let name = if index == 0 {
            table.named("sites", name)
        } else {
            let named = format!("{name}-{site}");
            let rule = || format!("must be shorter: `{named}` names a source, and a name has at most 63 characters");
            let parsed = named.parse();
            parsed.map_err(|_| table.fault(&format!("sites[{index}]"), rule())).ok()
        };
        Some(DockerSource {
            name: name?,
            site: site.clone(),
            part,
        })
    };
    sites.iter().enumerate().map(source).collect()
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
