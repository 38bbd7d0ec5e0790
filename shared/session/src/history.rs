//! The artefacts before a capture, and the findings about them.

use std::collections::HashSet;

use holdfast_format::{PackId, Profile};
use holdfast_repository::{Latest, SealedManifest};
use holdfast_service::JobError;
use jiff::Timestamp;

use crate::parent::Parent;
use crate::session::Session;

/// From which delivery on a parent is no longer tried: if it is what fails, the artefact is captured whole.
const WITHOUT_PARENT_FROM: u64 = 3;

/// The artefacts before a capture, and the findings about them.
pub(crate) struct History {
    /// The time at which the state that is captured was fixed.
    pub(crate) started: Timestamp,
    /// The artefact before this one, good or not.
    pub(crate) latest: Latest,
    /// The artefact whose chunks may be referenced.
    pub(crate) parent: Option<Parent>,
    /// Packs that a verification found damaged.
    pub(crate) bad: HashSet<PackId>,
}

impl History {
    /// Looks for all of it in the repository, and fetches the parent's contents.
    ///
    /// # Errors
    /// [`JobError`] if the repository cannot be read.
    pub(crate) async fn of(session: &Session, started: Timestamp) -> Result<Self, JobError> {
        let artefact = &session.artefact;
        let run = Some(session.work.run);
        let catalogue = &session.cx.catalogue;
        let latest = catalogue.latest(&session.source, artefact.kind, &artefact.name, run);
        Ok(Self {
            started,
            latest: latest.await?,
            parent: parent(session).await?,
            bad: catalogue.damaged_packs().await?.into_iter().collect(),
        })
    }
}

/// The newest good artefact of the same name, if its packs are sealed to the same keys in the same way. The same
/// certificates are not enough: a subkey may have been replaced within one of them.
async fn parent(session: &Session) -> Result<Option<Parent>, JobError> {
    if session.expected.fresh || session.delivery >= WITHOUT_PARENT_FROM {
        return Ok(None);
    }
    let artefact = &session.artefact;
    let run = Some(session.work.run);
    let catalogue = &session.cx.catalogue;
    let newest = catalogue.newest(&session.source, artefact.kind, &artefact.name, run);
    let (recipients, profile) = session.cx.recipients()?;
    let readers = recipients.readers();
    let Some(newest) = newest.await? else {
        return Ok(None);
    };
    if !fits(&newest, &readers, profile) {
        let artefact = newest.manifest.captured.artefact;
        tracing::info!(%artefact, "the newest backup is sealed to other keys or in another way, so it is no parent: all is stored anew");
        return Ok(None);
    }
    Ok(Parent::fetch(&session.cx, newest).await)
}

/// True if an artefact's packs are sealed to these keys, in this way.
fn fits(newest: &SealedManifest, readers: &[String], profile: Profile) -> bool {
    let captured = &newest.manifest.captured;
    captured.readers == readers && captured.profile == profile.as_str()
}
