//! What a server has: its databases, found at run time, so that a new one is backed up from the first night on.

use glob::Pattern;
use holdfast_config::Postgres;
use holdfast_format::{Artefact, ArtefactKind, RunId, SourceName};

use crate::{PgError, connect};

const DATABASES: &str = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname";

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
    let databases: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let chosen = databases
        .iter()
        .filter(|d| is_chosen(d, &source.include, &source.exclude));
    let mut artefacts: Vec<Artefact> = chosen
        .map(|d| Artefact::new(run, name, ArtefactKind::Database, d))
        .collect();
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
