//! Sources: PostgreSQL servers that let us in and show everything, directories that can be read.

use std::path::Path;

use holdfast_config::{Postgres, Settings};
use holdfast_dumper::{Databases, databases};
use holdfast_postgres::{PgError, Programs, text};

use holdfast_format::SourceName;

use super::{Check, docker};
use crate::human;

/// Looks at every configured source of this site.
pub(crate) async fn all(settings: &Settings) -> Vec<Check> {
    let ours = |name: &SourceName| settings.site_of(name).is_none_or(|site| *site == settings.site);
    let mut checks = Vec::new();
    for source in &settings.postgres {
        if ours(&source.name) {
            checks.extend(postgres(source).await);
        }
    }
    for source in settings.directory.iter().filter(|d| ours(&d.name)) {
        let name = format!("directory {}", source.name);
        checks.push(if source.path.is_file() {
            let found = format!("{} is no directory", source.path.display());
            Check::fail(name, found, "name it in [system].paths")
        } else {
            readable(&name, &source.path)
        });
    }
    for source in settings.system.iter().filter(|s| ours(&s.name)) {
        checks.extend(
            source
                .paths
                .iter()
                .map(|path| readable(&format!("system {}", source.name), path)),
        );
    }
    if let Some(docker) = &settings.docker
        && settings.docker_sources().iter().any(|source| ours(&source.name))
    {
        checks.extend(docker::all(docker, settings.nats.url.is_some()).await);
    }
    let elsewhere = settings.sources().filter(|(_, site)| **site != settings.site);
    let elsewhere: Vec<&str> = elsewhere.map(|(name, _)| name.as_str()).collect();
    if !elsewhere.is_empty() {
        checks.push(Check::ok(
            "sources elsewhere",
            format!("{}: ask doctor at their sites", elsewhere.join(", ")),
        ));
    }
    if settings.sources().next().is_none() {
        let advice = "add [[postgres]], [[directory]], [docker] or [system] to the configuration";
        checks.push(Check::fail("sources", "none are configured", advice));
    }
    checks
}

async fn postgres(source: &Postgres) -> Vec<Check> {
    let name = format!("postgres {}", source.name);
    match ask(source).await {
        Ok(server) => server.checks(&name, source),
        Err(error) => vec![Check::error(name, &error)],
    }
}

/// The facts that a server tells of itself and of the user.
struct Server {
    user: String,
    version: String,
    major: u32,
    databases: Databases,
    superuser: bool,
    reads_all: bool,
    reads_passwords: bool,
}

async fn ask(source: &Postgres) -> Result<Server, PgError> {
    const QUESTION: &str = "SELECT current_user::text, coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = current_user), \
         false), EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'pg_read_all_data' AND pg_has_role(oid, 'USAGE')), \
         has_table_privilege('pg_catalog.pg_authid', 'SELECT')";
    let server = holdfast_postgres::Server::of(source)?;
    let (client, server) = server.connect_there().await?;
    let (version, major) = server.version(&client).await?;
    let failed = || server.query_error("ask for privileges");
    let row = client.query_one(QUESTION, &[]).await.map_err(failed())?;
    let flag = |column: usize| row.try_get::<_, bool>(column).map_err(failed());
    Ok(Server {
        user: text(&row, 0).map_err(failed())?.to_string(),
        version,
        major,
        databases: databases(source, &server, &client).await?,
        superuser: flag(1)?,
        reads_all: flag(2)?,
        reads_passwords: flag(3)?,
    })
}

impl Server {
    fn checks(&self, name: &str, source: &Postgres) -> Vec<Check> {
        let databases = human::count(self.databases.open.len() as u64, "database");
        let mut checks = vec![Check::ok(name, format!("PostgreSQL {}, {databases}", self.version))];
        if !self.databases.closed.is_empty() {
            let closed: Vec<String> = self.databases.closed.iter().map(|name| human::shown(name)).collect();
            checks.push(Check::warn(
                name,
                format!("not backed up, since no connections are allowed: {}", closed.join(", ")),
                "ALTER DATABASE ... ALLOW_CONNECTIONS true, or name it in exclude",
            ));
        }
        for unnamed in &self.databases.unnamed {
            checks.push(Check::fail(
                name,
                format!("the name of database {} is not UTF-8", human::shown(&unnamed.to_string())),
                "it cannot be backed up: ALTER DATABASE ... RENAME TO in a session of its own encoding, or name it in exclude",
            ));
        }
        let programs = Programs::in_dirs(&source.client_dirs);
        for program in ["pg_dump", "pg_dumpall"] {
            // Globals alone need the second.
            if program == "pg_dumpall" && !source.globals {
                continue;
            }
            checks.push(match programs.find(program, self.major, None) {
                Ok(found) => Check::ok(name, format!("{} {}", found.path.display(), found.version)),
                Err(error) => Check::error(name, &error),
            });
        }
        checks.push(self.privileges(name, source));
        checks
    }

    fn privileges(&self, name: &str, source: &Postgres) -> Check {
        let user = human::shown(&self.user);
        match (self.superuser, self.reads_all) {
            (true, _) => Check::ok(name, format!("{user} is a superuser: every table and role can be read")),
            // As a member of pg_read_all_data it may, unless the server's administrator took that away.
            (false, true) if source.globals && !self.reads_passwords => Check::warn(
                name,
                format!("{user} may read all tables, but not the passwords of roles"),
                "roles will be restored without their passwords: GRANT SELECT ON pg_authid to it, or use a superuser",
            ),
            (false, true) => Check::ok(
                name,
                format!("{user} may read all tables; those under row-level security need BYPASSRLS"),
            ),
            (false, false) => Check::warn(
                name,
                format!("{user} may not read all tables by its role"),
                "GRANT pg_read_all_data to it (PostgreSQL 14 or newer), or use a superuser: a dump fails at the first table \
                 that it may not read",
            ),
        }
    }
}

fn readable(name: &str, path: &Path) -> Check {
    let shown = path.display();
    let looked = std::fs::metadata(path).and_then(|meta| {
        if meta.is_dir() {
            std::fs::read_dir(path).map(|_| "directory")
        } else {
            std::fs::File::open(path).map(|_| "file")
        }
    });
    match looked {
        Ok(kind) => Check::ok(name, format!("{kind} {shown} is readable")),
        Err(error) => Check::fail(
            name,
            format!("{shown}: {error}"),
            "create or mount it, and let holdfast's user read it",
        ),
    }
}
