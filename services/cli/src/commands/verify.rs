//! `holdfast verify`: reads backups back, wherever they are, and says what is wrong with them.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use holdfast_config::Settings;
use holdfast_format::{ArtefactId, ArtefactKind, Finding, Level, PlaceName, RunId, SourceName, Verdict};
use holdfast_repository::{Catalogue, SealedManifest};
use holdfast_sealing::SecretKeys;
use holdfast_verifier::{Checked, VerifyError, VerifyOptions, record, verify_artefact};
use serde::Serialize;

use crate::access::{self, Access, DECRYPTING, KeyArgs};
use crate::logs::Logs;
use crate::output::{Output, Table};
use crate::overview::{self, RunView, Standing, Unreadable};
use crate::progress::Meter;
use crate::resolve::{self, What};
use crate::{CliError, Exit, Global, human, parse};

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// An artefact's id (or its first 8 digits), SOURCE[/NAME][@TIME], or a run's id; else the newest run.
    #[arg(value_name = "ARTEFACT|RUN", conflicts_with_all = ["latest", "all"])]
    pub(crate) what: Option<What>,
    /// Verify the newest run that was recorded.
    #[arg(long, conflicts_with = "all")]
    pub(crate) latest: bool,
    /// Verify everything.
    #[arg(long)]
    pub(crate) all: bool,
    /// The depth: integrity, decrypt or restore; else the configured level, or integrity if there is no secret key.
    #[arg(long, value_name = "LEVEL", value_parser = parse::level)]
    pub(crate) level: Option<Level>,
    /// Read at this place instead of the local repository.
    #[arg(long, value_name = "PLACE", value_parser = parse::place)]
    pub(crate) place: Option<PlaceName>,
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Serialize)]
struct Report {
    place: PlaceName,
    level: Level,
    good: bool,
    artefacts: Vec<Line>,
    /// With `--all`: records of runs that cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<Unreadable>,
}

#[derive(Serialize)]
struct Line {
    artefact: ArtefactId,
    run: Option<RunId>,
    source: Option<SourceName>,
    kind: Option<&'static str>,
    name: Option<String>,
    /// `good`, `bad`, or `unknown` if it could not be judged, which says nothing about the artefact.
    result: &'static str,
    /// True if it could not be judged because a key is not at hand.
    #[serde(skip)]
    lacks_key: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    findings: Vec<Finding>,
    total_findings: u64,
    bytes_read: u64,
    /// True if the result was written down at the place.
    recorded: bool,
}

pub(crate) async fn run(global: &Global, args: &VerifyArgs) -> Result<Exit, CliError> {
    access::harden()?;
    let settings = access::load(global, DECRYPTING)?;
    let _logs = Logs::start(global, Some(&settings), None)?;
    let keys = args.keys.load(Some(&settings))?;
    let level = level(args, &settings, keys.is_some())?;
    let access = Access::open_with(
        &settings,
        args.place.as_ref(),
        keys.as_ref(),
        args.keys.owner.as_deref(),
    )
    .await?;
    let scratch = tempfile::tempdir().map_err(|error| CliError::because("make a temporary folder", error))?;
    let job = Job {
        settings: &settings,
        access: &access,
        keys: keys.as_ref(),
        level,
        scratch: scratch.path(),
    };
    let unreadable = if args.all {
        overview::unreadable(&access.catalogue).await?
    } else {
        Vec::new()
    };
    let mut lines = Vec::new();
    for artefact in chosen(&access.catalogue, args).await? {
        lines.push(job.verify(artefact).await);
    }
    if lines.is_empty() && unreadable.is_empty() {
        return Err(CliError::failed(
            "there is nothing to verify at this place; `holdfast list` shows all",
        ));
    }
    let place = access.repository.place().name().clone();
    let report = Report {
        place,
        level,
        good: unreadable.is_empty() && lines.iter().all(|line| line.result == "good"),
        artefacts: lines,
        unreadable,
    };
    Output::new(args.json).print(&report, |out| text(out, &report));
    Ok(exit(&report))
}

/// Returns the exit code. Where nothing bad was found and something could not be judged for want of a key, the keys are at
/// fault, as where there is none at all.
fn exit(report: &Report) -> Exit {
    let bad = report.artefacts.iter().any(|line| line.result == "bad");
    let lacks_key = report.artefacts.iter().any(|line| line.lacks_key);
    if lacks_key && !bad && report.unreadable.is_empty() {
        return Exit::Usage;
    }
    Exit::good_if(report.good)
}

fn level(args: &VerifyArgs, settings: &Settings, has_key: bool) -> Result<Level, CliError> {
    match args.level {
        Some(level) if level.opens() && !has_key => Err(CliError::no_key(format!(
            "level {level} needs a secret backup key: name it with --key FILE or in verifier.secret_keys, or verify to \
             level integrity"
        ))),
        Some(level) => Ok(level),
        None if has_key => Ok(settings.verifier.level),
        None => Ok(Level::Integrity),
    }
}

/// Finds the artefacts to verify.
async fn chosen(catalogue: &Catalogue, args: &VerifyArgs) -> Result<Vec<ArtefactId>, CliError> {
    match &args.what {
        Some(What::Run(run)) => Ok(of_run(&resolve::run_view(catalogue, *run).await?)),
        // Not by way of its manifest, which may be what is damaged.
        Some(What::Artefact(prefix)) => match resolve::by_prefix(catalogue, prefix).await? {
            Some(id) => Ok(vec![id]),
            None => Ok(vec![
                by_what(catalogue, &What::Artefact(prefix.clone()))
                    .await?
                    .manifest
                    .captured
                    .artefact,
            ]),
        },
        Some(what) => Ok(vec![by_what(catalogue, what).await?.manifest.captured.artefact]),
        None if args.all => everything(catalogue).await,
        None => {
            for run in catalogue.runs().await? {
                if let Some(view) = RunView::read(catalogue, run).await?.filter(|view| view.point.is_some()) {
                    return Ok(of_run(&view));
                }
            }
            Ok(Vec::new())
        }
    }
}

async fn by_what(catalogue: &Catalogue, what: &What) -> Result<Arc<SealedManifest>, CliError> {
    resolve::artefact(catalogue, what, &ArtefactKind::ALL).await
}

fn of_run(view: &RunView) -> Vec<ArtefactId> {
    view.artefacts
        .iter()
        .filter(|a| !matches!(a.standing, Standing::Failed(..)))
        .map(|a| a.artefact.id)
        .collect()
}

/// Every artefact that has a manifest at the place, whatever runs say, and every one that a restore point promises.
async fn everything(catalogue: &Catalogue) -> Result<Vec<ArtefactId>, CliError> {
    let objects = catalogue
        .repository()
        .place()
        .list(holdfast_storage::Prefix::Artefacts)
        .await?
        .objects;
    let manifests = objects.into_iter().filter_map(|object| match object.key {
        holdfast_format::ObjectKey::Manifest(id) => Some(id),
        _ => None,
    });
    let mut all: Vec<ArtefactId> = manifests.collect();
    let there: HashSet<ArtefactId> = all.iter().copied().collect();
    all.extend(
        overview::promised(catalogue)
            .await?
            .into_iter()
            .filter(|id| !there.contains(id)),
    );
    Ok(all)
}

struct Job<'a> {
    settings: &'a Settings,
    access: &'a Access,
    keys: Option<&'a SecretKeys>,
    level: Level,
    scratch: &'a Path,
}

impl Job<'_> {
    async fn verify(&self, artefact: ArtefactId) -> Line {
        let repository = &self.access.repository;
        // Only for its name; what is wrong with it, the verification says.
        let known = repository.manifest(artefact).await.ok().flatten();
        let clock = holdfast_telemetry::clock::system();
        let options = VerifyOptions::of(self.settings, self.scratch.to_owned(), clock);
        let (title, total) = match &known {
            Some(sealed) => (title(sealed), sealed.manifest.captured.stream.size),
            None => (format!("artefact {}", artefact.short()), 0),
        };
        let meter = Meter::of(&format!("verify {title}"), total, &options.progress);
        let result = verify_artefact(repository, self.keys, artefact, self.level, &options).await;
        drop(meter);
        let line = match result {
            Ok(checked) => self.checked(checked).await,
            Err(error) => unknown(artefact, &error),
        };
        name(line, known.as_deref())
    }

    async fn checked(&self, checked: Checked) -> Line {
        let v = &checked.verification;
        let recorded = match record(&self.access.repository, &checked).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(artefact = %v.artefact, reason = %holdfast_fault::chain(&error), "the result was not written down");
                false
            }
        };
        let lacks_key = v.verdict == Verdict::Unknown;
        Line {
            artefact: v.artefact,
            run: None,
            source: None,
            kind: checked.kind.map(|kind| kind.as_str()),
            name: None,
            result: match v.verdict {
                Verdict::Good => "good",
                Verdict::Damaged => "bad",
                Verdict::Unknown => "unknown",
            },
            lacks_key,
            reason: lacks_key.then(|| checked.reason()),
            findings: v.findings.clone(),
            total_findings: v.total_findings,
            bytes_read: v.bytes_read,
            recorded,
        }
    }
}

fn title(sealed: &SealedManifest) -> String {
    let m = &sealed.manifest;
    if m.captured.name == m.captured.source.as_str() {
        m.captured.name.clone()
    } else {
        format!("{}/{}", m.captured.source, m.captured.name)
    }
}

fn unknown(artefact: ArtefactId, error: &VerifyError) -> Line {
    Line {
        artefact,
        run: None,
        source: None,
        kind: None,
        name: None,
        result: "unknown",
        lacks_key: false,
        reason: Some(holdfast_fault::chain(error).to_string()),
        findings: Vec::new(),
        total_findings: 0,
        bytes_read: 0,
        recorded: false,
    }
}

fn name(mut line: Line, known: Option<&SealedManifest>) -> Line {
    if let Some(sealed) = known {
        let m = &sealed.manifest;
        (line.run, line.source, line.name) = (
            Some(m.captured.run),
            Some(m.captured.source.clone()),
            Some(m.captured.name.clone()),
        );
        line.kind = Some(m.captured.kind.as_str());
    }
    line
}

fn text(out: Output, report: &Report) -> String {
    let mut table = Table::new(&["artefact", "source", "name", "kind", "result", ">findings", ">read"]);
    for line in &report.artefacts {
        let source = line.source.as_ref().map_or("", SourceName::as_str);
        let id = line.artefact.to_string();
        let read = human::bytes(line.bytes_read);
        let kind = line.kind.unwrap_or_default();
        let name = line.name.as_deref().unwrap_or_default();
        table.row([
            &id[..12],
            source,
            name,
            kind,
            line.result,
            &line.total_findings.to_string(),
            &read,
        ]);
    }
    let mut text = out.table(&table);
    for line in &report.artefacts {
        text.push_str(&line_text(line));
    }
    for unreadable in &report.unreadable {
        text.push_str(&format!("{}: {}\n", unreadable.what, human::shown(&unreadable.problem)));
    }
    let with = |result: &str| report.artefacts.iter().filter(|line| line.result == result).count();
    let unknown = match with("unknown") {
        0 => String::new(),
        unknown => format!(", {unknown} could not be judged"),
    };
    text + &format!(
        "{} of {} good{unknown}, at place {}, level {}\n",
        with("good"),
        report.artefacts.len(),
        report.place,
        report.level
    )
}

/// The findings of an artefact, or why it could not be judged.
fn line_text(line: &Line) -> String {
    if let Some(reason) = &line.reason {
        return format!("artefact {}: no result: {}\n", line.artefact, human::shown(reason));
    }
    let mut text = String::new();
    for finding in &line.findings {
        text.push_str(&format!(
            "{}: {}\n",
            human::shown(&finding.object),
            human::shown(&finding.problem)
        ));
    }
    let untold = line.total_findings.saturating_sub(line.findings.len() as u64);
    if untold > 0 {
        text.push_str(&format!("and {untold} more of artefact {}\n", line.artefact));
    }
    text
}
