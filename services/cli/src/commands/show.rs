//! `holdfast show`: one artefact or one run in full.

use clap::Args;
use holdfast_format::{
    ArtefactKind, Failure, Hold, ImageInUse, Manifest, PlaceName, RunId, Verdict, Verification, VolumeInfo,
};
use holdfast_repository::{Catalogue, SealedManifest};
use jiff::Timestamp;
use serde::Serialize;

use crate::access::{self, Access, READING};
use crate::logs::Logs;
use crate::output::{Output, Table};
use crate::overview::{self, Row, RunView};
use crate::resolve::{self, What};
use crate::{CliError, Exit, Global, human, parse};

/// Arguments of `show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// An artefact's id (or its first 8 digits), SOURCE[/NAME][@TIME], or a run's id.
    #[arg(value_name = "ARTEFACT|RUN")]
    pub(crate) what: What,
    /// Look at this place instead of the local repository.
    #[arg(long, value_name = "PLACE", value_parser = parse::place)]
    pub(crate) place: Option<PlaceName>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Serialize)]
struct ShownArtefact {
    place: PlaceName,
    #[serde(flatten)]
    manifest: Manifest,
    verifications: Vec<Verification>,
}

#[derive(Serialize)]
struct ShownRun {
    place: PlaceName,
    run: RunId,
    started: Timestamp,
    state: String,
    backup_type: String,
    stack: Option<String>,
    reason: String,
    /// The user or the schedule that asked for the run.
    requester: Option<String>,
    class: &'static str,
    label: Option<String>,
    deadline: Option<Timestamp>,
    /// The operator's hold.
    hold: Option<Hold>,
    /// The time until which the run is held by its request.
    hold_until: Option<Timestamp>,
    verify: Option<holdfast_format::Level>,
    targets: Vec<PlaceName>,
    artefacts: Vec<Row>,
    failures: Vec<Failure>,
    images: Vec<ImageInUse>,
    notes: Vec<String>,
}

pub(crate) async fn run(global: &Global, args: &ShowArgs) -> Result<Exit, CliError> {
    let settings = access::load(global, READING)?;
    let _logs = Logs::start(global, Some(&settings), None)?;
    let access = Access::open(&settings, args.place.as_ref()).await?;
    let out = Output::new(args.json);
    let place = access.repository.place().name().clone();
    match &args.what {
        What::Run(run) => {
            let view = resolve::run_view(&access.catalogue, *run).await?;
            let shown = shown_run(&access.catalogue, place, view).await?;
            out.print(&shown, |out| run_text(out, &shown));
        }
        what => {
            let found = resolve::artefact(&access.catalogue, what, &ArtefactKind::ALL).await?;
            let id = found.manifest.captured.artefact;
            let (verifications, _) = access.catalogue.readable_verifications(id).await?;
            let verifications = verifications.iter().map(|v| (**v).clone()).collect();
            let shown = ShownArtefact {
                place,
                manifest: found.manifest.clone(),
                verifications,
            };
            out.print(&shown, |out| artefact_text(out, &found, &shown.verifications));
        }
    }
    Ok(Exit::Good)
}

async fn shown_run(catalogue: &Catalogue, place: PlaceName, view: RunView) -> Result<ShownRun, CliError> {
    let failures = catalogue.failures(view.run).await?;
    let artefacts = overview::rows(catalogue, std::slice::from_ref(&view), |_| true).await?;
    let expected = view.expected.as_ref();
    Ok(ShownRun {
        place,
        run: view.run,
        started: view.started(),
        state: view.state(Timestamp::now()).to_owned(),
        backup_type: view.backup_type().to_owned(),
        stack: view.stack().map(str::to_owned),
        reason: view.reason(),
        requester: expected.map(|e| e.requester.to_string()),
        class: view.class(),
        label: view.label().map(str::to_owned),
        deadline: expected.map(|e| e.deadline),
        hold: overview::hold(catalogue, view.run).await?,
        hold_until: view.hold_until(),
        verify: expected.and_then(|e| e.steps.verify),
        targets: expected.map(|e| e.steps.targets.clone()).unwrap_or_default(),
        artefacts,
        failures: failures.iter().map(|f| (**f).clone()).collect(),
        images: view.point.as_ref().map(|p| p.images.clone()).unwrap_or_default(),
        notes: view.point.as_ref().map(|p| p.notes.clone()).unwrap_or_default(),
    })
}

fn run_text(out: Output, run: &ShownRun) -> String {
    let mut lines = Lines::default();
    lines.add("run", run.run);
    lines.add("state", &run.state);
    lines.add("started", human::time(run.started));
    lines.add("asked for", format!("{} ({})", run.backup_type, run.reason));
    lines.some("asked by", run.requester.as_deref().map(human::shown));
    lines.some("stack", run.stack.as_deref());
    lines.add("class", run.class);
    lines.some("label", run.label.as_deref());
    lines.some("verify", run.verify);
    lines.some(
        "held",
        run.hold
            .as_ref()
            .map(|h| h.until.map_or("until it is released".to_owned(), until)),
    );
    lines.some("started held", run.hold_until.map(until));
    if run.state == "unfinished" || run.state == "overdue" {
        lines.some("deadline", run.deadline.map(human::time));
    }
    let targets: Vec<&str> = run.targets.iter().map(PlaceName::as_str).collect();
    lines.some("targets", (!targets.is_empty()).then(|| targets.join(", ")));
    let mut text = lines.text + "\n" + &super::list::rows_text(out, &run.artefacts);
    for failure in &run.failures {
        text.push_str(&format!(
            "failed in {}: {}: {}\n",
            failure.stage,
            subject(failure, &run.artefacts),
            human::shown(&failure.reason)
        ));
    }
    for note in &run.notes {
        text.push_str(&format!("note: {}\n", human::shown(note)));
    }
    text + &images_text(out, &run.images)
}

/// The images in use then, and by what they can be pulled again exactly.
fn images_text(out: Output, images: &[ImageInUse]) -> String {
    if images.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["container", "stack", "image", "digest"]);
    for image in images {
        let digest = image.digests.first().map_or("(made on the host)", String::as_str);
        let stack = image.stack.as_deref().unwrap_or_default();
        table.row([image.container.as_str(), stack, &image.image, digest]);
    }
    format!("\n{}", out.table(&table))
}

fn until(time: Timestamp) -> String {
    format!("until {}", human::time(time))
}

fn subject(failure: &Failure, rows: &[Row]) -> String {
    use holdfast_format::FailureSubject as Subject;
    let name = |id: &holdfast_format::ArtefactId| {
        let row = rows.iter().find(|r| r.artefact == *id);
        row.map_or_else(
            || format!("artefact {id}"),
            |r| format!("{}/{}", r.source, human::shown(&r.name)),
        )
    };
    match &failure.subject {
        Subject::Source(source) => format!("source {source}"),
        Subject::Artefact(id) => name(id),
        Subject::ArtefactAt(id, place) => format!("{} at {place}", name(id)),
        Subject::Place(place) => format!("place {place}"),
    }
}

/// Aligned `name  value` lines.
#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        self.text
            .push_str(&format!("{name:<14}{}\n", human::shown(&value.to_string())));
    }

    fn some(&mut self, name: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

fn artefact_text(out: Output, sealed: &SealedManifest, verifications: &[Verification]) -> String {
    let m = &sealed.manifest;
    let captured = &m.captured;
    let mut lines = Lines::default();
    lines.add("artefact", captured.artefact);
    lines.add(
        "what",
        format!("{} {}/{}", captured.kind, captured.source, captured.name),
    );
    lines.add("run", captured.run);
    let started = human::time(captured.started);
    let finished = human::time(captured.finished);
    lines.add(
        "captured",
        format!("{started} to {finished}, attempt {}", captured.attempt),
    );
    lines.add("site, class", format!("{}, {}", captured.site, captured.class));
    let size = human::bytes(captured.stream.size);
    lines.add("size", format!("{size} in {} extents", captured.stream.extents));
    let new = human::bytes(captured.new.bytes);
    lines.add("new", format!("{new} in {}", human::count(captured.new.packs, "pack")));
    let sealed: u64 = m.packs.iter().map(|p| p.size).sum();
    lines.add("packs", format!("{}, {} sealed", m.packs.len(), human::bytes(sealed)));
    lines.add("holds", counts(m));
    let parent = captured.parent.map_or("none".to_owned(), |p| p.to_string());
    lines.add("sequence", format!("{} (parent: {parent})", captured.sequence));
    if let Some(volume) = &captured.volume {
        add_volume(&mut lines, volume);
    }
    lines.add("sealed to", captured.recipients.join(", "));
    lines.add("readers", captured.readers.join(", "));
    let tools = captured.tools.iter().map(|(name, version)| format!("{name} {version}"));
    lines.add("made with", tools.collect::<Vec<_>>().join(", "));
    for warning in &m.warnings.first {
        lines.add("warning", format!("{}: {}", warning.what, warning.at));
    }
    let untold = m.warnings.total.saturating_sub(m.warnings.first.len() as u64);
    lines.some("warnings", (untold > 0).then(|| format!("{untold} more")));
    lines.text + &verifications_text(out, verifications)
}

fn add_volume(lines: &mut Lines, volume: &VolumeInfo) {
    let stack = volume
        .stack
        .as_deref()
        .map_or_else(String::new, |stack| format!(" of stack {stack}"));
    lines.add(
        "volume",
        format!(
            "driver {}{stack}, read by {} ({})",
            volume.driver, volume.read, volume.mode
        ),
    );
    let users: Vec<&str> = volume.containers.iter().map(|user| user.container.as_str()).collect();
    lines.some("mounted in", (!users.is_empty()).then(|| users.join(", ")));
    lines.some("quiet for", volume.quiet_ms.map(|ms| format!("{ms} ms")));
}

fn counts(m: &Manifest) -> String {
    let c = &m.captured.counts;
    let all = [
        (c.tables, "table"),
        (c.rows, "row"),
        (c.large_objects, "large object"),
        (c.files, "file"),
        (c.directories, "folder"),
        (c.other, "other thing"),
        (c.skipped, "skipped thing"),
    ];
    let told: Vec<String> = all
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, noun)| human::count(*n, noun))
        .collect();
    if told.is_empty() {
        "nothing counted".to_owned()
    } else {
        told.join(", ")
    }
}

fn verifications_text(out: Output, verifications: &[Verification]) -> String {
    if verifications.is_empty() {
        return "never verified\n".to_owned();
    }
    let mut table = Table::new(&["verified", "place", "level", "result", ">read"]);
    for v in verifications {
        let result = match v.verdict {
            Verdict::Good => "good".to_owned(),
            Verdict::Damaged => format!("BAD: {}", human::count(v.total_findings, "finding")),
            Verdict::Unknown => "unknown: it could not be judged".to_owned(),
        };
        let time = human::time(v.finished);
        let read = human::bytes(v.bytes_read);
        table.row([time.as_str(), v.place.as_str(), v.level.as_str(), &result, &read]);
    }
    let mut text = format!("\n{}", out.table(&table));
    for finding in verifications.iter().flat_map(|v| &v.findings) {
        text.push_str(&format!(
            "{}: {}\n",
            human::shown(&finding.object),
            human::shown(&finding.problem)
        ));
    }
    text
}
