//! Whether every table holds as many rows as the snapshot did.

use std::collections::HashMap;

use holdfast_format::Content;
use tokio_postgres::Client;

use super::restore::DatabaseError;
use super::server::Server;
use crate::source::OpenArtefact;
use crate::stream::StreamError;

/// A table that does not hold what was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowDifference {
    /// The table, as the contents name it.
    pub table: String,
    /// Rows in the snapshot.
    pub expected: u64,
    /// Rows now; `None` if there is no such table.
    pub found: Option<u64>,
}

/// What comparing rows gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowsReport {
    /// Tables compared.
    pub tables: u64,
    /// Rows counted in them.
    pub rows: u64,
    /// Tables that differ.
    pub differences: Vec<RowDifference>,
}

impl RowsReport {
    /// Whether all tables are there with all their rows.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Counts the rows of every table that the contents name, in the server's database, and compares. A table's own rows are
/// counted, without those of its children; a partitioned table's are those of its partitions.
///
/// # Errors
/// [`DatabaseError`] if the contents cannot be read or the server fails.
pub async fn compare_rows(artefact: &OpenArtefact, server: &Server) -> Result<RowsReport, DatabaseError> {
    let wanted = tables(artefact).map_err(|source| DatabaseError::Stream {
        database: server.database().to_owned(),
        source: Box::new(source),
    })?;
    let mut report = RowsReport::default();
    if wanted.is_empty() {
        return Ok(report);
    }
    let client = server.connect().await?;
    let present = present(server, &client).await?;
    for (table, expected) in wanted {
        let found = match present.get(&table) {
            Some(from) => Some(count(server, &client, &table, from).await?),
            None => None,
        };
        report.tables += 1;
        report.rows += found.unwrap_or(0);
        if found != Some(expected) {
            report.differences.push(RowDifference { table, expected, found });
        }
    }
    Ok(report)
}

fn tables(artefact: &OpenArtefact) -> Result<Vec<(String, u64)>, StreamError> {
    let mut tables = Vec::new();
    for line in artefact.origin().lines()? {
        if let Content::Table(name, rows) = line? {
            tables.push((name, rows));
        }
    }
    Ok(tables)
}

/// What to count from, by a table's name; both with and without the quotes that its parts would need.
async fn present(server: &Server, client: &Client) -> Result<HashMap<String, String>, DatabaseError> {
    let rows = client
        .query(
            "SELECT n.nspname || '.' || c.relname, format('%I.%I', n.nspname, c.relname), c.relkind = 'p'
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'm', 'f')",
            &[],
        )
        .await
        .map_err(server.query_error("list tables"))?;
    let mut present = HashMap::new();
    for row in &rows {
        let (plain, quoted, partitioned): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
        let from = if partitioned {
            quoted.clone()
        } else {
            format!("ONLY {quoted}")
        };
        // Dots in names may make a plain name ambiguous; the quoted one never is, and wins.
        present.entry(plain).or_insert_with(|| from.clone());
        present.insert(quoted, from);
    }
    Ok(present)
}

async fn count(server: &Server, client: &Client, table: &str, from: &str) -> Result<u64, DatabaseError> {
    let row = client
        .query_one(&format!("SELECT count(*) FROM {from}"), &[])
        .await
        .map_err(server.query_error(format!("count the rows of {table}")))?;
    Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
}
