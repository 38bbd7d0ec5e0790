//! One snapshot for both: what `pg_dump` reads and what is counted is the same state of the database.

use std::time::Duration;

use holdfast_config::Postgres;
use holdfast_format::DatabaseInfo;
use tokio_postgres::{Client, Row};

use crate::{PgError, connect, properties};

/// How long the lock on all tables together is waited for, and then, if it is not had, that on each.
const LOCK_WITHIN: [Duration; 2] = [Duration::from_secs(5), Duration::from_millis(200)];

/// A table's name, its number, and the file that it is in as the snapshot sees it: one that is in another file by now was
/// emptied or rewritten, and a snapshot does not protect from that.
const TABLES: &str = "SELECT format('%I.%I', n.nspname, c.relname), c.oid, c.relfilenode \
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
    /// The database's properties, as of the snapshot.
    pub(crate) database: DatabaseInfo,
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
            let (source_name, what) = (source.label().to_owned(), format!("{what} in database {database:?}"));
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
        let major = number.parse::<u32>().unwrap_or(0) / 10_000;
        // As pg_dump does, against what is set for the user. Rows that a policy hides are an error, not missing.
        let mut begin =
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; \
                         SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL search_path = ''; \
                         SET LOCAL lock_timeout = '5s'; SET LOCAL row_security = off"
                .to_owned();
        if major >= 17 {
            begin.push_str("; SET LOCAL transaction_timeout = 0");
        }
        client
            .batch_execute(&begin)
            .await
            .map_err(failed("begin a transaction"))?;
        let exported = client.query_one("SELECT pg_catalog.pg_export_snapshot()", &[]).await;
        let id = Some(exported.map_err(failed("export a snapshot"))?.get(0));
        let database = properties::read(&client, major)
            .await
            .map_err(failed("ask for the properties"))?;
        let version: String = version.get(0);
        Ok(Self {
            source_name: source.label().to_owned(),
            id,
            server_version: version.split_whitespace().next().unwrap_or_default().to_owned(),
            major,
            database,
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
    /// dump will fail at it as well, and say so. So is one that somebody else locks, or has emptied since the snapshot.
    ///
    /// To be called once `pg_dump` holds its own locks: who waits for ours would else make it wait as well.
    pub(crate) async fn count(&self) -> Result<Counted, PgError> {
        let tables = self.client.query(TABLES, &[]).await;
        let tables = tables.map_err(self.failed("list the tables"))?;
        let large = "SELECT count(*) FROM pg_catalog.pg_largeobject_metadata";
        let large = self.client.query_one(large, &[]).await;
        let mut counted = Counted {
            large_objects: unsigned(large.map_err(self.failed("count the large objects"))?.get(0)),
            ..Counted::default()
        };
        self.lock(&tables).await?;
        for row in &tables {
            let table: String = row.get(0);
            match self.rows(row).await? {
                Ok(rows) => counted.tables.push((table, rows)),
                Err(why) => counted.uncounted.push((table, why)),
            }
        }
        Ok(counted)
    }

    /// Keeps all tables from being emptied while they are counted. If that cannot be had soon, each is looked at by itself.
    async fn lock(&self, tables: &[Row]) -> Result<(), PgError> {
        if tables.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = tables
            .iter()
            .map(|row| format!("ONLY {}", row.get::<_, &str>(0)))
            .collect();
        let [together, each] = LOCK_WITHIN.map(|time| time.as_millis());
        let lock = format!(
            "SAVEPOINT locking; SET LOCAL lock_timeout = {together}; LOCK TABLE {} IN ACCESS SHARE MODE",
            names.join(", ")
        );
        if let Err(error) = self.client.batch_execute(&lock).await {
            if error.code().is_none() {
                return Err(self.failed("lock the tables")(error));
            }
            let back = self.client.batch_execute("ROLLBACK TO SAVEPOINT locking").await;
            back.map_err(self.failed("lock the tables"))?;
        }
        let set = self
            .client
            .batch_execute(&format!("SET LOCAL lock_timeout = {each}"))
            .await;
        set.map_err(self.failed("lock the tables"))
    }

    /// A table's rows, or why they are not known.
    async fn rows(&self, table: &Row) -> Result<Result<u64, String>, PgError> {
        let failed = || self.failed("count rows");
        let (name, oid, file): (&str, u32, u32) = (table.get(0), table.get(1), table.get(2));
        // The name comes quoted from the server's own format('%I.%I').
        let query = format!("SELECT count(*) FROM ONLY {name}");
        let begun = self.client.batch_execute("SAVEPOINT counting").await;
        begun.map_err(failed())?;
        let rows = match self.client.query_one(&query, &[]).await {
            Ok(row) => unsigned(row.get(0)),
            Err(error) if error.code().is_some() => {
                let back = self.client.batch_execute("ROLLBACK TO SAVEPOINT counting").await;
                back.map_err(failed())?;
                return Ok(Err(holdfast_fault::chain(&error).to_string()));
            }
            Err(error) => return Err(failed()(error)),
        };
        // Asked for now: the lock is held from the first count on.
        let query = "SELECT pg_catalog.pg_relation_filenode($1::oid::regclass)";
        let now = self.client.query_one(query, &[&oid]).await.map_err(failed())?;
        if now.get::<_, Option<u32>>(0) != Some(file) {
            return Ok(Err("it was emptied or rewritten after the snapshot".to_owned()));
        }
        Ok(Ok(rows))
    }

    fn failed(&self, what: &str) -> impl FnOnce(tokio_postgres::Error) -> PgError {
        let (source_name, what) = (self.source_name.clone(), what.to_owned());
        move |source| PgError::Query {
            source_name,
            what,
            source,
        }
    }
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
