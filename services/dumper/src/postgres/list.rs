//! The databases of a server, found at run time, so that a new one is backed up from the first night on.

use glob::Pattern;
use holdfast_config::Postgres;
use holdfast_format::{Artefact, ArtefactKind, RunId, SourceName, Text};
use holdfast_postgres::{Client, PgError, Server, text};
use holdfast_service::JobError;

/// A template is a database like any other, but for the two that every server brings.
const DATABASES: &str = "SELECT datname, datallowconn FROM pg_catalog.pg_database \
    WHERE NOT (datistemplate AND datname IN ('template0', 'template1')) ORDER BY datname";

/// The databases of a server that a source's patterns choose, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Databases {
    /// Databases that can be dumped.
    pub open: Vec<String>,
    /// Databases that allow no connections, and so cannot be dumped.
    pub closed: Vec<String>,
    /// Databases whose names are not UTF-8, and so cannot be asked for.
    pub unnamed: Vec<Text>,
}

impl Databases {
    /// The names of all that are to be backed up. Bytes that are no UTF-8 are written as `\xHH`.
    fn expected(&self) -> Vec<String> {
        let mut names = self.open.clone();
        for name in &self.unnamed {
            let shown = name.to_string();
            if names.contains(&shown) {
                tracing::warn!(
                    database = shown,
                    "a database whose name is not UTF-8 looks like another, and is not backed up"
                );
            } else {
                names.push(shown);
            }
        }
        names
    }
}

/// Asks a server for the databases that the source chooses.
///
/// # Errors
/// [`PgError`] if the server does not tell.
pub async fn databases(source: &Postgres, server: &Server, client: &Client) -> Result<Databases, PgError> {
    let mut databases = Databases::default();
    let failed = || server.query_error("list the databases");
    for row in &client.query(DATABASES, &[]).await.map_err(failed())? {
        let name = text(row, 0).map_err(failed())?;
        if !is_chosen(&name.to_string(), &source.include, &source.exclude) {
            continue;
        }
        let is_open: bool = row.try_get(1).map_err(failed())?;
        match name.as_str() {
            _ if !is_open => databases.closed.push(name.to_string()),
            Some(name) => databases.open.push(name.to_owned()),
            None => databases.unnamed.push(name),
        }
    }
    Ok(databases)
}

/// The names of the databases that are to be backed up; those that cannot be are told.
pub(super) async fn names(source: &Postgres, server: &Server, client: &Client) -> Result<Vec<String>, PgError> {
    let found = databases(source, server, client).await?;
    for database in &found.closed {
        tracing::warn!(
            source = source.label(),
            database,
            "a database allows no connections, and is not backed up"
        );
    }
    Ok(found.expected())
}

/// The artefacts that the source is to bring in a run: each of its databases that the patterns choose, and the globals.
pub(super) async fn artefacts(source: &Postgres, run: RunId, name: &SourceName) -> Result<Vec<Artefact>, JobError> {
    let server = Server::of(source)?;
    let client = server.connect().await?;
    let names = names(source, &server, &client).await?;
    let database = |found: &String| Artefact::new(run, name, ArtefactKind::Database, found);
    let mut artefacts: Vec<Artefact> = names.iter().map(database).collect();
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

    #[test]
    fn a_name_that_is_no_utf8_is_expected_in_escapes() {
        let databases = Databases {
            open: vec!["shop".to_owned(), r"old\xe9".to_owned()],
            closed: vec!["closed".to_owned()],
            unnamed: vec![Text::from(b"caf\xe9".to_vec()), Text::from(b"old\xe9".to_vec())],
        };
        assert_eq!(databases.expected(), ["shop", r"old\xe9", r"caf\xe9"]);
    }
}
