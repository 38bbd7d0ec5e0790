//! The database to restore into: looked at before anything is changed, made if it is missing, finished at the end.

use holdfast_format::{DatabaseInfo, Text};
use holdfast_postgres::properties::{self, Scribe, Statement};
use holdfast_postgres::{Client, PgError, Program, Programs, Server, major, sql, text};

use super::error::DatabaseError;
use super::options::DatabaseOptions;
use crate::source::OpenArtefact;

/// The longest name of a database, in bytes. PostgreSQL would cut a longer one off, and so mean another database.
const NAME_MAX: usize = 63;

/// The target as it was found. Nothing is changed yet.
pub(super) struct TargetDatabase {
    /// The very server, if several were named.
    pub(super) server: Server,
    pub(super) program: Program,
    pub(super) major: u32,
    pub(super) missing: bool,
}

/// A number that stands for the database's name.
pub(super) fn mark(name: &str) -> u32 {
    let [a, b, c, d, ..] = openssl::sha::sha256(name.as_bytes());
    u32::from_be_bytes([a, b, c, d])
}

/// The name of a database that takes every byte, if one has to be made for this one's properties.
pub(super) fn spare_name(database: &str) -> String {
    format!("holdfast_raw_{:08x}", mark(database))
}

/// A name as an SQL identifier.
pub(super) fn quoted(name: &str) -> String {
    String::from_utf8_lossy(&sql::identifier(name)).into_owned()
}

/// Looks whether the restore can be done.
pub(super) async fn look(
    artefact: &OpenArtefact,
    server: &Server,
    options: &DatabaseOptions,
) -> Result<TargetDatabase, DatabaseError> {
    let database = server.database();
    let info = artefact.manifest().captured.database.as_ref();
    if database.len() > NAME_MAX {
        return Err(DatabaseError::LongName {
            database: database.to_owned(),
            most: NAME_MAX,
        });
    }
    let ((client, server), missing) = match server.connect_there().await {
        Ok(there) => (there, false),
        Err(error) if error.is_no_database() => {
            if !options.create {
                return Err(DatabaseError::NoDatabase {
                    database: database.to_owned(),
                    server: server.describe(),
                });
            }
            (server.connect_beside().await?, true)
        }
        Err(error) => return Err(error.into()),
    };
    let (_, server_major) = server.version(&client).await?;
    let dumped_by = artefact
        .manifest()
        .captured
        .tools
        .get("pg_dump")
        .and_then(|version| major(version));
    let programs = Programs::in_dirs(&options.client_dirs);
    let program = programs.find("pg_restore", dumped_by.unwrap_or(0), Some(server_major))?;
    if missing {
        refuse_if_not_allowed(&server, &client).await?;
        if let Some(info) = info {
            refuse_if_unknown(&server, &client, info, server_major).await?;
        }
    } else {
        if !options.overwrite {
            refuse_if_used(&server, &client).await?;
        }
        if let Some(info) = info {
            refuse_other_encoding(&server, &client, info).await?;
        }
    }
    Ok(TargetDatabase {
        server,
        program,
        major: server_major,
        missing,
    })
}

/// Makes the database, closed to who may not connect to it. Gives whether it has its owner, and what could not be done.
pub(super) async fn create(
    server: &Server,
    info: Option<&DatabaseInfo>,
    major: u32,
    no_owner: bool,
) -> Result<(bool, Vec<String>), DatabaseError> {
    let mut scribe = scribe(server).await?;
    let mut doing = format!("create the database {:?}", server.database());
    if let Some(info) = info {
        doing.push_str(&format!(" ({})", properties::described(info)));
    }
    let created = scribe
        .run(&properties::create(server.database(), info, major), None)
        .await;
    let mut owned = false;
    let mut warnings = Vec::new();
    if let (Ok(()), Some(info), false) = (&created, info, no_owner) {
        match own(server, &mut scribe, &info.owner).await {
            Ok(()) => owned = true,
            Err(why) => warnings.push(format!("owner {:?} was not set: {why}", info.owner)),
        }
        if info.acl.is_some() {
            run(&mut scribe, &[properties::close(server.database())], &mut warnings).await;
        }
    }
    scribe.finish().await;
    created.map_err(server.query_error(doing))?;
    Ok((owned, warnings))
}

async fn scribe(server: &Server) -> Result<Scribe, PgError> {
    let (client, _) = server.connect_beside().await?;
    Ok(Scribe::new(server, client, spare_name(server.database())))
}

/// Hands the database to its owner, unless the user would lose its own rights by that.
async fn own(server: &Server, scribe: &mut Scribe, owner: &Text) -> Result<(), String> {
    let question = "SELECT rolname, pg_catalog.pg_has_role(oid, 'USAGE') FROM pg_catalog.pg_roles";
    let rows = scribe
        .client()
        .query(question, &[])
        .await
        .map_err(|error| said(&error))?;
    // Compared here: the name may be in an encoding in which it cannot be asked for.
    let row = rows.iter().find(|row| text(row, 0).is_ok_and(|name| name == *owner));
    match row.map(|row| row.try_get::<_, bool>(1)) {
        None => return Err(format!("role {owner:?} does not exist")),
        Some(Ok(false)) => return Err(format!("the connecting user is not a member of {owner:?}")),
        Some(Ok(true)) => {}
        Some(Err(error)) => return Err(said(&error)),
    }
    let statement = properties::own(server.database(), owner);
    scribe.run(&statement.sql, None).await.map_err(|error| said(&error))
}

/// Applies what is to be applied once the data is there. Gives what could not be done.
pub(super) async fn finish(server: &Server, info: &DatabaseInfo, owned: bool, no_owner: bool) -> Vec<String> {
    let statements = properties::after(server.database(), info, owned, no_owner);
    let mut warnings = Vec::new();
    if statements.is_empty() {
        return warnings;
    }
    match scribe(server).await {
        Ok(mut scribe) => {
            run(&mut scribe, &statements, &mut warnings).await;
            scribe.finish().await;
        }
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
    let removed = match server.connect_beside().await {
        Ok((client, _)) => client.batch_execute(&statement).await.map_err(|error| said(&error)),
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

async fn run(scribe: &mut Scribe, statements: &[Statement], warnings: &mut Vec<String>) {
    for statement in statements {
        if let Err(error) = scribe.run(&statement.sql, None).await {
            warnings.push(format!("{} was not set: {}", statement.what, said(&error)));
        }
    }
}

/// The server's own words, without the driver's around them.
fn said(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |said| said.message().to_owned())
}

/// A connection to a database that every server has, and that is not the server's own; and the very server.
pub(super) async fn beside(server: &Server) -> Result<(Client, Server), PgError> {
    if server.database() != "postgres" {
        return server.connect_beside().await;
    }
    let (client, there) = server.with_database("template1").connect_there().await?;
    Ok((client, there.with_database(server.database())))
}

async fn refuse_if_not_allowed(server: &Server, client: &Client) -> Result<(), DatabaseError> {
    let question = "SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user";
    let may: bool = client
        .query_one(question, &[])
        .await
        .and_then(|row| row.try_get(0))
        .map_err(server.query_error("ask for the right to create databases"))?;
    if may {
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
    for locale in [&info.collate, &info.ctype].into_iter().filter_map(Text::as_str) {
        let asked = client
            .query_one("SELECT set_config('lc_monetary', $1, true)", &[&locale])
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
    let found = text(&row, 0)
        .map_err(server.query_error("ask for the encoding"))?
        .to_string();
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

/// Lists the things that an empty database does not have: relations, functions and types outside the system's schemas that no extension
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
    let shown = |row| Some(text(row, 0).ok()?.to_string());
    let mut what: Vec<String> = rows.iter().take(3).filter_map(shown).collect();
    if rows.len() > 3 {
        what.push("...".to_owned());
    }
    Err(DatabaseError::NotEmpty {
        database: server.database().to_owned(),
        server: server.describe(),
        what: what.join(", "),
    })
}
