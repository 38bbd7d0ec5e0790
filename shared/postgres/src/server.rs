//! A PostgreSQL server: its address, the user, the database, and the environment that tells a program the same.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use holdfast_config::{Connection, Host, Postgres, Reach, Secret};
use tokio_postgres::Client;

use crate::program_files::ProgramFiles;
use crate::{PgError, service, text, tls};

/// The time for which a program waits until a place lets it in, unless `connect_timeout` says another.
const LED_WITHIN: Duration = Duration::from_secs(20);

/// A database that every server has.
pub(crate) const MAINTENANCE: &str = "postgres";

/// A PostgreSQL server, a user, and a database that may not exist yet.
#[derive(Clone, Debug)]
pub struct Server {
    /// The source, if it is one.
    source: Option<String>,
    reach: Reach,
    database: String,
    password: Option<Secret>,
}

impl Server {
    /// The server of a source, and the database to connect to first.
    ///
    /// # Errors
    /// [`PgError`] if its service is not known, or says what makes no sense.
    pub fn of(source: &Postgres) -> Result<Self, PgError> {
        let mut server = Self::at(&source.connection(), source.password.clone(), Some(source.label()))?;
        if server.reach.database.is_none() {
            MAINTENANCE.clone_into(&mut server.database);
        }
        Ok(server)
    }

    /// Reads `postgres://user@host:port/database` with libpq's parameters, or its `key=value` words. A password in it counts
    /// unless one is given here; the database is the user's name unless one is named. Files are relative to this process's
    /// folder.
    ///
    /// # Errors
    /// [`PgError`] if it is not an address, or its service is not known.
    pub fn from_url(url: &str, password: Option<Secret>) -> Result<Self, PgError> {
        let dir = std::env::current_dir().unwrap_or_default();
        let connection = Connection::parse(url, &dir).map_err(|rules| PgError::Address { rules })?;
        Self::at(&connection, password, None)
    }

    /// The server of a connection.
    ///
    /// # Errors
    /// [`PgError`] if its service is not known, or says what makes no sense.
    pub fn at(connection: &Connection, password: Option<Secret>, source: Option<&str>) -> Result<Self, PgError> {
        let name = source.map_or_else(
            || "PostgreSQL".to_owned(),
            |source| format!("PostgreSQL source {source}"),
        );
        let connection = service::resolved(connection, &name)?;
        let reach = connection.reach().map_err(|rules| PgError::Address { rules })?;
        Ok(Self {
            source: source.map(str::to_owned),
            database: reach.database.clone().unwrap_or_else(|| reach.user.clone()),
            password: password.or_else(|| connection.password().cloned()),
            reach,
        })
    }

    /// Returns this server with another password.
    #[must_use]
    pub fn with_password(self, password: Secret) -> Self {
        Self {
            password: Some(password),
            ..self
        }
    }

    /// Tells whether a password is given.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// Returns this server with another database.
    #[must_use]
    pub fn with_database(&self, name: &str) -> Self {
        Self {
            database: name.to_owned(),
            ..self.clone()
        }
    }

    /// Returns the database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Returns the user.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.reach.user
    }

    /// Hosts and ports, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let hosts: Vec<String> = self.reach.hosts.iter().map(ToString::to_string).collect();
        hosts.join(",")
    }

    /// The server as errors name it.
    #[must_use]
    pub fn title(&self) -> String {
        match &self.source {
            Some(source) => format!("PostgreSQL source {source} at {}", self.describe()),
            None => format!("PostgreSQL at {}", self.describe()),
        }
    }

    /// The server's version in full, and its major version.
    ///
    /// # Errors
    /// [`PgError::Query`]
    pub async fn version(&self, client: &Client) -> Result<(String, u32), PgError> {
        let question = "SELECT current_setting('server_version'), current_setting('server_version_num')::int4";
        let row = client.query_one(question, &[]).await;
        let read = row.and_then(|row| Ok((text(&row, 0)?.to_string(), row.try_get::<_, i32>(1)?)));
        let (version, number) = read.map_err(self.query_error("ask for the version"))?;
        let version = version.split_whitespace().next().unwrap_or_default().to_owned();
        Ok((version, u32::try_from(number / 10_000).unwrap_or(0)))
    }

    /// Tells a program of PostgreSQL where to connect to, by its environment alone: a database's name on the command line
    /// would be read as a connection string, and arguments are for all to see. Text comes in `encoding`.
    ///
    /// # Errors
    /// [`PgError`] if the password cannot be handed over, or the system has no authorities to believe.
    pub fn lead(&self, command: &mut Command, encoding: &str) -> Result<ProgramFiles, PgError> {
        let reach = &self.reach;
        let title = self.title();
        let files = ProgramFiles::new(self.password.as_ref(), &reach.keepalives).map_err(PgError::Password)?;
        let all = |of: fn(&Host) -> String| reach.hosts.iter().map(of).collect::<Vec<_>>().join(",");
        let within = reach.connect_within.unwrap_or(LED_WITHIN);
        command
            .env("PGHOST", all(|host| host.name.clone()))
            .env("PGPORT", all(|host| host.port.to_string()))
            .env("PGUSER", &reach.user)
            .env("PGDATABASE", &self.database)
            .env("PGSSLMODE", reach.sslmode.as_str())
            .env("PGSSLSNI", if reach.sni { "1" } else { "0" })
            .env("PGCHANNELBINDING", reach.channel_binding.as_str())
            .env("PGTARGETSESSIONATTRS", reach.session.as_str())
            .env("PGLOADBALANCEHOSTS", if reach.any_order { "random" } else { "disable" })
            .env("PGGSSENCMODE", "disable")
            .env("PGCONNECT_TIMEOUT", within.as_secs().to_string())
            .env("PGAPPNAME", self.application())
            .env("PGCLIENTENCODING", encoding)
            .env("PGPASSFILE", files.password_file())
            .env("PGSERVICEFILE", files.service_file())
            .env("PGSERVICE", "holdfast");
        // libpq takes what it is not told from the user's home, which the driver does not.
        let nowhere = Path::new("/nonexistent");
        let authorities = tls::authorities(reach, &title)?;
        command.env("PGSSLROOTCERT", authorities.as_deref().unwrap_or(nowhere));
        let (certificate, key) = match &reach.certificate {
            Some((certificate, key)) => (certificate.as_path(), key.as_path()),
            None => (nowhere, nowhere),
        };
        command.env("PGSSLCERT", certificate).env("PGSSLKEY", key);
        if reach.hosts.iter().any(|host| host.address.is_some()) {
            command.env(
                "PGHOSTADDR",
                all(|host| host.address.map(|address| address.to_string()).unwrap_or_default()),
            );
        }
        if reach.direct {
            command.env("PGSSLNEGOTIATION", "direct");
        }
        for (name, version) in [
            ("PGSSLMINPROTOCOLVERSION", reach.oldest),
            ("PGSSLMAXPROTOCOLVERSION", reach.newest),
        ] {
            command.envs(version.map(|version| (name, version.as_str())));
        }
        command.envs(reach.options.as_ref().map(|options| ("PGOPTIONS", options)));
        Ok(files)
    }

    /// Makes an error of a statement that failed while doing this.
    pub fn query_error<S: Into<String>>(&self, doing: S) -> impl FnOnce(tokio_postgres::Error) -> PgError + use<S> {
        let server = self.title();
        let doing = doing.into();
        move |source| PgError::Query { server, doing, source }
    }

    pub(crate) fn reach(&self) -> &Reach {
        &self.reach
    }

    pub(crate) fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// The name under which sessions show at the server.
    pub(crate) fn application(&self) -> &str {
        let own = if self.source.is_some() {
            "holdfast"
        } else {
            "holdfast restore"
        };
        self.reach.application.as_deref().unwrap_or(own)
    }

    pub(crate) fn only(&self, host: Host) -> Self {
        let mut one = self.clone();
        one.reach.hosts = vec![host];
        one
    }
}
