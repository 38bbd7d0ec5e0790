//! What a server has: its databases, found at run time, so that a new one is backed up from the first night on.

use glob::Pattern;
use holdfast_config::Postgres;
use holdfast_format::{Artefact, ArtefactKind, RunId, SourceName};

use crate::{PgError, connect};

/// A template is a database like any other, but for the two that every server brings.
const DATABASES: &str = "SELECT datname, datallowconn FROM pg_database \
    WHERE NOT (datistemplate AND datname IN ('template0', 'template1')) ORDER BY datname";

/// The artefacts that the source is to bring in a run: each of its databases that the patterns choose, and the globals.
///
/// # Errors
/// [`PgError`] if the server cannot be asked.
pub(crate) async fn artefacts(source: &Postgres, run: RunId, name: &SourceName) -> Result<Vec<Artefact>, PgError> {
    let client = connect(source, &source.database()).await?;
    let rows = client.query(DATABASES, &[]).await.map_err(|e| PgError::Query {
        source_name: source.name.clone(),
        what: "list the databases".to_owned(),
        source: e,
    })?;
    let mut artefacts = Vec::new();
    for row in &rows {
        let (database, open): (&str, bool) = (row.get(0), row.get(1));
        if !is_chosen(database, &source.include, &source.exclude) {
            continue;
        }
        if open {
            artefacts.push(Artefact::new(run, name, ArtefactKind::Database, database));
        } else {
            tracing::warn!(
                source = source.name,
                database,
                "it does not allow connections, and is not backed up"
            );
        }
    }
    if source.globals {
        artefacts.push(Artefact::new(run, name, ArtefactKind::Globals, "globals"));
    }
    Ok(artefacts)
}

/// Whether the patterns of a source choose a database.
#[must_use]
pub fn is_chosen(database: &str, include: &[String], exclude: &[String]) -> bool {
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
