//! The artefact or run that an argument means: `ARTEFACT`, `RUN`, or `SOURCE[/NAME][@TIME]`.

use std::str::FromStr;
use std::sync::Arc;

use holdfast_format::{ArtefactId, ArtefactKind, ObjectKey, RunId, SourceName};
use holdfast_repository::{Catalogue, RepositoryError, SealedManifest};
use holdfast_storage::Prefix;
use jiff::Timestamp;

use crate::overview::{Known, RunView, Standing};
use crate::{CliError, human, parse};

/// The least digits of an artefact's id that name it.
const PREFIX_MIN: usize = 8;

/// An artefact or a run, as an argument names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A run, by its id.
    Run(RunId),
    /// A source's newest artefact, or that of a time; with its name if there may be several.
    Source(SourceName, Option<String>, Option<Timestamp>),
    /// An artefact's id, or its beginning; a source may have such a name too.
    Artefact(String),
}

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(run) = text.parse() {
            return Ok(Self::Run(run));
        }
        let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex && (PREFIX_MIN..=32).contains(&text.len()) {
            return Ok(Self::Artefact(text.to_owned()));
        }
        let (source, name, at) = match text.split_once('/') {
            // A name may hold an @ of its own, so only what reads as a time is one.
            Some((source, rest)) => match rest.rsplit_once('@').map(|(name, at)| (name, parse::time(at))) {
                Some((name, Ok(at))) => (source, Some(name), Some(at)),
                _ => (source, Some(rest), None),
            },
            None => match text.split_once('@') {
                Some((source, at)) => (source, None, Some(parse::time(at)?)),
                None => (text, None, None),
            },
        };
        let source = source.parse::<SourceName>().map_err(|_| {
            format!(
                "{text:?} is neither an artefact's id, a run's id nor SOURCE[/NAME][@TIME]; `holdfast list` shows all"
            )
        })?;
        Ok(Self::Source(source, name.map(str::to_owned), at))
    }
}

/// The artefact that `what` means, among those of `kinds`.
pub(crate) async fn artefact(
    catalogue: &Catalogue,
    what: &What,
    kinds: &[ArtefactKind],
) -> Result<Arc<SealedManifest>, CliError> {
    let found = match what {
        What::Run(run) => of_run(catalogue, *run, kinds).await?,
        What::Source(source, name, at) => of_source(catalogue, source, name.as_deref(), *at, kinds).await?,
        What::Artefact(prefix) => match by_prefix(catalogue, prefix).await? {
            Some(id) => with_manifest(catalogue, id).await?,
            None => match prefix.parse::<SourceName>() {
                Ok(source) => of_source(catalogue, &source, None, None, kinds).await?,
                Err(_) => return Err(nothing(prefix)),
            },
        },
    };
    if kinds.contains(&found.manifest.captured.kind) {
        return Ok(found);
    }
    let words: Vec<&str> = kinds.iter().map(|k| k.as_str()).collect();
    let id = found.manifest.captured.artefact;
    let kind = found.manifest.captured.kind;
    Err(CliError::Usage(format!(
        "artefact {id} is of the kind {kind}, and {} was asked for",
        words.join(" or ")
    )))
}

/// The artefact whose id is this or begins with it. `None` if there is none.
pub(crate) async fn by_prefix(catalogue: &Catalogue, prefix: &str) -> Result<Option<ArtefactId>, CliError> {
    if let Ok(id) = prefix.parse() {
        let there = catalogue.repository().place().head(&ObjectKey::Manifest(id)).await?;
        return Ok(there.map(|_| id));
    }
    let objects = catalogue.repository().place().list(Prefix::Artefacts).await?.objects;
    let found: std::collections::BTreeSet<ArtefactId> = objects
        .into_iter()
        .filter_map(|object| match object.key {
            ObjectKey::Manifest(id) if id.to_string().starts_with(prefix) => Some(id),
            _ => None,
        })
        .collect();
    if found.len() > 1 {
        let all: Vec<String> = found.iter().map(ToString::to_string).collect();
        return Err(CliError::Usage(format!(
            "{prefix} is the beginning of several artefacts' ids: {}",
            all.join(", ")
        )));
    }
    Ok(found.into_iter().next())
}

async fn with_manifest(catalogue: &Catalogue, id: ArtefactId) -> Result<Arc<SealedManifest>, CliError> {
    let found = catalogue.repository().manifest(id).await?;
    found.ok_or_else(|| {
        CliError::failed(format!(
            "artefact {id} has no manifest at this place: it was not finished"
        ))
    })
}

fn nothing(what: &str) -> CliError {
    CliError::failed(format!(
        "there is nothing of {what} at this place that can be restored; `holdfast list` shows all"
    ))
}

/// The one artefact of a run that is of these kinds.
async fn of_run(catalogue: &Catalogue, run: RunId, kinds: &[ArtefactKind]) -> Result<Arc<SealedManifest>, CliError> {
    let view = run_view(catalogue, run).await?;
    let fits: Vec<&Known> = view
        .artefacts
        .iter()
        .filter(|a| kinds.contains(&a.artefact.kind))
        .collect();
    let good: Vec<&Known> = fits
        .iter()
        .copied()
        .filter(|a| !matches!(a.standing, Standing::Failed(..)))
        .collect();
    match good.as_slice() {
        [one] => with_manifest(catalogue, one.artefact.id).await,
        [] => Err(nothing(&format!("run {run}"))),
        many => {
            let names: Vec<String> = many
                .iter()
                .map(|a| format!("{}/{}", a.source, human::shown(&a.artefact.name)))
                .collect();
            let time = human::time(view.started());
            Err(CliError::Usage(format!(
                "run {run} has several of them: {}; name one by its id, or as SOURCE/NAME@\"{time}\"",
                names.join(", ")
            )))
        }
    }
}

/// A run's records.
pub(crate) async fn run_view(catalogue: &Catalogue, run: RunId) -> Result<RunView, CliError> {
    let view = RunView::read(catalogue, run).await?;
    view.ok_or_else(|| CliError::failed(format!("there is no run {run} at this place")))
}

/// The newest good artefact of a source, captured at or before `at`.
async fn of_source(
    catalogue: &Catalogue,
    source: &SourceName,
    name: Option<&str>,
    at: Option<Timestamp>,
    kinds: &[ArtefactKind],
) -> Result<Arc<SealedManifest>, CliError> {
    for run in catalogue.runs().await? {
        // An artefact is never older than its run's id.
        if at.is_some_and(|at| human::run_time(run) > at) {
            continue;
        }
        let view = match RunView::read(catalogue, run).await {
            Ok(Some(view)) => view,
            Ok(None) => continue,
            Err(error) if error.is_unreadable() => {
                tracing::warn!(%run, reason = %holdfast_fault::chain(&error), "a run cannot be read and is passed over");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let fits = |a: &&Known| {
            a.source == *source && kinds.contains(&a.artefact.kind) && name.is_none_or(|name| a.artefact.name == name)
        };
        let mut good = Vec::new();
        for known in view.artefacts.iter().filter(fits) {
            if let Some(found) = usable(catalogue, known).await? {
                good.extend((at.is_none_or(|at| found.manifest.captured.started <= at)).then_some(found));
            }
        }
        match good.len() {
            0 => {}
            1 => return good.pop().ok_or_else(|| nothing(source.as_str())),
            _ => return Err(several(source, &good)),
        }
    }
    let named = name.map(|name| format!("/{}", human::shown(name))).unwrap_or_default();
    let before = at.map(|at| format!("@{at}")).unwrap_or_default();
    Err(nothing(&format!("{source}{named}{before}")))
}

fn several(source: &SourceName, good: &[Arc<SealedManifest>]) -> CliError {
    let names: Vec<String> = good
        .iter()
        .map(|m| format!("{source}/{}", human::shown(&m.manifest.captured.name)))
        .collect();
    CliError::Usage(format!(
        "source {source} has several of them, name one: {}",
        names.join(", ")
    ))
}

/// The manifest of an artefact that is there and not known to be bad.
async fn usable(catalogue: &Catalogue, known: &Known) -> Result<Option<Arc<SealedManifest>>, RepositoryError> {
    if matches!(known.standing, Standing::Failed(..)) {
        return Ok(None);
    }
    let id = known.artefact.id;
    let checked = async {
        let Some(found) = catalogue.repository().manifest(id).await? else {
            return Ok(None);
        };
        let (verifications, _) = catalogue.readable_verifications(id).await?;
        Ok((!catalogue.calls_bad(&verifications)).then_some(found))
    };
    match checked.await {
        Err(error) if RepositoryError::is_unreadable(&error) => {
            tracing::warn!(artefact = %id, reason = %holdfast_fault::chain(&error), "an artefact's manifest cannot be read and is passed over");
            Ok(None)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_people_write() {
        let source = |s: &str| s.parse::<SourceName>().unwrap();
        let time: Timestamp = "2026-11-24T02:00:00Z".parse().unwrap();
        let run = RunId::new(1_795_000_000_000, [7; 10]);
        for (text, want) in [
            ("main", What::Source(source("main"), None, None)),
            ("main/shop", What::Source(source("main"), Some("shop".into()), None)),
            (
                "main@2026-11-24T02:00:00Z",
                What::Source(source("main"), None, Some(time)),
            ),
            (
                "main/a@b/c@2026-11-24T02:00:00Z",
                What::Source(source("main"), Some("a@b/c".into()), Some(time)),
            ),
            ("main/a@b", What::Source(source("main"), Some("a@b".into()), None)),
            ("0123abcd", What::Artefact("0123abcd".into())),
            ("abc", What::Source(source("abc"), None, None)),
        ] {
            assert_eq!(text.parse::<What>(), Ok(want), "{text}");
        }
        assert_eq!(run.to_string().parse::<What>(), Ok(What::Run(run)));
        for text in ["", "Main", "main@yesterday", "../x/y"] {
            assert!(text.parse::<What>().is_err(), "{text}");
        }
    }
}
