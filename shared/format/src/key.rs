//! Keys of objects: the only place where a path inside a repository is built or read.

use std::fmt;

use uuid::Uuid;

use crate::{ArtefactId, PackId, PlaceName, RunId, SourceName};

/// The key of one object of a place. `Display` gives its path; [`ObjectKey::parse`] reads one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKey {
    /// Restore instructions for people; plain text.
    RestoreGuide,
    /// The restore script; plain text.
    RestoreScript,
    /// Format version, repository id, chunker parameters, chunk key.
    Repository,
    /// An issue of the roster, by its number.
    Roster(u64),
    /// The owner's word for records of revoked keys.
    Vouched(Uuid),
    /// A pack of chunks.
    Pack(PackId),
    /// The manifest of an artefact.
    Manifest(ArtefactId),
    /// The contents of an artefact.
    Contents(ArtefactId),
    /// The record of one verification.
    Verified(ArtefactId, Uuid),
    /// The expectations of a run: sources and steps.
    Expected(RunId),
    /// The artefacts that a source is to bring.
    Listed(RunId, SourceName),
    /// A source that failed as a whole.
    SourceFailed(RunId, SourceName),
    /// An artefact that failed; with the target's name if it failed only there.
    ArtefactFailed(RunId, ArtefactId, Option<PlaceName>),
    /// A step of the run itself that failed at a place: copying its restore point, cleaning.
    PlaceFailed(RunId, PlaceName),
    /// The record of a run that has its artefacts: the restore point.
    RestorePoint(RunId),
    /// The word of a syncer that a target has the restore point, and all that it names.
    Copied(RunId, PlaceName),
    /// The retention report of one place.
    Cleaned(RunId, PlaceName),
    /// The end of a run, once all its steps are done.
    Finished(RunId),
    /// A run kept until a date.
    Hold(RunId),
    /// A run given up by retention.
    Tombstone(RunId),
    /// A pack that nothing names any more.
    Condemned(PackId),
    /// A pack that a verification found damaged or missing.
    Damaged(PackId),
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RestoreGuide => f.write_str("RESTORE.md"),
            Self::RestoreScript => f.write_str("restore.py"),
            Self::Repository => f.write_str("repository.pgp"),
            Self::Roster(number) => write!(f, "roster/{number}"),
            Self::Vouched(id) => write!(f, "vouched/{id}"),
            Self::Pack(id) => {
                let id = id.to_string();
                write!(f, "packs/{}/{id}", &id[..2])
            }
            Self::Manifest(id) => write!(f, "artefacts/{id}/manifest"),
            Self::Contents(id) => write!(f, "artefacts/{id}/contents"),
            Self::Verified(id, uuid) => write!(f, "artefacts/{id}/verified/{uuid}"),
            Self::Expected(run) => write!(f, "runs/{run}/expected"),
            Self::Listed(run, source) => write!(f, "runs/{run}/listed/{source}"),
            Self::SourceFailed(run, source) => write!(f, "runs/{run}/failed/source.{source}"),
            Self::ArtefactFailed(run, id, None) => write!(f, "runs/{run}/failed/artefact.{id}"),
            Self::ArtefactFailed(run, id, Some(place)) => write!(f, "runs/{run}/failed/artefact.{id}.{place}"),
            Self::PlaceFailed(run, place) => write!(f, "runs/{run}/failed/place.{place}"),
            Self::RestorePoint(run) => write!(f, "runs/{run}/restore-point"),
            Self::Copied(run, place) => write!(f, "runs/{run}/copied/{place}"),
            Self::Cleaned(run, place) => write!(f, "runs/{run}/cleaned/{place}"),
            Self::Finished(run) => write!(f, "runs/{run}/finished"),
            Self::Hold(run) => write!(f, "holds/{run}"),
            Self::Tombstone(run) => write!(f, "tombstones/{run}"),
            Self::Condemned(id) => write!(f, "condemned/{id}"),
            Self::Damaged(id) => write!(f, "damaged/{id}"),
        }
    }
}

impl ObjectKey {
    /// Reads a path. Returns `None` for anything that is not the path of an object of this format, so that foreign
    /// files in a bucket are passed over and never deleted.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').collect();
        let key = match parts.as_slice() {
            ["RESTORE.md"] => Self::RestoreGuide,
            ["restore.py"] => Self::RestoreScript,
            ["repository.pgp"] => Self::Repository,
            ["roster", number] => Self::Roster(number.parse().ok()?),
            ["vouched", id] => Self::Vouched(Uuid::try_parse(id).ok()?),
            ["packs", _, id] => Self::Pack(id.parse().ok()?),
            ["artefacts", id, "manifest"] => Self::Manifest(id.parse().ok()?),
            ["artefacts", id, "contents"] => Self::Contents(id.parse().ok()?),
            ["artefacts", id, "verified", uuid] => Self::Verified(id.parse().ok()?, Uuid::try_parse(uuid).ok()?),
            ["runs", run, "expected"] => Self::Expected(run.parse().ok()?),
            ["runs", run, "listed", source] => Self::Listed(run.parse().ok()?, source.parse().ok()?),
            ["runs", run, "failed", subject] => Self::parse_failed(run.parse().ok()?, subject)?,
            ["runs", run, "restore-point"] => Self::RestorePoint(run.parse().ok()?),
            ["runs", run, "copied", place] => Self::Copied(run.parse().ok()?, place.parse().ok()?),
            ["runs", run, "cleaned", place] => Self::Cleaned(run.parse().ok()?, place.parse().ok()?),
            ["runs", run, "finished"] => Self::Finished(run.parse().ok()?),
            ["holds", run] => Self::Hold(run.parse().ok()?),
            ["tombstones", run] => Self::Tombstone(run.parse().ok()?),
            ["condemned", id] => Self::Condemned(id.parse().ok()?),
            ["damaged", id] => Self::Damaged(id.parse().ok()?),
            _ => return None,
        };
        (key.to_string() == path).then_some(key)
    }

    fn parse_failed(run: RunId, subject: &str) -> Option<Self> {
        let parts: Vec<&str> = subject.split('.').collect();
        Some(match parts.as_slice() {
            ["source", name] => Self::SourceFailed(run, name.parse().ok()?),
            ["artefact", id] => Self::ArtefactFailed(run, id.parse().ok()?, None),
            ["artefact", id, place] => Self::ArtefactFailed(run, id.parse().ok()?, Some(place.parse().ok()?)),
            ["place", name] => Self::PlaceFailed(run, name.parse().ok()?),
            _ => return None,
        })
    }

    /// Tells whether the object is stored in the clear.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::RestoreGuide | Self::RestoreScript)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_key_reads_back() {
        let run = RunId::new(1, [1; 10]);
        let artefact = ArtefactId::from_bytes([7; 16]);
        let pack = PackId::from_bytes([0xc3; 32]);
        let place: PlaceName = "s3".parse().unwrap();
        let source: SourceName = "main".parse().unwrap();
        let keys = [
            ObjectKey::RestoreGuide,
            ObjectKey::RestoreScript,
            ObjectKey::Repository,
            ObjectKey::Roster(12),
            ObjectKey::Vouched(Uuid::from_u128(9)),
            ObjectKey::Pack(pack),
            ObjectKey::Manifest(artefact),
            ObjectKey::Contents(artefact),
            ObjectKey::Verified(artefact, Uuid::from_u128(5)),
            ObjectKey::Expected(run),
            ObjectKey::Listed(run, source.clone()),
            ObjectKey::SourceFailed(run, source),
            ObjectKey::ArtefactFailed(run, artefact, None),
            ObjectKey::ArtefactFailed(run, artefact, Some(place.clone())),
            ObjectKey::PlaceFailed(run, place.clone()),
            ObjectKey::RestorePoint(run),
            ObjectKey::Copied(run, place.clone()),
            ObjectKey::Cleaned(run, place),
            ObjectKey::Finished(run),
            ObjectKey::Hold(run),
            ObjectKey::Tombstone(run),
            ObjectKey::Condemned(pack),
            ObjectKey::Damaged(pack),
        ];
        for key in keys {
            assert_eq!(ObjectKey::parse(&key.to_string()), Some(key));
        }
    }

    #[test]
    fn foreign_paths_are_no_keys() {
        let pack = PackId::from_bytes([0xc3; 32]);
        for path in [
            "",
            "packs",
            "packs/00/zz",
            &format!("packs/00/{pack}"),
            "runs/x/expected",
            "RESTORE.md~",
            "roster/01",
            "roster/-1",
        ] {
            assert_eq!(ObjectKey::parse(path), None, "{path}");
        }
        assert_eq!(ObjectKey::parse(&format!("packs/c3/{pack}#1")), None);
    }
}
