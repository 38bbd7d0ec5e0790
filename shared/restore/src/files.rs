//! A tree of files into a directory.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::Path;
use std::sync::Mutex;

use holdfast_format::StreamFormat;

use crate::progress::Progress;
use crate::select::Selection;
use crate::source::Origin;

mod attributes;
mod compare;
mod directories;
mod error;
mod finish;
mod job;
mod options;
mod plan;
mod report;
mod sparse_files;
mod tree;
mod write;

pub use compare::compare_files;
pub use error::FilesError;
pub use options::FilesOptions;
pub(crate) use plan::{adopted, check_link, components};
pub use report::{FileCounts, FilesReport, Problem};

use job::{FilesJob, Problems};
use plan::FilesPlan;
use tree::{Tree, open_target};

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
    let (plan, refused) = FilesPlan::make(origin, select)?;
    if options.dry_run {
        return Ok(Problems::of(refused).report(&plan, origin, false));
    }
    let root = open_target(target, options.overwrite)?;
    let owners = options.owners && rustix::process::geteuid().is_root();
    let job = FilesJob {
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

impl FilesJob<'_> {
    fn all(&self) -> Result<(), FilesError> {
        self.make_directories()?;
        self.write_packs()?;
        self.write_sparse_files()?;
        self.finish()
    }
}
