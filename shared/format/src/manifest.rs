//! The manifest: an artefact's small signed record (docs/format.md, section 5).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::vocabulary::Class;
use crate::{ArtefactId, ArtefactKind, Digest, ObjectKey, PackId, Record, RunId, Site, SourceName, StreamFormat, Text};

/// The signed record of an artefact: what was captured, where its bytes are, and how they are checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// All that the capture knew. Its fields stand in the manifest itself.
    #[serde(flatten)]
    pub captured: Captured,
    /// The contents object.
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
    /// The artefact.
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
    /// End of the capture.
    pub finished: Timestamp,
    /// Number of the run's attempt that brought it.
    pub attempt: u32,
    /// The class by which retention keeps it.
    pub class: Class,
    /// The OpenPGP profile of its packs.
    pub profile: String,
    /// Fingerprints of the certificates that its packs are sealed to.
    pub recipients: Vec<String>,
    /// Versions of the programs that took part.
    #[serde(default)]
    pub tools: BTreeMap<String, String>,
    /// The stream.
    pub stream: Stream,
    /// What this capture added to the repository.
    pub new: NewBytes,
    /// Counts of what the stream holds.
    #[serde(default)]
    pub counts: Counts,
    /// What a database is beside its dump; none for other kinds, and in manifests of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseInfo>,
    /// What a Docker volume is beside its files; none for other kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeInfo>,
}

/// The manifest before this one of the same source and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    /// Its artefact.
    pub artefact: ArtefactId,
    /// SHA-256 of its sealed manifest.
    pub sha256: Digest,
}

/// A stream's format, size and digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// What its bytes are.
    pub format: StreamFormat,
    /// Bytes.
    pub size: u64,
    /// Number of extents.
    pub extents: u64,
    /// Over every extent's length and chunk id.
    pub digest: Digest,
}

/// What a capture added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewBytes {
    /// Plaintext bytes in new packs.
    pub bytes: u64,
    /// New packs.
    pub packs: u64,
}

/// What a stream holds. Zero where it does not apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Tables of a database.
    pub tables: u64,
    /// Rows over all tables, in the dump's snapshot.
    pub rows: u64,
    /// Large objects of a database.
    pub large_objects: u64,
    /// Regular files, hard links included.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Everything else: symlinks, fifos, devices.
    pub other: u64,
    /// Things seen and not taken.
    pub skipped: u64,
    /// Files taken over from the parent unread.
    pub unread: u64,
}

/// What a database is beside its dump: `pg_dump` brings it only to who creates the database from the dump's own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseInfo {
    /// Its encoding, as the server names it: `UTF8`, `LATIN1`.
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
    /// How many may be connected; -1 for any number.
    pub connection_limit: i32,
    /// Whether it is a template.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_template: bool,
    /// Its comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<Text>,
    /// `ALTER DATABASE ... SET`, `ALTER ROLE ... IN DATABASE ... SET`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<DatabaseSetting>,
    /// Who may do what with it; none where nobody ever changed PostgreSQL's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<Vec<DatabaseGrant>>,
}

/// What a Docker volume is beside its files, and how it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeInfo {
    /// The driver that keeps it: `local`, or a plugin's name.
    pub driver: String,
    /// What was told to the driver, without what looks like a password.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The stack that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// The containers that have it mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<VolumeUser>,
    /// What happened to the containers that write to it, while it was read: `live`, `pause`, `stop`.
    pub mode: String,
    /// The volumes that it was read together with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// How it was read: `path`, `archive`.
    pub read: String,
    /// For how many milliseconds containers were quiet, if any were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_ms: Option<u64>,
}

/// A container that has a volume mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeUser {
    /// Its name.
    pub container: String,
    /// Where the volume is in it.
    pub destination: String,
    /// Whether it may write to it.
    pub writable: bool,
    /// Whether it ran when the volume was listed.
    pub running: bool,
}

/// A setting of a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseSetting {
    /// The only role for which it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Text>,
    /// Its name.
    pub name: Text,
    /// Its value, as the server keeps it: a list of names with quotes and commas.
    pub value: Text,
}

/// A privilege on a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseGrant {
    /// Who has it; none for everybody (`PUBLIC`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Text>,
    /// `CONNECT`, `CREATE`, `TEMPORARY`.
    pub privilege: String,
    /// Whether the role may grant it to others.
    #[serde(default, skip_serializing_if = "is_false")]
    pub grantable: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Where an artefact's contents are, as stored.
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
    /// The pack.
    pub id: PackId,
    /// Bytes of the sealed object.
    pub size: u64,
    /// SHA-256 of the sealed object; checked before it is decrypted.
    pub sha256: Digest,
    /// Bytes of its plaintext.
    pub plain: u32,
    /// Bytes of the plaintext that this stream uses.
    pub used: u32,
}

impl PackRef {
    /// Whether this stream still uses half of the pack or more: otherwise the next capture stores the rest anew.
    #[must_use]
    pub fn is_dense(&self) -> bool {
        u64::from(self.used) * 2 >= u64::from(self.plain)
    }
}

/// Warnings of a capture: all counted, the first ones told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warnings {
    /// How many there were.
    pub total: u64,
    /// The first of them.
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
    /// How many warnings are told in full.
    pub const TOLD: usize = 100;

    /// Adds one.
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
