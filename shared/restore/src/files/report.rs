//! The result of a restore of files.

use holdfast_format::ObjectKey;

/// The number of entries of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCounts {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Further names of files.
    pub hardlinks: u64,
    /// Fifos and devices.
    pub other: u64,
    /// Bytes of regular files, holes included.
    pub bytes: u64,
}

/// The result of a restore of files; of a dry run, what would be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesReport {
    /// The entries that are selected.
    pub selected: FileCounts,
    /// Packs to be read for it.
    pub packs: u64,
    /// The sealed bytes of the packs.
    pub sealed_bytes: u64,
    /// True if owners were left alone although they were asked for: only root can set them.
    pub owners_left: bool,
    /// The problems, at most 1000.
    pub problems: Vec<Problem>,
    /// The number of problems.
    pub total_problems: u64,
    /// The number of entries that are not there, or are not what was captured.
    pub lost: u64,
}

/// Something that did not go well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The path in the artefact, escaped for people.
    pub path: String,
    /// The problem, for people.
    pub problem: String,
    /// The object at fault, if the repository is.
    pub object: Option<ObjectKey>,
    /// True if the entry is not there; else only attributes of it are not as they should be.
    pub lost: bool,
}
