//! A restore of files under way: what all its steps share.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use holdfast_format::ObjectKey;

use super::error::FilesError;
use super::options::FilesOptions;
use super::plan::{EntryTarget, FilesPlan};
use super::report::{FilesReport, Problem};
use super::tree::Tree;
use crate::passes::lock;
use crate::progress::Progress;
use crate::source::Origin;
use crate::stream::StreamError;

/// The most problems that a report holds. The rest are counted.
const TOLD: usize = 1000;

/// Extended attributes by name.
pub(super) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Open files by node, with the time at which each was last wanted.
#[derive(Default)]
pub(super) struct OpenFiles {
    pub(super) files: HashMap<u32, (Arc<File>, u64)>,
    pub(super) now: u64,
}

/// A restore under way.
pub(super) struct FilesJob<'a> {
    pub(super) origin: Origin<'a>,
    pub(super) plan: &'a FilesPlan,
    pub(super) tree: Tree<'a>,
    pub(super) options: FilesOptions,
    /// True if owners are set.
    pub(super) owners: bool,
    /// Tells the names of parts from those of any other restore.
    pub(super) run: u64,
    pub(super) progress: &'a Progress,
    /// Unusual facts from the headers of entries that are not finished yet.
    pub(super) extras: Mutex<HashMap<EntryTarget, Extra>>,
    /// Files whose data comes from several packs.
    pub(super) open: Mutex<OpenFiles>,
    pub(super) problems: Mutex<Problems>,
}

/// Facts from headers beyond the contents.
#[derive(Default)]
pub(super) struct Extra {
    pub(super) xattrs: Xattrs,
    pub(super) device: (u32, u32),
}

impl FilesJob<'_> {
    /// Notes a problem that costs the entry.
    pub(super) fn lose(&self, target: EntryTarget, problem: impl Into<String>, object: Option<ObjectKey>) {
        if let EntryTarget::Node(index) = target
            && self.plan.node(index).failed.swap(true, Ordering::Relaxed)
        {
            // Told already.
            return;
        }
        self.note(target, problem.into(), object, true);
    }

    /// Notes a problem that leaves the entry there.
    pub(super) fn warn(&self, target: EntryTarget, problem: impl Into<String>, object: Option<ObjectKey>) {
        self.note(target, problem.into(), object, false);
    }

    pub(super) fn note(&self, target: EntryTarget, problem: String, object: Option<ObjectKey>, lost: bool) {
        lock(&self.problems).add(|| Problem {
            path: self.plan.display(target),
            problem,
            object,
            lost,
        });
    }

    /// An error of the target: the end of it all if the disk fails, else a problem with this entry.
    pub(super) fn trouble(&self, target: EntryTarget, doing: &str, source: io::Error) -> Result<(), FilesError> {
        if is_fatal(&source) {
            let path = self.plan.display(target);
            return Err(FilesError::Write { path, source });
        }
        self.lose(target, format!("cannot {doing}: {source}"), None);
        Ok(())
    }

    pub(super) fn check_stopped(&self) -> Result<(), FilesError> {
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
pub(super) struct Problems {
    pub(super) first: Vec<Problem>,
    pub(super) total: u64,
    pub(super) lost: u64,
}

impl Problems {
    pub(super) fn of(first: Vec<Problem>) -> Self {
        let mut problems = Self::default();
        for problem in first {
            problems.add(|| problem);
        }
        problems
    }

    pub(super) fn add(&mut self, problem: impl FnOnce() -> Problem) {
        let problem = problem();
        self.total += 1;
        self.lost += u64::from(problem.lost);
        if self.first.len() < TOLD {
            self.first.push(problem);
        }
    }

    pub(super) fn report(self, plan: &FilesPlan, origin: Origin<'_>, owners_left: bool) -> FilesReport {
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
