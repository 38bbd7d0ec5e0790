//! PostgreSQL: servers that are configured, and servers in containers.

mod capture;
mod completeness;
mod containers;
mod dump;
mod error;
mod list;
mod snapshot;

use holdfast_config::{Postgres, Settings};
use holdfast_format::{Artefact, RunId, SourceName};
use holdfast_postgres::Server;
use holdfast_service::{Context, JobError};
use holdfast_session::Session;

pub use list::{Databases, databases};

/// The artefacts that a source is to bring in a run.
pub(crate) async fn artefacts(cx: &Context, run: RunId, source: &SourceName) -> Result<Vec<Artefact>, JobError> {
    if containers::is_source(&cx.settings, source) {
        return containers::artefacts(cx, run, source).await;
    }
    list::artefacts(configured(&cx.settings, source)?, run, source).await
}

/// Captures a database, or the globals.
pub(crate) async fn capture(cx: &Context, session: Session, source: &SourceName) -> Result<(), JobError> {
    if containers::is_source(&cx.settings, source) {
        return containers::capture(cx, session).await;
    }
    let configured = configured(&cx.settings, source)?;
    let name = session.artefact().name.clone();
    capture::capture(cx, session, configured, &Server::of(configured)?, &name).await
}

fn configured<'a>(settings: &'a Settings, source: &SourceName) -> Result<&'a Postgres, JobError> {
    settings.postgres.iter().find(|p| p.name == *source).ok_or_else(|| {
        JobError::Fail(format!(
            "source {source} is not in this worker's configuration: its site must have it, or the run be started again"
        ))
    })
}
