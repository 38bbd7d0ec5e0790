//! The database to restore into: looked at before anything is changed, made if it is missing, finished at the end.

use holdfast_format::DatabaseInfo;
use tokio_postgres::Client;

use super::properties::{self, Statement, quoted};
use super::restore::{DatabaseError, DatabaseOptions};
use super::server::{Server, ServerError};
use super::tools::Tool;
use crate::source::OpenArtefact;

/// The longest name of a database, in bytes. PostgreSQL would cut a longer one off, and so mean another database.
const NAME_MAX: usize = 63;

/// What was found of the target. Nothing is changed yet.
pub(super) struct Target {
    pub(super) tool: Tool,
    pub(super) major: u32,
    /// Whether the database is to be made.
    pub(super) missing: bool,
}

/// Looks whether the restore can be done.
pub(super) async fn look(
    artefact: &OpenArtefact,
    server: &Server,
    options: &DatabaseOptions,
) -> Result<Target, DatabaseError> {
    let (database, info) = (server.database(), artefact.manifest().captured.database.as_ref());
    if database.len() > NAME_MAX {
        return Err(DatabaseError::LongName {
            database: database.to_owned(),
            most: NAME_MAX,
        });
    }
    let (client, missing) = match server.connect().await {
        Ok(client) => (client, false),
        Err(ServerError::Connect { source, .. }) if is_no_database(&source) => {
            if !options.create {
                return Err(DatabaseError::NoDatabase {
                    database: database.to_owned(),
                    server: server.describe(),
                });
            }
            (maintenance(server).await?, true)
        }
        Err(error) => return Err(error.into()),
    };
    let major = server_major(server, &client).await?;
    let tool = Tool::for_dump("pg_restore", artefact.manifest(), Some(major), &options.client_dirs)?;
    if missing {
        refuse_if_not_allowed(server, &client).await?;
        if let Some(info) = info {
            refuse_if_unknown(server, &client, info, major).await?;
        }
    } else {
        if !options.overwrite {
            refuse_if_used(server, &client).await?;
        }
        if let Some(info) = info {
            refuse_other_encoding(server, &client, info).await?;
        }
    }
    Ok(Target { tool, major, missing })
}

/// Makes the database, closed to who may not connect to it. Gives whether it has its owner, and what could not be done.
pub(super) async fn create(
    server: &Server,
    info: Option<&DatabaseInfo>,
    major: u32,
    no_owner: bool,
) -> Result<(bool, Vec<String>), DatabaseError> {
    let client = maintenance(server).await?;
    let mut doing = format!("create the database {:?}", server.database());
    if let Some(info) = info {
        doing.push_str(&format!(" ({})", properties::described(info)));
    }
    client
        .batch_execute(&properties::create(server.database(), info, major))
        .await
        .map_err(server.query_error(doing))?;
    let mut warnings = Vec::new();
    let Some(info) = info.filter(|_| !no_owner) else {
        return Ok((false, warnings));
    };
    let owned = match own(server, &client, &info.owner).await {
        Ok(()) => true,
        Err(why) => {
            warnings.push(format!("owner {:?} was not set: {why}", info.owner));
            false
        }
    };
    if info.acl.is_some() {
        run(&client, &[properties::close(server.database())], &mut warnings).await;
    }
    Ok((owned, warnings))
}

/// Hands the database to its owner, unless the user would lose its own rights by that.
async fn own(server: &Server, client: &Client, owner: &str) -> Result<(), String> {
    let question = "SELECT pg_has_role(oid, 'USAGE') FROM pg_roles WHERE rolname = $1";
    let row = client
        .query_opt(question, &[&owner])
        .await
        .map_err(|error| said(&error))?;
    match row.map(|row| row.get::<_, bool>(0)) {
        None => return Err(format!("role {owner:?} does not exist")),
        Some(false) => return Err(format!("the connecting user is not a member of {owner:?}")),
        Some(true) => {}
    }
    let sql = format!(
        "ALTER DATABASE {} OWNER TO {}",
        quoted(server.database()),
        quoted(owner)
    );
    client.batch_execute(&sql).await.map_err(|error| said(&error))
}

/// Applies what is to be applied once the data is there. Gives what could not be done.
pub(super) async fn finish(server: &Server, info: &DatabaseInfo, owned: bool, no_owner: bool) -> Vec<String> {
    let statements = properties::after(server.database(), info, owned, no_owner);
    let mut warnings = Vec::new();
    if statements.is_empty() {
        return warnings;
    }
    match maintenance(server).await {
        Ok(client) => run(&client, &statements, &mut warnings).await,
        Err(error) => {
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            warnings.extend(
                statements
                    .iter()
                    .map(|statement| format!("{} was not set: {why}", statement.what)),
            );
        }
    }
    warnings
}

/// Removes a database that was made by this very call, or was left by one before it, with all that is in it.
pub(super) async fn remove(server: &Server) {
    let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(server.database()));
    let removed = match maintenance(server).await {
        Ok(client) => client.batch_execute(&statement).await.map_err(|error| said(&error)),
        Err(error) => Err(error.to_string()),
    };
    if let Err(reason) = removed {
        tracing::warn!(
            database = server.database(),
            reason,
            "a database of this restore's own could not be dropped"
        );
    }
}

async fn run(client: &Client, statements: &[Statement], warnings: &mut Vec<String>) {
    for statement in statements {
        if let Err(error) = client.batch_execute(&statement.sql).await {
            warnings.push(format!("{} was not set: {}", statement.what, said(&error)));
        }
    }
}

/// What the server said, without the driver's words around it.
fn said(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |said| said.message().to_owned())
}

/// A connection to a database that every server has, and that is not the server's own.
pub(super) async fn beside(server: &Server) -> Result<Client, ServerError> {
    if server.database() == "postgres" {
        return server.with_database("template1").connect().await;
    }
    maintenance(server).await
}

/// A connection to a database that every server has.
async fn maintenance(server: &Server) -> Result<Client, ServerError> {
    match server.with_database("postgres").connect().await {
        Err(ServerError::Connect { source, .. }) if is_no_database(&source) => {
            server.with_database("template1").connect().await
        }
        connected => connected,
    }
}

fn is_no_database(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&tokio_postgres::error::SqlState::INVALID_CATALOG_NAME)
}

async fn server_major(server: &Server, client: &Client) -> Result<u32, ServerError> {
    let row = client
        .query_one("SELECT current_setting('server_version_num')::int / 10000", &[])
        .await
        .map_err(server.query_error("ask for the version"))?;
    Ok(u32::try_from(row.get::<_, i32>(0)).unwrap_or(0))
}

async fn refuse_if_not_allowed(server: &Server, client: &Client) -> Result<(), DatabaseError> {
    let question = "SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user";
    let row = client
        .query_one(question, &[])
        .await
        .map_err(server.query_error("ask for the right to create databases"))?;
    if row.get(0) {
        return Ok(());
    }
    Err(DatabaseError::MayNotCreate {
        database: server.database().to_owned(),
        server: server.describe(),
    })
}

async fn refuse_if_unknown(
    server: &Server,
    client: &Client,
    info: &DatabaseInfo,
    major: u32,
) -> Result<(), DatabaseError> {
    let unfit = |problem: String| DatabaseError::Unfit {
        database: server.database().to_owned(),
        server: server.describe(),
        problem,
    };
    let row = client
        .query_one("SELECT pg_char_to_encoding($1::text::name) >= 0", &[&info.encoding])
        .await
        .map_err(server.query_error("ask for the encoding"))?;
    if !row.get::<_, bool>(0) {
        return Err(unfit(format!("the encoding {} is unknown", info.encoding)));
    }
    let provider = info.locale_provider.as_deref().unwrap_or("libc");
    let since = match provider {
        "libc" => 0,
        "icu" => 15,
        _ => 17,
    };
    if major < since {
        return Err(unfit(format!(
            "its locale is one of {provider}, which a database may have since PostgreSQL {since}"
        )));
    }
    // Any setting that names a locale finds out whether the system has it.
    for locale in [&info.collate, &info.ctype] {
        let asked = client
            .query_one("SELECT set_config('lc_monetary', $1, true)", &[locale])
            .await;
        match asked {
            Ok(_) => {}
            Err(error) if error.code().is_some() => {
                return Err(unfit(format!("the system has no locale {locale:?}: install it there")));
            }
            Err(error) => return Err(server.query_error("ask for the locale")(error).into()),
        }
    }
    Ok(())
}

async fn refuse_other_encoding(server: &Server, client: &Client, info: &DatabaseInfo) -> Result<(), DatabaseError> {
    let question = "SELECT pg_encoding_to_char(encoding)::text FROM pg_database WHERE datname = current_database()";
    let row = client
        .query_one(question, &[])
        .await
        .map_err(server.query_error("ask for the encoding"))?;
    let found: String = row.get(0);
    if found == info.encoding {
        return Ok(());
    }
    Err(DatabaseError::OtherEncoding {
        database: server.database().to_owned(),
        server: server.describe(),
        found,
        captured: info.encoding.clone(),
    })
}

/// What an empty database does not have: relations, functions and types outside the system's schemas that no extension
/// brought, further schemas, large objects.
const USED: &str = "
    SELECT what FROM (
        SELECT format('%I.%I', n.nspname, c.relname) AS what FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e')
        UNION ALL
        SELECT format('%I.%I()', n.nspname, p.proname) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
            WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e')
        UNION ALL
        SELECT format('type %I.%I', n.nspname, t.typname) FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
            WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
            AND t.typtype IN ('d', 'e', 'r')
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.oid AND d.classid = 'pg_type'::regclass AND d.deptype = 'e')
        UNION ALL
        SELECT format('schema %I', nspname) FROM pg_namespace n
            WHERE nspname NOT IN ('public', 'information_schema') AND nspname !~ '^pg_'
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = n.oid AND d.classid = 'pg_namespace'::regclass AND d.deptype = 'e')
        UNION ALL
        (SELECT 'large object ' || oid FROM pg_largeobject_metadata LIMIT 4)
    ) used LIMIT 4";

async fn refuse_if_used(server: &Server, client: &Client) -> Result<(), DatabaseError> {
    let rows = client
        .query(USED, &[])
        .await
        .map_err(server.query_error("look whether the database is empty"))?;
    if rows.is_empty() {
        return Ok(());
    }
    let mut what: Vec<String> = rows.iter().take(3).map(|row| row.get(0)).collect();
    if rows.len() > 3 {
        what.push("...".to_owned());
    }
    Err(DatabaseError::NotEmpty {
        database: server.database().to_owned(),
        server: server.describe(),
        what: what.join(", "),
    })
}
