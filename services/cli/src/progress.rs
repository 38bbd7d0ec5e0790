//! Progress on standard error: bars on a terminal, lines elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_bus::ArtefactProgress;
use holdfast_events::{ArtefactState, RunState, TargetState};
use holdfast_format::{ArtefactId, PlaceName, SourceName};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio_util::task::AbortOnDropHandle;

use crate::human::{bytes, shown};

/// Bars shown at a time; a server may have thousands of databases.
const BARS: usize = 12;
/// The interval at which a long job says how far it is when there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// Returns the stage of an artefact in its run, in a word.
#[must_use]
pub(crate) fn stage(state: &RunState, artefact: &ArtefactState) -> &'static str {
    let expected = &state.expected;
    if artefact.failed.is_some() {
        return "failed";
    }
    if artefact.sealed.is_none() {
        return match (artefact.captured, artefact.attempt) {
            (Some(_), _) => "sealing",
            (None, 0) => "waiting",
            (None, _) => "capturing",
        };
    }
    if !artefact.is_good(expected) {
        return "verifying";
    }
    let settled = |t: &PlaceName| artefact.synced.contains(t) || artefact.failed_at.contains_key(t);
    match expected.steps.targets.iter().all(settled) {
        false => "copying",
        true if artefact.failed_at.is_empty() => "done",
        true => "not everywhere",
    }
}

/// An artefact as people know it: `main/shop`.
#[must_use]
pub(crate) fn title(id: ArtefactId, artefact: &ArtefactState) -> String {
    match &artefact.listed {
        Some((source, listed)) if listed.name == source.as_str() => source.to_string(),
        Some((source, listed)) => format!("{source}/{}", shown(&listed.name)),
        None => format!("artefact {}", id.short()),
    }
}

/// Shows how a run goes.
pub(crate) enum View {
    /// On a terminal.
    Bars(Bars),
    /// Elsewhere.
    Lines(Lines),
}

impl View {
    /// For standard error as it is.
    pub(crate) fn new() -> Self {
        if io::stderr().is_terminal() {
            Self::Bars(Bars::new())
        } else {
            Self::Lines(Lines::default())
        }
    }

    /// The bars, for log lines to go past.
    pub(crate) fn bars(&self) -> Option<&MultiProgress> {
        match self {
            Self::Bars(bars) => Some(&bars.all),
            Self::Lines(_) => None,
        }
    }

    /// Says something above the bars.
    pub(crate) fn say(&self, text: &str) {
        match self {
            Self::Bars(bars) => bars.all.suspend(|| eprintln!("{text}")),
            Self::Lines(_) => eprintln!("{text}"),
        }
    }

    /// Takes in what the run's state is now.
    pub(crate) fn state(&mut self, state: &RunState) {
        match self {
            Self::Bars(bars) => bars.state(state),
            Self::Lines(lines) => lines.state(state),
        }
    }

    /// Takes in how far an artefact is.
    pub(crate) fn told(&mut self, told: &ArtefactProgress) {
        if let Self::Bars(bars) = self
            && let Some(bar) = bars.artefacts.get(&told.artefact)
        {
            if let Some(total) = told.total.filter(|total| *total > 0) {
                bar.set_length(total);
            }
            bar.set_position(told.bytes);
        }
    }

    /// Takes the bars away.
    pub(crate) fn end(&mut self) {
        if let Self::Bars(bars) = self {
            bars.artefacts.clear();
            // A terminal that is gone is no reason to fail.
            let _ = bars.all.clear();
        }
    }
}

/// One bar per artefact that something is being done with, and one for the whole.
pub(crate) struct Bars {
    all: MultiProgress,
    whole: ProgressBar,
    artefacts: BTreeMap<ArtefactId, ProgressBar>,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let whole = all.add(ProgressBar::new(0).with_style(style("{spinner} {elapsed:>6} {msg}")));
        whole.enable_steady_tick(Duration::from_millis(200));
        Self {
            all,
            whole,
            artefacts: BTreeMap::new(),
        }
    }

    fn state(&mut self, state: &RunState) {
        let count = |words: &[&str]| {
            state
                .artefacts
                .values()
                .filter(|a| words.contains(&stage(state, a)))
                .count()
        };
        let done = count(&["done", "not everywhere"]);
        let failed = count(&["failed"]);
        let mut text = format!("{done} of {} artefacts done", state.artefacts.len());
        if failed > 0 {
            text.push_str(&format!(", {failed} failed"));
        }
        self.whole.set_message(text);
        for (id, artefact) in &state.artefacts {
            match stage(state, artefact) {
                "waiting" | "done" | "failed" | "not everywhere" => {
                    if let Some(bar) = self.artefacts.remove(id) {
                        bar.finish_and_clear();
                        self.all.remove(&bar);
                    }
                }
                word => self.show(*id, artefact, word),
            }
        }
    }

    fn show(&mut self, id: ArtefactId, artefact: &ArtefactState, word: &'static str) {
        if self.artefacts.len() >= BARS && !self.artefacts.contains_key(&id) {
            return;
        }
        let all = &self.all;
        let bar = self.artefacts.entry(id).or_insert_with(|| {
            let style = style("  {prefix:<28} {msg:<10} {bytes:>11} {bytes_per_sec:>13}");
            all.add(ProgressBar::no_length().with_style(style))
        });
        bar.set_prefix(title(id, artefact));
        if bar.message() != word {
            bar.set_message(word);
            bar.reset();
        }
        if let Some((_, size, _)) = artefact.captured {
            bar.set_position(size);
        }
    }
}

/// A style of our own templates, which are right; the default would do if not.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// A line for each change.
#[derive(Default)]
pub(crate) struct Lines {
    sources: BTreeSet<SourceName>,
    said: BTreeMap<ArtefactId, &'static str>,
    recorded: bool,
    places: BTreeMap<(&'static str, PlaceName), bool>,
}

impl Lines {
    fn state(&mut self, state: &RunState) {
        for (name, source) in &state.sources {
            if let Some((stage, why)) = source.failed.as_ref().filter(|_| self.sources.insert(name.clone())) {
                eprintln!("source {name}: failed in {stage}: {}", shown(why));
            }
        }
        for (id, artefact) in &state.artefacts {
            let word = stage(state, artefact);
            if artefact.listed.is_none() || word == "waiting" || self.said.insert(*id, word) == Some(word) {
                continue;
            }
            eprintln!("{}", line(&title(*id, artefact), word, artefact));
        }
        if let Some(complete) = state.recorded.filter(|_| !self.recorded) {
            self.recorded = true;
            eprintln!(
                "restore point written, {}",
                if complete { "complete" } else { "not complete" }
            );
        }
        let both = [("restore point", &state.points), ("retention", &state.cleaned)];
        for (what, places) in both {
            for (place, step) in places {
                let good = *step == TargetState::Done;
                if self.places.insert((what, place.clone()), good) != Some(good) {
                    eprintln!("{what} at {place}: {}", if good { "done" } else { "failed" });
                }
            }
        }
    }
}

fn line(title: &str, word: &str, artefact: &ArtefactState) -> String {
    let detail = match (word, &artefact.captured, &artefact.failed) {
        ("failed", _, Some((stage, why))) => format!(" in {stage}: {}", shown(why)),
        ("sealing", Some((_, size, new)), _) => format!(", {} captured, {} new", bytes(*size), bytes(*new)),
        ("done", ..) => format!(", {}, {} stored", bytes(artefact.size), bytes(artefact.stored)),
        _ => String::new(),
    };
    format!("{title}: {word}{detail}")
}

/// Shows how far one long job of this process is, until it is dropped.
pub(crate) struct Meter {
    bar: Option<ProgressBar>,
    _watch: AbortOnDropHandle<()>,
}

impl Meter {
    /// A job of `total` bytes (0: unknown), of which `done` tells how many are done.
    pub(crate) fn new(title: &str, total: u64, done: impl Fn() -> u64 + Send + 'static) -> Self {
        let title = shown(title);
        let bar = io::stderr().is_terminal().then(|| bar(&title, total));
        let shown = bar.clone();
        let watch = async move {
            let mut said = Instant::now();
            let every = if shown.is_some() {
                Duration::from_millis(150)
            } else {
                Duration::from_secs(1)
            };
            loop {
                tokio::time::sleep(every).await;
                match &shown {
                    Some(bar) => bar.set_position(done()),
                    None if said.elapsed() >= LINE_EVERY => {
                        said = Instant::now();
                        let of = if total > 0 {
                            format!(" of {}", bytes(total))
                        } else {
                            String::new()
                        };
                        eprintln!("{title}: {}{of}", bytes(done()));
                    }
                    None => {}
                }
            }
        };
        Self {
            bar,
            _watch: AbortOnDropHandle::new(tokio::spawn(watch)),
        }
    }

    /// Makes a meter as [`Meter::new`] does, for a job of the restore crate.
    pub(crate) fn of(title: &str, total: u64, progress: &Arc<holdfast_restore::Progress>) -> Self {
        let progress = progress.clone();
        Self::new(title, total, move || progress.done())
    }
}

fn bar(title: &str, total: u64) -> ProgressBar {
    let bar = if total > 0 {
        ProgressBar::new(total)
    } else {
        ProgressBar::no_length()
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    let template = if total > 0 {
        "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}"
    } else {
        "{prefix} {spinner} {bytes} {bytes_per_sec}"
    };
    bar.set_style(style(template));
    bar.set_prefix(title.to_owned());
    bar
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
