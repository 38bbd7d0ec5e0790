//! Databases in containers. Their labels mark them, and the volume-snapshotter says how to reach them.

use std::time::Duration;

use futures::future::join_all;
use holdfast_config::{DockerPart, Period, Postgres, Secret, Settings};
use holdfast_events::{DockerAsk, DockerQuestion};
use holdfast_format::{Artefact, ArtefactKind, Class, RunId, SourceName};
use holdfast_postgres::Server;
use holdfast_service::{Context, JobError};
use holdfast_session::{DatabaseContainer, DockerReply, Reachable, Session, ask_docker};

use super::list;

/// The time after which the way to a database is asked for anew, so that it stays open.
const RENEW_EVERY: Duration = Duration::from_secs(DockerAsk::HOLDS_SECONDS / 4);

/// Tells whether the source is databases in containers.
pub(super) fn is_source(settings: &Settings, source: &SourceName) -> bool {
    let mut docker = settings.docker_sources().iter();
    docker.any(|found| found.name == *source && found.part == DockerPart::Databases)
}

/// The artefacts that a run is to bring: `CONTAINER/DATABASE` for each database, `CONTAINER` for its globals. What cannot be
/// listed is expected all the same, so that its capture fails with the reason, and the rest goes on.
pub(super) async fn artefacts(cx: &Context, run: RunId, source: &SourceName) -> Result<Vec<Artefact>, JobError> {
    let expected = cx.expected(run).await?;
    let question = DockerQuestion::Databases {
        stack: expected.stack.clone(),
    };
    let DockerReply::Databases(containers) = ask_docker(cx, question).await? else {
        return Err(unexpected());
    };
    let listing = containers.iter().map(|found| of_container(cx, run, source, found));
    let mut artefacts: Vec<Artefact> = join_all(listing).await.into_iter().flatten().collect();
    artefacts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(artefacts)
}

async fn of_container(cx: &Context, run: RunId, source: &SourceName, found: &DatabaseContainer) -> Vec<Artefact> {
    let container = &found.container;
    let globals = Artefact::new(run, source, ArtefactKind::Globals, container);
    if found.fault.is_some() {
        return vec![globals];
    }
    match databases(cx, container).await {
        Ok(names) => {
            let database =
                |name: String| Artefact::new(run, source, ArtefactKind::Database, &format!("{container}/{name}"));
            names.into_iter().map(database).chain([globals]).collect()
        }
        Err(error) => {
            tracing::warn!(
                container,
                reason = error.reason(),
                "the databases of a container cannot be listed"
            );
            vec![globals]
        }
    }
}

async fn databases(cx: &Context, container: &str) -> Result<Vec<String>, JobError> {
    let ticket = ticket();
    let (source, _) = reach(cx, container, ticket).await?;
    let listed = async {
        let server = Server::of(&source)?;
        list::names(&source, &server, &server.connect().await?).await
    };
    let listed = listed.await;
    release(cx, ticket).await;
    Ok(listed?)
}

/// Captures a database of a container, or its globals.
pub(super) async fn capture(cx: &Context, session: Session) -> Result<(), JobError> {
    let name = session.artefact().name.clone();
    let (container, database) = name.split_once('/').unwrap_or((&name, ""));
    let ticket = ticket();
    let (source, class) = reach(cx, container, ticket).await?;
    let session = session.at_least(class);
    let captured = {
        let renewing = async {
            loop {
                tokio::time::sleep(RENEW_EVERY).await;
                if let Err(error) = reach(cx, container, ticket).await {
                    tracing::warn!(
                        container,
                        reason = error.reason(),
                        "the snapshotter was not told that the databases of a container are still in use; trying again"
                    );
                }
            }
        };
        tokio::select! {
            captured = Box::pin(globals_of_all(cx, session, &source, container, database)) => captured,
            () = renewing => Ok(()),
        }
    };
    release(cx, ticket).await;
    captured.map_err(|error| error.during(&format!("container {container}")))
}

/// The globals come last and alone if the databases of a container could not be listed: then that is what failed.
async fn globals_of_all(
    cx: &Context,
    session: Session,
    source: &Postgres,
    container: &str,
    database: &str,
) -> Result<(), JobError> {
    let server = Server::of(source)?;
    if session.artefact().kind == ArtefactKind::Globals {
        let listed = cx.catalogue.listed(session.run_id(), session.source()).await?;
        let prefix = format!("{container}/");
        let any = listed.is_some_and(|listed| listed.artefacts.iter().any(|one| one.name.starts_with(&prefix)));
        if !any {
            let there = list::names(source, &server, &server.connect().await?).await?;
            if !there.is_empty() {
                return Err(JobError::Fail(format!(
                    "its databases could not be listed when the run began, and are not in it: {}",
                    there.join(", ")
                )));
            }
        }
    }
    super::capture::capture(cx, session, source, &server, database).await
}

/// Names one way to a database: others to the same one stay open when it is not needed any more.
fn ticket() -> u128 {
    uuid::Uuid::new_v4().as_u128()
}

/// The server, and what its databases count as at least.
async fn reach(cx: &Context, container: &str, ticket: u128) -> Result<(Postgres, Option<Class>), JobError> {
    let question = DockerQuestion::Reach {
        container: container.to_owned(),
        ticket,
    };
    match ask_docker(cx, question).await? {
        DockerReply::Reachable(reachable) => Ok((as_configured(cx, container, &reachable)?, reachable.class)),
        _ => Err(unexpected()),
    }
}

async fn release(cx: &Context, ticket: u128) {
    if let Err(error) = ask_docker(cx, DockerQuestion::Release { ticket }).await {
        tracing::debug!(reason = error.reason(), "the way to a database closes by itself");
    }
}

/// The server as if it were configured.
fn as_configured(cx: &Context, container: &str, reachable: &Reachable) -> Result<Postgres, JobError> {
    let mut sources = cx.settings.docker_sources().iter();
    let source = sources.find(|source| source.part == DockerPart::Databases && source.site == cx.site);
    let source = source.ok_or_else(|| {
        JobError::Fail("this worker's configuration has no databases in containers at its site".to_owned())
    })?;
    let docker = cx.settings.docker.as_ref();
    Ok(Postgres {
        name: source.name.clone(),
        container: Some(container.to_owned()),
        site: None,
        url: reachable.connection(),
        password: reachable.password.as_deref().map(Secret::new),
        include: vec!["*".to_owned()],
        exclude: Vec::new(),
        client_dirs: docker.map(|docker| docker.client_dirs.clone()).unwrap_or_default(),
        globals: true,
        lock_timeout: Period::seconds(60),
        max_age: None,
        min_ratio: 0.5,
        sslmode: None,
        sslrootcert: None,
    })
}

fn unexpected() -> JobError {
    JobError::Fail("the answer about databases in containers is to another question".to_owned())
}
