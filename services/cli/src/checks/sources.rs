//! Sources: PostgreSQL servers that let us in and show everything, directories that can be read.

use std::path::Path;

use holdfast_config::{Postgres, Settings};
use holdfast_dumper::{Clients, Databases, PgError, connect, databases};

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

/// What a server says of itself and of us.
struct Server {
    version: String,
    major: u32,
    databases: Databases,
    superuser: bool,
    reads_all: bool,
    reads_passwords: bool,
}

async fn ask(source: &Postgres) -> Result<Server, PgError> {
    const QUESTION: &str = "SELECT current_setting('server_version'), current_setting('server_version_num')::int4, \
         (SELECT rolsuper FROM pg_roles WHERE rolname = current_user), \
         EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'pg_read_all_data' AND pg_has_role(oid, 'USAGE')), \
         has_table_privilege('pg_catalog.pg_authid', 'SELECT')";
    let client = connect(source, &source.database()).await?;
    let row = client.query_one(QUESTION, &[]).await.map_err(|error| PgError::Query {
        source_name: source.label().to_owned(),
        what: "ask for version and privileges".to_owned(),
        source: error,
    })?;
    let number: i32 = row.get(1);
    Ok(Server {
        version: row.get(0),
        major: u32::try_from(number / 10_000).unwrap_or(0),
        databases: databases(source, &client).await?,
        superuser: row.get(2),
        reads_all: row.get(3),
        reads_passwords: row.get(4),
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
        let clients = Clients::of(source);
        for program in ["pg_dump", "pg_dumpall"] {
            // Globals alone need the second.
            if program == "pg_dumpall" && !source.globals {
                continue;
            }
            checks.push(match clients.find(source, program, self.major) {
                Ok(found) => Check::ok(name, format!("{} {}", found.path.display(), found.version)),
                Err(error) => Check::error(name, &error),
            });
        }
        checks.push(self.privileges(name, source));
        checks
    }

    fn privileges(&self, name: &str, source: &Postgres) -> Check {
        let user = source.user();
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
