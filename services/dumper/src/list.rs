//! What a server has: its databases, found at run time, so that a new one is backed up from the first night on.

use glob::Pattern;
use holdfast_config::Postgres;
use holdfast_format::{Artefact, ArtefactKind, RunId, SourceName};
use tokio_postgres::Client;

use crate::{PgError, connect};

/// A template is a database like any other, but for the two that every server brings.
const DATABASES: &str = "SELECT datname, datallowconn FROM pg_database \
    WHERE NOT (datistemplate AND datname IN ('template0', 'template1')) ORDER BY datname";

/// The databases of a server that a source's patterns choose, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Databases {
    /// Those that can be dumped.
    pub open: Vec<String>,
    /// Those that do not allow connections, and so cannot.
    pub closed: Vec<String>,
}

/// Asks a server for the databases that the source chooses.
///
/// # Errors
/// [`PgError`] if the server does not tell.
pub async fn databases(source: &Postgres, client: &Client) -> Result<Databases, PgError> {
    let rows = client.query(DATABASES, &[]).await.map_err(|e| PgError::Query {
        source_name: source.label().to_owned(),
        what: "list the databases".to_owned(),
        source: e,
    })?;
    let mut databases = Databases::default();
    for row in &rows {
        let (name, is_open): (String, bool) = (row.get(0), row.get(1));
        if !is_chosen(&name, &source.include, &source.exclude) {
            continue;
        }
        if is_open {
            databases.open.push(name);
        } else {
            databases.closed.push(name);
        }
    }
    Ok(databases)
}

/// The artefacts that the source is to bring in a run: each of its databases that the patterns choose, and the globals.
///
/// # Errors
/// [`PgError`] if the server cannot be asked.
pub(crate) async fn artefacts(source: &Postgres, run: RunId, name: &SourceName) -> Result<Vec<Artefact>, PgError> {
    let client = connect(source, &source.database()).await?;
    let Databases { open, closed } = databases(source, &client).await?;
    for database in closed {
        tracing::warn!(
            source = source.label(),
            database,
            "it does not allow connections, and is not backed up"
        );
    }
    let database = |found: &String| Artefact::new(run, name, ArtefactKind::Database, found);
    let mut artefacts: Vec<Artefact> = open.iter().map(database).collect();
    if source.globals {
        artefacts.push(Artefact::new(run, name, ArtefactKind::Globals, "globals"));
    }
    Ok(artefacts)
}

fn is_chosen(database: &str, include: &[String], exclude: &[String]) -> bool {
    let any = |patterns: &[String]| {
        patterns
            .iter()
            .any(|p| Pattern::new(p).is_ok_and(|p| p.matches(database)))
    };
    any(include) && !any(exclude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_choose() {
        let words = |w: &[&str]| w.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(is_chosen("shop", &words(&["*"]), &[]));
        assert!(!is_chosen("shop_test", &words(&["*"]), &words(&["*_test"])));
        assert!(!is_chosen("shop", &words(&["blog*"]), &[]));
        assert!(is_chosen("dbname=x host=evil", &words(&["*"]), &[]));
    }
}
