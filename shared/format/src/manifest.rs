//! The manifest: an artefact's small signed record (docs/format.md, section 5).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::vocabulary::Class;
use crate::{ArtefactId, ArtefactKind, Digest, ObjectKey, PackId, Record, RunId, Site, SourceName, StreamFormat, Text};

/// The signed record of an artefact: what was captured, where its bytes are, and how they are checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The part that was known when the capture ended. Its fields stand in the manifest itself.
    #[serde(flatten)]
    pub captured: Captured,
    pub contents: ContentsRef,
    /// Every pack that the stream uses, and those that only a pre-copy used; extents name them by index.
    pub packs: Vec<PackRef>,
    /// Notes of the capture for the operator. Beside the other fields, so that manifests keep their order: it comes last.
    #[serde(default)]
    pub warnings: Warnings,
}

/// The description of a captured artefact: the part that is known before anything is sealed. A manifest and its draft
/// have it in common; a new field belongs here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Captured {
    pub artefact: ArtefactId,
    /// The run that brought it.
    pub run: RunId,
    /// The source that it belongs to.
    pub source: SourceName,
    /// Database, directory, volume and so on.
    pub kind: ArtefactKind,
    /// The database's or directory's name.
    pub name: String,
    /// The site where it was captured.
    pub site: Site,
    /// Number that grows by one with each artefact of the same source and name.
    pub sequence: u64,
    /// The artefact before this one in that sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Predecessor>,
    /// The artefact whose chunks were referenced, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ArtefactId>,
    /// Beginning of the capture: for a database, when its snapshot was taken; for files, before the first was looked at.
    pub started: Timestamp,
    /// The end of the capture.
    pub finished: Timestamp,
    /// Number of the run's attempt that brought it.
    pub attempt: u32,
    /// The class by which retention keeps it.
    pub class: Class,
    /// The OpenPGP profile of its packs.
    pub profile: String,
    /// Fingerprints of the certificates that its packs are sealed to, for people.
    pub recipients: Vec<String>,
    /// Fingerprints of the keys that every one of its packs is sealed to, sorted: encryption subkeys of those certificates.
    pub readers: Vec<String>,
    /// Versions of the programs that took part.
    #[serde(default)]
    pub tools: BTreeMap<String, String>,
    pub stream: Stream,
    /// The packs and bytes that this capture added to the repository.
    pub new: NewBytes,
    /// Counts of what the stream holds.
    #[serde(default)]
    pub counts: Counts,
    /// The properties of a database that its dump does not hold. None for other kinds, and in manifests of earlier
    /// releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseInfo>,
    /// The properties of a Docker volume that its files do not hold. None for other kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeInfo>,
}

/// The manifest before this one of the same source and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    pub artefact: ArtefactId,
    /// SHA-256 of its sealed manifest.
    pub sha256: Digest,
}

/// A stream's format, size and digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// The format of the bytes.
    pub format: StreamFormat,
    /// The length in bytes.
    pub size: u64,
    /// The number of extents.
    pub extents: u64,
    /// Over every extent's length and chunk id.
    pub digest: Digest,
}

/// The packs and bytes that a capture added to the repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewBytes {
    /// Plaintext bytes in new packs.
    pub bytes: u64,
    /// The number of new packs.
    pub packs: u64,
}

/// The numbers of things in a stream. Zero where a number does not apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    pub tables: u64,
    /// Rows over all tables, in the dump's snapshot.
    pub rows: u64,
    /// Large objects of a database.
    pub large_objects: u64,
    /// Regular files, hard links included.
    pub files: u64,
    pub directories: u64,
    /// The number of other entries: symlinks, fifos, devices.
    pub other: u64,
    /// Things seen and not taken.
    pub skipped: u64,
    /// Files taken over from the parent unread.
    pub unread: u64,
}

/// The properties of a database that its dump holds only for a restore that creates the database as `pg_dump` wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseInfo {
    /// The encoding, as the server names it: `UTF8`, `LATIN1`.
    pub encoding: String,
    /// `LC_COLLATE`.
    pub collate: Text,
    /// `LC_CTYPE`.
    pub ctype: Text,
    /// `libc`, `icu`, `builtin`; none before PostgreSQL 15, which has only the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale_provider: Option<String>,
    /// The provider's locale, unless the provider is `libc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<Text>,
    /// Collation rules beside an ICU locale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icu_rules: Option<Text>,
    /// The role that owns it.
    pub owner: Text,
    /// The most connections at a time; -1 for any number.
    pub connection_limit: i32,
    /// True if the database is a template.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_template: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<Text>,
    /// `ALTER DATABASE ... SET`, `ALTER ROLE ... IN DATABASE ... SET`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<DatabaseSetting>,
    /// The rights of roles on the database. None where nobody ever changed PostgreSQL's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<Vec<DatabaseGrant>>,
}

/// The properties of a Docker volume that its files do not hold, and the way in which it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeInfo {
    /// The driver that keeps it: `local`, or a plugin's name.
    pub driver: String,
    /// The driver's options, without those that look like a password.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The stack that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// The containers that have it mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<VolumeUser>,
    /// The treatment of the containers that write to the volume while it was read: `live`, `pause`, `stop`.
    pub mode: String,
    /// The volumes that it was read together with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The way in which the volume was read: `path`, `archive`.
    pub read: String,
    /// The milliseconds for which containers were quiet, if any were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_ms: Option<u64>,
}

/// A container that has a volume mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeUser {
    /// The container's name.
    pub container: String,
    /// The path of the volume in the container.
    pub destination: String,
    /// True if the container may write to the volume.
    pub writable: bool,
    /// True if the container ran when the volume was listed.
    pub running: bool,
}

/// A setting of a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseSetting {
    /// The only role for which it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Text>,
    pub name: Text,
    /// The value as the server keeps it: a list of names with quotes and commas.
    pub value: Text,
}

/// A privilege on a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseGrant {
    /// The role that has the privilege; none for everybody (`PUBLIC`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Text>,
    /// `CONNECT`, `CREATE`, `TEMPORARY`.
    pub privilege: String,
    /// True if the role may grant the privilege to others.
    #[serde(default, skip_serializing_if = "is_false")]
    pub grantable: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// The facts about an artefact's contents object, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentsRef {
    /// Bytes of the sealed object.
    pub size: u64,
    /// SHA-256 of the sealed object.
    pub sha256: Digest,
    /// Bytes of the JSON lines within.
    pub plain: u64,
}

/// A pack as a manifest names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackRef {
    pub id: PackId,
    /// Bytes of the sealed object.
    pub size: u64,
    /// SHA-256 of the sealed object; checked before it is decrypted.
    pub sha256: Digest,
    /// Bytes of the pack's plaintext.
    pub plain: u32,
    /// Bytes of the plaintext that this stream uses.
    pub used: u32,
}

impl PackRef {
    /// True if this stream still uses half of the pack or more. Otherwise the next capture stores the rest anew.
    #[must_use]
    pub fn is_dense(&self) -> bool {
        u64::from(self.used) * 2 >= u64::from(self.plain)
    }
}

/// Warnings of a capture: all counted, the first ones told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warnings {
    /// The number of warnings.
    pub total: u64,
    /// The first warnings, at most [`Warnings::TOLD`].
    pub first: Vec<Warning>,
}

/// One thing that the operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// A stable word: `changed`, `vanished`, `unreadable`, `socket`, `shrunken`, `empty`, ...
    pub what: String,
    /// The path or table, escaped for people.
    pub at: String,
}

impl Warnings {
    /// The number of warnings that are kept in full.
    pub const TOLD: usize = 100;

    /// Adds a warning, which is kept in full if there is room.
    pub fn add(&mut self, what: &str, at: &str) {
        self.total += 1;
        if self.first.len() < Self::TOLD {
            let at = at.chars().take(1024).collect();
            self.first.push(Warning {
                what: what.to_owned(),
                at,
            });
        }
    }
}

impl Record for Manifest {
    const KIND: &'static str = "manifest";

    fn belongs_at(&self, key: &ObjectKey) -> bool {
        *key == ObjectKey::Manifest(self.captured.artefact)
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.captured.site)
    }
}

/// Samples for tests, of this crate and of others.
#[cfg(any(test, feature = "testing"))]
#[allow(clippy::unwrap_used)]
impl Captured {
    /// A first daily capture of source `main` at `host-a`, with nothing counted and no readers. Tests change what they are
    /// about.
    #[must_use]
    pub fn sample(artefact: &crate::Artefact, run: RunId) -> Self {
        let at: Timestamp = "2026-11-24T02:00:00Z".parse().unwrap();
        Self {
            artefact: artefact.id,
            run,
            source: "main".parse().unwrap(),
            kind: artefact.kind,
            name: artefact.name.clone(),
            site: "host-a".parse().unwrap(),
            sequence: 1,
            previous: None,
            parent: None,
            started: at,
            finished: at,
            attempt: 1,
            class: Class::Daily,
            profile: "gnupg".to_owned(),
            recipients: Vec::new(),
            readers: Vec::new(),
            tools: BTreeMap::new(),
            stream: Stream {
                format: artefact.kind.stream_format(),
                size: 5,
                extents: 1,
                digest: Digest::from_bytes([0; 32]),
            },
            new: NewBytes::default(),
            counts: Counts::default(),
            database: None,
            volume: None,
        }
    }
}

#[cfg(any(test, feature = "testing"))]
impl Manifest {
    /// A manifest of [`Captured::sample`] with these contents and packs.
    #[must_use]
    pub fn sample(artefact: &crate::Artefact, run: RunId, contents: ContentsRef, packs: Vec<PackRef>) -> Self {
        Self {
            captured: Captured::sample(artefact, run),
            contents,
            packs,
            warnings: Warnings::default(),
        }
    }
}

#[cfg(test)]
mod tests;
