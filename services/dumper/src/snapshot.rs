//! One snapshot for both: what `pg_dump` reads and what is counted is the same state of the database.

use holdfast_config::Postgres;
use tokio_postgres::Client;

use crate::{PgError, connect};

const TABLES: &str = "SELECT format('%I.%I', n.nspname, c.relname) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%' \
    AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') \
    ORDER BY 1";

/// An open read-only transaction whose snapshot `pg_dump` imports. The snapshot lasts as long as this does.
pub(crate) struct Snapshot {
    client: Client,
    source_name: String,
    /// Its name for `pg_dump --snapshot`; `None` where the server cannot export one (a standby in some states): then
    /// counts and dump may differ, and the counts are left out.
    pub(crate) id: Option<String>,
    /// The server's version in full.
    pub(crate) server_version: String,
    /// Its major version.
    pub(crate) major: u32,
}

/// What was counted inside the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Schema-qualified, quoted table names with their rows.
    pub(crate) tables: Vec<(String, u64)>,
    /// Large objects.
    pub(crate) large_objects: u64,
    /// Tables that could not be counted, and why.
    pub(crate) uncounted: Vec<(String, String)>,
}

impl Snapshot {
    pub(crate) async fn open(source: &Postgres, database: &str) -> Result<Self, PgError> {
        let client = connect(source, database).await?;
        let failed = |what: &str| {
            let (source_name, what) = (source.name.clone(), format!("{what} in database {database:?}"));
            move |source| PgError::Query {
                source_name,
                what,
                source,
            }
        };
        let version = client
            .query_one("SHOW server_version", &[])
            .await
            .map_err(failed("ask the version"))?;
        let number = client
            .query_one("SHOW server_version_num", &[])
            .await
            .map_err(failed("ask the version"))?;
        let number: String = number.get(0);
        let begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; \
                     SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL search_path = ''";
        client
            .batch_execute(begin)
            .await
            .map_err(failed("begin a transaction"))?;
        let exported = client.query_one("SELECT pg_catalog.pg_export_snapshot()", &[]).await;
        let version: String = version.get(0);
        Ok(Self {
            source_name: source.name.clone(),
            id: Some(exported.map_err(failed("export a snapshot"))?.get(0)),
            server_version: version.split_whitespace().next().unwrap_or_default().to_owned(),
            major: number.parse::<u32>().unwrap_or(0) / 10_000,
            client,
        })
    }

    /// Whether the user may read the roles' password hashes.
    pub(crate) async fn may_read_passwords(&self) -> Result<bool, PgError> {
        let query = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')";
        let row = self
            .client
            .query_one(query, &[])
            .await
            .map_err(|source| PgError::Query {
                source_name: self.source_name.clone(),
                what: "ask for privileges".to_owned(),
                source,
            })?;
        Ok(row.get(0))
    }

    /// Counts every ordinary table that a dump holds. A table that the user may not read is named, not passed over: the
    /// dump will fail at it as well, and say so.
    pub(crate) async fn count(&self) -> Result<Counted, PgError> {
        let failed = |what: &str| {
            let (source_name, what) = (self.source_name.clone(), what.to_owned());
            move |source| PgError::Query {
                source_name,
                what,
                source,
            }
        };
        let tables = self
            .client
            .query(TABLES, &[])
            .await
            .map_err(failed("list the tables"))?;
        let large = "SELECT count(*) FROM pg_catalog.pg_largeobject_metadata";
        let large = self
            .client
            .query_one(large, &[])
            .await
            .map_err(failed("count the large objects"))?;
        let mut counted = Counted {
            large_objects: unsigned(large.get(0)),
            ..Counted::default()
        };
        for row in tables {
            let table: String = row.get(0);
            // The name comes quoted from the server's own format('%I.%I').
            let query = format!("SELECT count(*) FROM ONLY {table}");
            self.client
                .batch_execute("SAVEPOINT counting")
                .await
                .map_err(failed("count rows"))?;
            match self.client.query_one(&query, &[]).await {
                Ok(row) => counted.tables.push((table, unsigned(row.get(0)))),
                Err(error) if error.code().is_some() => {
                    self.client
                        .batch_execute("ROLLBACK TO SAVEPOINT counting")
                        .await
                        .map_err(failed("count rows"))?;
                    counted
                        .uncounted
                        .push((table, holdfast_telemetry::chain(&error).to_string()));
                }
                Err(error) => return Err(failed("count rows")(error)),
            }
        }
        Ok(counted)
    }
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
