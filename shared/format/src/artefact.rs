//! Artefacts: their kinds, names and ids.

use serde::{Deserialize, Serialize};

use crate::{ArtefactId, RunId, SourceName};

/// The kind of an artefact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtefactKind {
    /// A single PostgreSQL database.
    Database,
    /// Roles and tablespaces of a PostgreSQL cluster.
    Globals,
    /// A directory treated as a volume.
    Directory,
    /// The paths of the system configuration.
    System,
    /// One Docker volume.
    Volume,
    /// The metadata of a Docker engine: containers, networks, volumes, images; and the Compose files of its stacks.
    Engine,
}

impl ArtefactKind {
    /// Every kind, in the order of their declaration.
    pub const ALL: [Self; 6] = [
        Self::Database,
        Self::Globals,
        Self::Directory,
        Self::System,
        Self::Volume,
        Self::Engine,
    ];

    /// The kinds whose stream is a tar.
    pub const FILES: [Self; 4] = [Self::Directory, Self::System, Self::Volume, Self::Engine];

    /// Returns the word for it in records, ids and output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Globals => "globals",
            Self::Directory => "directory",
            Self::System => "system",
            Self::Volume => "volume",
            Self::Engine => "engine",
        }
    }

    /// Returns the format of the stream that an artefact of this kind yields.
    #[must_use]
    pub fn stream_format(self) -> StreamFormat {
        match self {
            Self::Database => StreamFormat::PgDump,
            Self::Globals => StreamFormat::Sql,
            Self::Directory | Self::System | Self::Volume | Self::Engine => StreamFormat::Tar,
        }
    }
}

impl std::fmt::Display for ArtefactKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The format of an artefact's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamFormat {
    /// An archive as `pg_dump -Fc -Z0` writes it.
    #[serde(rename = "pg_dump")]
    PgDump,
    /// SQL text, as `pg_dumpall --globals-only` writes it.
    #[serde(rename = "sql")]
    Sql,
    /// A tar archive in the PAX format.
    #[serde(rename = "tar")]
    Tar,
}

/// One thing that a source is to bring in a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Artefact {
    /// The id, derived from run, source, kind and name.
    pub id: ArtefactId,
    pub kind: ArtefactKind,
    /// The name of the database, volume or directory, as it stands at the source.
    pub name: String,
}

impl Artefact {
    /// Makes the artefact of this name in this run. The same inputs give the same id, whoever lists.
    #[must_use]
    pub fn new(run: RunId, source: &SourceName, kind: ArtefactKind, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("holdfast 2026-11 artefact id");
        hasher.update(run.as_uuid().as_bytes());
        for part in [source.as_str(), "\0", kind.as_str(), "\0", name] {
            hasher.update(part.as_bytes());
        }
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self {
            id: ArtefactId::from_bytes(id),
            kind,
            name: name.to_owned(),
        }
    }
}
