//! `holdfast restore`: gives databases, roles, directories and files back, from any place, on any machine.

mod database;
mod docker;
mod failures;
mod files;
mod stack;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use holdfast_config::Settings;
use holdfast_format::{ArtefactId, ArtefactKind, Manifest, PlaceName};
use holdfast_restore::{OpenArtefact, Progress};
use holdfast_sealing::SecretKeys;
use serde::Serialize;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::access::{self, Access, DECRYPTING, KeyArgs};
use crate::logs::Logs;
use crate::progress::Meter;
use crate::resolve::{self, What};
use crate::{CliError, Exit, Global, human, parse};

/// Arguments of `restore`.
#[derive(Debug, Args)]
#[command(subcommand_required = true)]
pub(crate) struct RestoreArgs {
    #[command(subcommand)]
    pub(crate) what: Restore,
}

/// The things that can be restored.
#[derive(Debug, Subcommand)]
pub(crate) enum Restore {
    /// A database into a PostgreSQL server, in one transaction: whole, or not at all.
    Database(database::DatabaseArgs),
    /// Roles and tablespaces into a PostgreSQL server.
    Globals(database::GlobalsArgs),
    /// A whole directory (a volume, or the system's paths) into a directory or a Docker volume.
    Volume(files::VolumeArgs),
    /// Chosen paths of a directory into a directory.
    Files(files::FilesArgs),
    /// A stack as of a restore point: its volumes, the databases of its containers, and the images that it ran.
    Stack(stack::StackArgs),
}

/// The arguments of every restore of an artefact.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// An artefact's id (or its first 8 digits), SOURCE[/NAME][@TIME] (the newest good one at or before TIME: a date,
    /// "2026-11-24 02:00" or RFC 3339), or a run's id.
    #[arg(value_name = "WHAT")]
    pub(crate) what: What,
    #[command(flatten)]
    pub(crate) from: FromArgs,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The place to read from.
#[derive(Debug, Args)]
pub(crate) struct FromArgs {
    /// Read from this place of the configuration instead of the local repository.
    #[arg(long, value_name = "PLACE", value_parser = parse::place, conflicts_with = "repository")]
    pub(crate) place: Option<PlaceName>,
    /// Read from this repository, without any configuration: a directory or s3://bucket/prefix. Needs --key, and the
    /// owner's public key beside it or as --owner. S3 credentials are taken from AWS_ACCESS_KEY_ID and its kin.
    #[arg(long, value_name = "URL", requires = "keys")]
    pub(crate) repository: Option<String>,
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
}

pub(crate) async fn run(global: &Global, args: &RestoreArgs) -> Result<Exit, CliError> {
    access::harden()?;
    match &args.what {
        Restore::Database(args) => Box::pin(database::run_database(global, args)).await,
        Restore::Globals(args) => Box::pin(database::run_globals(global, args)).await,
        Restore::Volume(args) => Box::pin(files::run_volume(global, args)).await,
        Restore::Files(args) => Box::pin(files::run_files(global, args)).await,
        Restore::Stack(args) => Box::pin(stack::run(global, args)).await,
    }
}

/// An artefact that is ready to be restored.
pub(crate) struct Opened {
    pub(crate) artefact: Arc<OpenArtefact>,
    pub(crate) place: PlaceName,
    pub(crate) settings: Option<Arc<Settings>>,
    /// Holds the contents, sealed, as long as the artefact is read.
    _scratch: TempDir,
    from: Arc<OpenPlace>,
}

impl SourceArgs {
    /// Finds and opens the artefact.
    pub(crate) async fn open(&self, global: &Global, kinds: &[ArtefactKind]) -> Result<Opened, CliError> {
        let from = self.from.access(global).await?;
        let found = resolve::artefact(&from.access.catalogue, &self.what, kinds).await?;
        Opened::open(&Arc::new(from), found.manifest.captured.artefact).await
    }
}

/// A place to restore from, with its keys.
pub(crate) struct OpenPlace {
    pub(crate) settings: Option<Arc<Settings>>,
    pub(crate) access: Access,
    keys: SecretKeys,
    _logs: Logs,
}

impl OpenPlace {
    /// Returns further folders to search for PostgreSQL's programs.
    fn client_dirs(&self) -> Vec<PathBuf> {
        let settings = self.settings.as_ref();
        settings.map(|settings| settings.client_dirs()).unwrap_or_default()
    }
}

impl FromArgs {
    /// Opens the place.
    pub(crate) async fn access(&self, global: &Global) -> Result<OpenPlace, CliError> {
        if let Some(url) = &self.repository {
            let logs = Logs::start(global, None, None)?;
            let (access, keys) = Access::without_config(url, &self.keys).await?;
            return Ok(OpenPlace {
                settings: None,
                access,
                keys,
                _logs: logs,
            });
        }
        // The passphrase of keys that are not used may well be elsewhere.
        let sections = if self.keys.keys.is_empty() {
            DECRYPTING
        } else {
            access::READING
        };
        let settings = access::load(global, sections)?;
        let logs = Logs::start(global, Some(&settings), None)?;
        let keys = self.keys.need(Some(&settings))?;
        let access = Access::open_with(&settings, self.place.as_ref(), Some(&keys), self.keys.owner.as_deref()).await?;
        Ok(OpenPlace {
            settings: Some(settings),
            access,
            keys,
            _logs: logs,
        })
    }
}

impl Opened {
    /// Opens an artefact.
    pub(crate) async fn open(from: &Arc<OpenPlace>, id: ArtefactId) -> Result<Self, CliError> {
        let scratch = tempfile::tempdir().map_err(|error| CliError::because("make a temporary folder", error))?;
        let opened = OpenArtefact::open(&from.access.repository, from.keys.clone(), id, scratch.path()).await?;
        let artefact = opened.ok_or_else(|| CliError::failed(format!("artefact {id} has gone in this moment")))?;
        Ok(Self {
            artefact: Arc::new(artefact),
            place: from.access.repository.place().name().clone(),
            settings: from.settings.clone(),
            _scratch: scratch,
            from: from.clone(),
        })
    }

    /// Returns the manifest.
    pub(crate) fn manifest(&self) -> &Manifest {
        self.artefact.manifest()
    }

    /// Describes the artefact in one line: also the confirmation of what a name or a time was resolved to.
    pub(crate) fn describe(&self) -> String {
        let m = self.manifest();
        let name = human::shown(&m.captured.name);
        let time = human::time(m.captured.started);
        let size = human::bytes(m.captured.stream.size);
        let place = &self.place;
        format!(
            "{} {}/{name} as of {time} (artefact {}, {size}, from {place})",
            m.captured.kind, m.captured.source, m.captured.artefact
        )
    }

    /// Returns further folders to search for PostgreSQL's programs.
    pub(crate) fn client_dirs(&self) -> Vec<PathBuf> {
        self.from.client_dirs()
    }
}

/// The common part of what restores print as JSON.
#[derive(Serialize)]
pub(crate) struct Common {
    pub(crate) artefact: holdfast_format::ArtefactId,
    pub(crate) run: holdfast_format::RunId,
    pub(crate) source: holdfast_format::SourceName,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) captured: jiff::Timestamp,
    pub(crate) size: u64,
    pub(crate) place: PlaceName,
    pub(crate) to: String,
    pub(crate) dry_run: bool,
    /// Packs and sealed bytes that are (or would be) read.
    pub(crate) packs: u64,
    pub(crate) sealed_bytes: u64,
}

impl Common {
    pub(crate) fn new(opened: &Opened, to: String, dry_run: bool) -> Self {
        let m = opened.manifest();
        Self {
            artefact: m.captured.artefact,
            run: m.captured.run,
            source: m.captured.source.clone(),
            kind: m.captured.kind.as_str(),
            name: m.captured.name.clone(),
            captured: m.captured.started,
            size: m.captured.stream.size,
            place: opened.place.clone(),
            to,
            dry_run,
            packs: m.packs.len() as u64,
            sealed_bytes: m.packs.iter().map(|pack| pack.size).sum(),
        }
    }
}

/// A restore under way: shown on the terminal, and asked to end when the order to stop comes.
pub(crate) struct Attended {
    progress: Arc<Progress>,
    stop: CancellationToken,
    _meter: Meter,
    _watch: AbortOnDropHandle<()>,
}

impl Attended {
    /// Begins to attend to a restore of `total` bytes; 0 if it is not known how many.
    pub(crate) fn begin(name: &str, total: u64) -> Self {
        let progress = Arc::new(Progress::default());
        let stop = interrupt();
        let ordered = stop.clone();
        let stopped = progress.clone();
        let watch = async move {
            ordered.cancelled().await;
            stopped.stop();
        };
        Self {
            _meter: Meter::of(name, total, &progress),
            _watch: AbortOnDropHandle::new(tokio::spawn(watch)),
            progress,
            stop,
        }
    }

    /// Begins to attend to a restore of the whole artefact.
    pub(crate) fn whole(opened: &Opened) -> Self {
        let captured = &opened.manifest().captured;
        Self::begin(&captured.name, captured.stream.size)
    }

    /// Returns the progress that the restore is to report to.
    pub(crate) fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// True if the order to stop has come.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }
}

/// Returns a token that the order to stop cancels, from a terminal or a service manager.
pub(crate) fn interrupt() -> CancellationToken {
    let token = CancellationToken::new();
    holdfast_service::shutdown_signal(token.clone());
    token
}
