//! Directories and files.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use holdfast_format::ArtefactKind;
use holdfast_restore::{ExistingFiles, FilesOptions, FilesReport, Selection, VolumeTarget, restore_files};
use serde::Serialize;

use super::failures::{files_error, volume_error};
use super::{Attended, Common, Opened, SourceArgs, docker};
use crate::output::Output;
use crate::{CliError, Exit, Global, human};

/// The target, and how to write there.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// The directory to restore into, or docker:NAME for a Docker volume; made if it is missing.
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
    /// Restore into a directory that is not empty, and replace what is in the way.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Leave owners alone; else they are restored if root does it.
    #[arg(long)]
    pub(crate) no_owner: bool,
}

/// Arguments of `restore volume`.
#[derive(Debug, Args)]
pub(crate) struct VolumeArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    target: TargetArgs,
}

/// Arguments of `restore files`.
#[derive(Debug, Args)]
pub(crate) struct FilesArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// A path within the backup, with everything below it. Repeatable.
    #[arg(long = "path", value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    common: Common,
    files: u64,
    directories: u64,
    symlinks: u64,
    hardlinks: u64,
    other: u64,
    bytes: u64,
    /// True if owners were left alone because only root can set them.
    owners_left: bool,
    /// Entries that are not there, or not what was captured.
    lost: u64,
    problems: Vec<ProblemLine>,
    total_problems: u64,
}

#[derive(Serialize)]
struct ProblemLine {
    path: String,
    problem: String,
    object: Option<String>,
    lost: bool,
}

pub(crate) async fn run_volume(global: &Global, args: &VolumeArgs) -> Result<Exit, CliError> {
    restore(global, &args.source, &args.target, Selection::all()).await
}

pub(crate) async fn run_files(global: &Global, args: &FilesArgs) -> Result<Exit, CliError> {
    let paths: Vec<&[u8]> = args.paths.iter().map(|path| path.as_os_str().as_bytes()).collect();
    restore(global, &args.source, &args.target, Selection::of(&paths)).await
}

async fn restore(
    global: &Global,
    source: &SourceArgs,
    target: &TargetArgs,
    select: Selection,
) -> Result<Exit, CliError> {
    let opened = source.open(global, &ArtefactKind::FILES).await?;
    let out = Output::new(source.json);
    let to = target.to.display().to_string();
    let mut volume = None;
    let existing = if target.overwrite {
        ExistingFiles::Overwrite
    } else {
        ExistingFiles::Refuse
    };
    if let Some(name) = docker::volume_of(&target.to) {
        let name = name?;
        let host = docker::host(opened.settings.as_deref()).await?;
        let found = VolumeTarget::look(&host, name, existing).await;
        volume = Some(found.map_err(volume_error)?.with_labels(docker::labels_of(&opened)));
    }
    eprintln!("restoring {} into {to}", opened.describe());
    let options = FilesOptions {
        overwrite: target.overwrite,
        dry_run: source.dry_run,
        owners: !target.no_owner,
        ..FilesOptions::default()
    };
    let done = match volume {
        None => into_directory(&opened, select, &target.to, options).await?,
        Some(volume) => into_volume(&opened, select, volume, options).await?,
    };
    let report = report(&opened, to, source.dry_run, done);
    out.print(&report, |_| text(&report));
    Ok(Exit::good_if(report.lost == 0))
}

fn attend(opened: &Opened, select: &Selection) -> Attended {
    if select.is_all() {
        Attended::whole(opened)
    } else {
        Attended::begin(&opened.manifest().captured.name, 0)
    }
}

async fn into_directory(
    opened: &Opened,
    select: Selection,
    to: &Path,
    options: FilesOptions,
) -> Result<FilesReport, CliError> {
    let attended = attend(opened, &select);
    let artefact = opened.artefact.clone();
    let progress = attended.progress();
    let to = to.to_owned();
    // An order to stop ends it at the next file, and what is not whole is removed.
    let work = move || restore_files(artefact.origin(), &select, &to, options, &progress);
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(files_error),
        Err(error) => Err(CliError::because("restoring was broken off", error)),
    }
}

async fn into_volume(
    opened: &Opened,
    select: Selection,
    volume: VolumeTarget,
    options: FilesOptions,
) -> Result<FilesReport, CliError> {
    let attended = attend(opened, &select);
    let done = volume.restore(opened.artefact.clone(), select, options, attended.progress());
    done.await.map_err(volume_error)
}

fn report(opened: &Opened, to: String, dry_run: bool, done: FilesReport) -> Report {
    let problem = |p: holdfast_restore::Problem| ProblemLine {
        path: p.path,
        problem: p.problem,
        object: p.object.map(|key| key.to_string()),
        lost: p.lost,
    };
    let selected = done.selected;
    Report {
        common: Common {
            packs: done.packs,
            sealed_bytes: done.sealed_bytes,
            ..Common::new(opened, to, dry_run)
        },
        files: selected.files,
        directories: selected.directories,
        symlinks: selected.symlinks,
        hardlinks: selected.hardlinks,
        other: selected.other,
        bytes: selected.bytes,
        owners_left: done.owners_left,
        lost: done.lost,
        problems: done.problems.into_iter().map(problem).collect(),
        total_problems: done.total_problems,
    }
}

fn text(report: &Report) -> String {
    let files = human::count(report.files, "file");
    let folders = human::count(report.directories, "folder");
    let links = human::count(report.symlinks + report.hardlinks, "link");
    let bytes = human::bytes(report.bytes);
    let packs = human::count(report.common.packs, "pack");
    let done = if report.common.dry_run {
        "would restore"
    } else {
        "restored"
    };
    let to = human::shown(&report.common.to);
    let mut text = format!("{done} {files}, {folders}, {links}, {bytes} into {to}, from {packs}\n");
    for problem in &report.problems {
        let object = problem
            .object
            .as_ref()
            .map(|object| format!(" ({object})"))
            .unwrap_or_default();
        let word = if problem.lost { "LOST" } else { "note" };
        let path = human::shown(&problem.path);
        text.push_str(&format!("{word} {path}: {}{object}\n", human::shown(&problem.problem)));
    }
    let untold = report.total_problems.saturating_sub(report.problems.len() as u64);
    if untold > 0 {
        text.push_str(&format!("and {untold} problems more\n"));
    }
    if report.owners_left {
        text.push_str("owners were not restored: only root can\n");
    }
    if report.lost > 0 {
        text.push_str(&format!(
            "{} not restored{}\n",
            human::count(report.lost, "path"),
            // Another place helps only where this one's objects are at fault.
            if report.problems.iter().any(|p| p.lost && p.object.is_some()) {
                ": another place may have them whole (--place)"
            } else {
                ""
            }
        ));
    }
    text
}
