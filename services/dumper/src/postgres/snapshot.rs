//! One snapshot for both: what `pg_dump` reads and what is counted is the same state of the database.

use std::time::Duration;

use holdfast_format::{DatabaseInfo, Text};
use holdfast_postgres::{Client, DriverError, PgError, Server, properties, text};

use super::error::DumpError;

/// The time for the lock on all tables together, and then, if it is not had, for the lock on each.
const LOCK_WITHIN: [Duration; 2] = [Duration::from_secs(5), Duration::from_millis(200)];

/// A table's name, its number, and the file that it is in as the snapshot sees it: one that is in another file by now was
/// emptied or rewritten, and a snapshot does not protect from that.
const TABLES: &str = "SELECT format('%I.%I', n.nspname, c.relname), c.oid, c.relfilenode \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%' \
    AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') \
    ORDER BY 1";

/// The names that `pg_dumpall` reads and then asks by.
const NAMES: &str = "SELECT rolname FROM pg_catalog.pg_roles UNION SELECT spcname FROM pg_catalog.pg_tablespace";

/// Databases in whose encoding every byte is text, those without any encoding first.
const BYTEWISE: &str = "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn \
    AND pg_catalog.pg_encoding_max_length(encoding) = 1 AND pg_catalog.has_database_privilege(oid, 'CONNECT') \
    ORDER BY pg_catalog.pg_encoding_to_char(encoding) <> 'SQL_ASCII', datname";

/// An open read-only transaction whose snapshot `pg_dump` imports. The snapshot lasts as long as this does.
pub(super) struct Snapshot {
    client: Client,
    /// The very server that has it.
    pub(super) server: Server,
    /// The name for `pg_dump --snapshot`.
    pub(super) id: String,
    /// The server's version in full.
    pub(super) server_version: String,
    pub(super) major: u32,
    /// The database's properties, as of the snapshot.
    pub(super) database: DatabaseInfo,
}

/// The counts inside the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Schema-qualified, quoted table names with their rows.
    pub(super) tables: Vec<(String, u64)>,
    /// Large objects.
    pub(super) large_objects: u64,
    /// Tables that could not be counted, and why.
    pub(super) uncounted: Vec<(String, String)>,
}

/// The database and the encoding by which `pg_dumpall` can read all roles.
pub(super) struct GlobalsAt {
    /// None for the one that it takes by itself.
    pub(super) database: Option<String>,
    pub(super) encoding: String,
}

/// A table as the snapshot sees it.
struct Table {
    /// Quoted, for statements; not one that the driver can say if it is no UTF-8.
    name: Text,
    oid: u32,
    file: u32,
}

impl Snapshot {
    pub(super) async fn open(server: &Server) -> Result<Self, PgError> {
        let (client, server) = server.connect_there().await?;
        let (server_version, major) = server.version(&client).await?;
        let failed = |what: &str| server.query_error(format!("{what} in database {:?}", server.database()));
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
        let exported = exported.map_err(failed("export a snapshot"))?;
        let id = exported.try_get(0).map_err(failed("export a snapshot"))?;
        let database = properties::read(&client, major).await;
        Ok(Self {
            id,
            server_version,
            major,
            database: database.map_err(failed("ask for the properties"))?,
            client,
            server,
        })
    }

    /// Asks whether the user may read the roles' password hashes.
    pub(super) async fn may_read_passwords(&self) -> Result<bool, PgError> {
        let query = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')";
        let row = self.client.query_one(query, &[]).await;
        let may = row.and_then(|row| row.try_get(0));
        may.map_err(self.server.query_error("ask for privileges"))
    }

    /// Finds out where `pg_dumpall` can read all roles, and in which encoding the server converts nothing for it.
    pub(super) async fn globals(&self) -> Result<GlobalsAt, DumpError> {
        let failed = || self.failed("ask where the roles can be read");
        // pg_dumpall connects there by itself.
        let query = "SELECT pg_catalog.pg_encoding_to_char(encoding)::text FROM pg_catalog.pg_database \
            WHERE datname IN ('postgres', 'template1') ORDER BY datname LIMIT 1";
        let row = self.client.query_one(query, &[]).await;
        let encoding = row.and_then(|row| text(&row, 0)).map_err(failed())?.to_string();
        let names = self.texts(NAMES).await.map_err(failed())?;
        let foreign: Vec<String> = names
            .iter()
            .filter(|name| name.as_str().is_none())
            .map(ToString::to_string)
            .collect();
        if foreign.is_empty() || encoding != "UTF8" {
            return Ok(GlobalsAt {
                database: None,
                encoding,
            });
        }
        // pg_dumpall asks for each role by its name, which the server takes where every byte is text.
        let fitting = self.texts(BYTEWISE).await.map_err(failed())?;
        let mut usable = fitting.iter().filter_map(Text::as_str);
        // A name could be read as a connection string.
        match usable.find(|name| !name.contains('=') && !name.contains("://")) {
            Some(database) => Ok(GlobalsAt {
                database: Some(database.to_owned()),
                encoding: "SQL_ASCII".to_owned(),
            }),
            None => Err(DumpError::Roles {
                names: foreign.join(", "),
                encoding,
            }),
        }
    }

    async fn texts(&self, query: &str) -> Result<Vec<Text>, DriverError> {
        let rows = self.client.query(query, &[]).await?;
        rows.iter().map(|row| text(row, 0)).collect()
    }

    /// Counts every ordinary table that a dump holds. A table that the user may not read is named, not passed over: the
    /// dump will fail at it as well, and say so. So is one that somebody else locks, or has emptied since the snapshot.
    ///
    /// To be called once `pg_dump` holds its own locks: who waits for ours would else make it wait as well.
    pub(super) async fn count(&self) -> Result<Counted, PgError> {
        let tables = self.tables().await?;
        let large = "SELECT count(*) FROM pg_catalog.pg_largeobject_metadata";
        let large = self.client.query_one(large, &[]).await;
        let large = large.and_then(|row| row.try_get(0));
        let mut counted = Counted {
            large_objects: unsigned(large.map_err(self.failed("count the large objects"))?),
            ..Counted::default()
        };
        self.lock(&tables).await?;
        for table in &tables {
            let name = table.name.to_string();
            match self.rows(table).await? {
                Ok(rows) => counted.tables.push((name, rows)),
                Err(why) => counted.uncounted.push((name, why)),
            }
        }
        Ok(counted)
    }

    /// The tables, with their names in UTF-8 where the server can convert them, else as they are.
    async fn tables(&self) -> Result<Vec<Table>, PgError> {
        let failed = || self.failed("list the tables");
        if self.database.encoding != "SQL_ASCII" {
            let convert = "SAVEPOINT converting; SET LOCAL client_encoding = 'UTF8'";
            self.client.batch_execute(convert).await.map_err(failed())?;
        }
        let rows = match self.client.query(TABLES, &[]).await {
            Err(error) if error.code().is_some() && self.database.encoding != "SQL_ASCII" => {
                let back = self.client.batch_execute("ROLLBACK TO SAVEPOINT converting").await;
                back.map_err(failed())?;
                self.client.query(TABLES, &[]).await
            }
            rows => rows,
        };
        let table = |row| -> Result<Table, _> {
            Ok(Table {
                name: text(row, 0)?,
                oid: row.try_get(1)?,
                file: row.try_get(2)?,
            })
        };
        let tables: Result<_, _> = rows.map_err(failed())?.iter().map(table).collect();
        tables.map_err(failed())
    }

    /// Keeps all tables from being emptied while they are counted. If that cannot be had soon, each is looked at by itself.
    async fn lock(&self, tables: &[Table]) -> Result<(), PgError> {
        let names: Vec<String> = tables
            .iter()
            .filter_map(|table| Some(format!("ONLY {}", table.name.as_str()?)))
            .collect();
        if names.is_empty() {
            return Ok(());
        }
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
    async fn rows(&self, table: &Table) -> Result<Result<u64, String>, PgError> {
        let failed = || self.failed("count rows");
        let begun = self.client.batch_execute("SAVEPOINT counting").await;
        begun.map_err(failed())?;
        let rows = match self.rows_of(table).await {
            Ok(rows) => unsigned(rows),
            Err(error) if error.code().is_some() => {
                let back = self.client.batch_execute("ROLLBACK TO SAVEPOINT counting").await;
                back.map_err(failed())?;
                return Ok(Err(holdfast_fault::chain(&error).to_string()));
            }
            Err(error) => return Err(failed()(error)),
        };
        // Asked for now: the lock is held from the first count on.
        let query = "SELECT pg_catalog.pg_relation_filenode($1::oid::regclass)";
        let now = self.client.query_one(query, &[&table.oid]).await;
        let now: Option<u32> = now.and_then(|row| row.try_get(0)).map_err(failed())?;
        if now != Some(table.file) {
            return Ok(Err("it was emptied or rewritten after the snapshot".to_owned()));
        }
        Ok(Ok(rows))
    }

    async fn rows_of(&self, table: &Table) -> Result<i64, DriverError> {
        let query = match table.name.as_str() {
            // The name comes quoted from the server's own format('%I.%I').
            Some(name) => format!("SELECT count(*) FROM ONLY {name}"),
            None => {
                // The server itself puts the name in.
                let count = format!(
                    "DO LANGUAGE plpgsql $holdfast$ DECLARE n bigint; BEGIN EXECUTE pg_catalog.format('SELECT count(*) FROM \
                     ONLY %s', {}::oid::regclass) INTO n; PERFORM pg_catalog.set_config('holdfast.rows', n::text, true); END \
                     $holdfast$",
                    table.oid
                );
                self.client.batch_execute(&count).await?;
                "SELECT pg_catalog.current_setting('holdfast.rows')::bigint".to_owned()
            }
        };
        self.client.query_one(&query, &[]).await?.try_get(0)
    }

    fn failed(&self, what: &str) -> impl FnOnce(DriverError) -> PgError + use<> {
        self.server.query_error(what.to_owned())
    }
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
