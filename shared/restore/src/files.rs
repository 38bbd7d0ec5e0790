//! A tree of files into a directory.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use holdfast_fault::{Retry, Retryable};
use holdfast_format::{ObjectKey, StreamFormat};
use holdfast_repository::RepositoryError;

use crate::passes::lock;
use crate::progress::{Limits, Progress};
use crate::select::{NotFound, Selection};
use crate::source::Origin;
use crate::stream::StreamError;

mod attributes;
mod compare;
mod finish;
mod odd;
mod plan;
mod tree;
mod write;

pub use compare::compare_files;
pub(crate) use plan::{adopted, check_link, components};

use attributes::Xattrs;
use plan::{Plan, Target};
use tree::Tree;

/// The most problems that a report holds. The rest are counted.
const TOLD: usize = 1000;

/// Options of a restore of files.
#[derive(Clone, Copy, Debug)]
pub struct FilesOptions {
    /// Restore into a directory that is not empty, and replace what is in the way. A file is replaced once the new one is
    /// whole, and never written into; a directory that is in the way of something else is not removed.
    pub overwrite: bool,
    /// Only find out what there is to do.
    pub dry_run: bool,
    /// Restore owners. Only root can; for others nothing is tried.
    pub owners: bool,
    /// Memory and threads.
    pub limits: Limits,
}

impl Default for FilesOptions {
    /// Into an empty directory, with owners.
    fn default() -> Self {
        Self {
            overwrite: false,
            dry_run: false,
            owners: true,
            limits: Limits::default(),
        }
    }
}

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

/// Files could not be restored, or only in part.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The artefact is something else.
    #[error("artefact {artefact} holds {kind}, not files")]
    NotFiles {
        /// The artefact.
        artefact: String,
        /// The kind of the artefact.
        kind: &'static str,
    },
    /// Something is in the target already. Nothing was done.
    #[error("{} is not empty: name a new directory, or ask for it to be overwritten", path.display())]
    NotEmpty {
        /// The target.
        path: PathBuf,
    },
    /// The target cannot be used. Nothing was done.
    #[error("cannot restore into {}", path.display())]
    Target {
        /// The target.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The artefact cannot be read, or its whole is not what was captured.
    #[error("cannot read the files")]
    Stream(#[from] StreamError),
    /// The target's disk fails or is full. What was restored so far stays.
    #[error("cannot write {path}")]
    Write {
        /// The path in the artefact, escaped for people.
        path: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Names that do not fit in memory.
    #[error("the artefact has more than 4 GiB of names: restore parts of it")]
    TooMany,
}

impl Retryable for FilesError {
    fn retry(&self) -> Retry {
        match self {
            Self::Stream(source) => source.retry(),
            Self::Target { source, .. } | Self::Write { source, .. } => Retry::of_io(source),
            Self::NotFiles { .. } | Self::NotEmpty { .. } | Self::TooMany => Retry::Never,
        }
    }
}

impl FilesError {
    /// True if the restore was refused for safety: the operator may ask for it more clearly.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::NotEmpty { .. })
    }
}

impl From<RepositoryError> for FilesError {
    fn from(source: RepositoryError) -> Self {
        Self::Stream(source.into())
    }
}

impl From<NotFound> for FilesError {
    fn from(source: NotFound) -> Self {
        Self::Stream(source.into())
    }
}

/// Restores a tree, or what is selected of it, into a directory. Blocks: call it on a thread that may.
///
/// Each pack is fetched and opened once (those with data of sparse files perhaps twice), several at a time. Nothing outside
/// the target is touched, whatever the contents say: names are taken one by one below directories that are no symbolic
/// links, and links are made when all files are there. What cannot be restored (a damaged pack, a hostile name, an
/// attribute that the target does not take) is a problem in the report and stops nothing else; a file that is not whole is
/// removed again.
///
/// # Errors
/// [`FilesError`] if nothing could be done, or not to the end.
pub fn restore_files(
    origin: Origin<'_>,
    select: &Selection,
    target: &Path,
    options: FilesOptions,
    progress: &Progress,
) -> Result<FilesReport, FilesError> {
    if origin.manifest.captured.stream.format != StreamFormat::Tar {
        return Err(FilesError::NotFiles {
            artefact: origin.manifest.captured.artefact.to_string(),
            kind: origin.manifest.captured.kind.as_str(),
        });
    }
    let (plan, refused) = Plan::make(origin, select)?;
    if options.dry_run {
        return Ok(Problems::of(refused).report(&plan, origin, false));
    }
    let root = tree::open_target(target, options.overwrite)?;
    let owners = options.owners && rustix::process::geteuid().is_root();
    let job = Job {
        origin,
        plan: &plan,
        tree: Tree::new(root, &plan),
        options,
        owners,
        run: RandomState::new().build_hasher().finish(),
        progress,
        extras: Mutex::default(),
        open: Mutex::default(),
        problems: Mutex::new(Problems::of(refused)),
    };
    job.all().inspect_err(|_| job.remove_parts())?;
    let problems = job
        .problems
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let report = problems.report(&plan, origin, options.owners && !owners);
    if select.is_all() && report.lost == 0 {
        plan.into_ledger().compare(origin)?;
    }
    Ok(report)
}

/// A restore under way.
struct Job<'a> {
    origin: Origin<'a>,
    plan: &'a Plan,
    tree: Tree<'a>,
    options: FilesOptions,
    /// True if owners are set.
    owners: bool,
    /// Tells the names of parts from those of any other restore.
    run: u64,
    progress: &'a Progress,
    /// Unusual facts from the headers of entries that are not finished yet.
    extras: Mutex<HashMap<Target, Extra>>,
    /// Files whose data comes from several packs.
    open: Mutex<write::OpenFiles>,
    problems: Mutex<Problems>,
}

/// Facts from headers beyond the contents.
#[derive(Default)]
struct Extra {
    xattrs: Xattrs,
    device: (u32, u32),
}

impl Job<'_> {
    fn all(&self) -> Result<(), FilesError> {
        self.make_directories()?;
        self.write_packs()?;
        self.write_odd()?;
        self.finish()
    }

    /// Notes a problem that costs the entry.
    fn lose(&self, target: Target, problem: impl Into<String>, object: Option<ObjectKey>) {
        if let Target::Node(index) = target
            && self.plan.node(index).failed.swap(true, Ordering::Relaxed)
        {
            // Told already.
            return;
        }
        self.note(target, problem.into(), object, true);
    }

    /// Notes a problem that leaves the entry there.
    fn warn(&self, target: Target, problem: impl Into<String>, object: Option<ObjectKey>) {
        self.note(target, problem.into(), object, false);
    }

    fn note(&self, target: Target, problem: String, object: Option<ObjectKey>, lost: bool) {
        lock(&self.problems).add(|| Problem {
            path: self.plan.display(target),
            problem,
            object,
            lost,
        });
    }

    /// An error of the target: the end of it all if the disk fails, else a problem with this entry.
    fn trouble(&self, target: Target, doing: &str, source: io::Error) -> Result<(), FilesError> {
        if is_fatal(&source) {
            let path = self.plan.display(target);
            return Err(FilesError::Write { path, source });
        }
        self.lose(target, format!("cannot {doing}: {source}"), None);
        Ok(())
    }

    fn check_stopped(&self) -> Result<(), FilesError> {
        if self.progress.stopped() {
            return Err(StreamError::Stopped.into());
        }
        Ok(())
    }
}

/// True if the next file will fare no better.
fn is_fatal(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let fatal = [
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::IO,
        Errno::ROFS,
        Errno::MFILE,
        Errno::NFILE,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| fatal.iter().any(|f| f.raw_os_error() == code))
}

/// Problems of all threads.
#[derive(Default)]
struct Problems {
    first: Vec<Problem>,
    total: u64,
    lost: u64,
}

impl Problems {
    fn of(first: Vec<Problem>) -> Self {
        let mut problems = Self::default();
        for problem in first {
            problems.add(|| problem);
        }
        problems
    }

    fn add(&mut self, problem: impl FnOnce() -> Problem) {
        let problem = problem();
        self.total += 1;
        self.lost += u64::from(problem.lost);
        if self.first.len() < TOLD {
            self.first.push(problem);
        }
    }

    fn report(self, plan: &Plan, origin: Origin<'_>, owners_left: bool) -> FilesReport {
        let packs = plan.packs();
        FilesReport {
            selected: plan.counts(),
            packs: packs.len() as u64,
            sealed_bytes: packs
                .iter()
                .filter_map(|index| origin.pack(*index))
                .map(|pack| pack.size)
                .sum(),
            owners_left,
            problems: self.first,
            total_problems: self.total,
            lost: self.lost,
        }
    }
}
