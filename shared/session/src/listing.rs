//! The listing of a source for a run, written down once.

use holdfast_events::{Fact, after_list};
use holdfast_format::{Artefact, ImageInUse, Listed, ObjectKey, RunId, SourceName};
use holdfast_service::{Context, JobError};

/// The result of listing a source.
#[derive(Default)]
pub struct Listing {
    /// The artefacts to capture.
    pub artefacts: Vec<Artefact>,
    pub images: Vec<ImageInUse>,
    /// Notes for the operator.
    pub notes: Vec<String>,
}

impl From<Vec<Artefact>> for Listing {
    fn from(artefacts: Vec<Artefact>) -> Self {
        Self {
            artefacts,
            ..Self::default()
        }
    }
}

/// Writes a source's artefacts down, unless that was done, and hands on what is written: the captures, then the facts.
///
/// # Errors
/// [`JobError`] if the repository or the bus do not confirm.
pub async fn write_listing(
    cx: &Context,
    run: RunId,
    source: &SourceName,
    listing: impl Into<Listing>,
) -> Result<(), JobError> {
    let Listing {
        artefacts,
        images,
        notes,
    } = listing.into();
    let expected = cx.expected(run).await?;
    let listed = Listed {
        run,
        source: source.clone(),
        at: cx.now(),
        artefacts,
        images,
        notes,
    };
    cx.repository
        .write(&ObjectKey::Listed(run, source.clone()), &listed)
        .await?;
    // Whoever wrote first decides: two listings of a busy server may differ.
    let stands = cx.catalogue.listed(run, source).await?;
    let stands = stands.ok_or_else(|| JobError::Retry(format!("the listing of {source} is not there yet")))?;
    cx.bus
        .publish_works(&after_list(&expected, source, &stands.artefacts))
        .await?;
    Ok(cx
        .bus
        .publish_facts(&Fact::listed(run, stands.at, source, &stands.artefacts))
        .await?)
}
