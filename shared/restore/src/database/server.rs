//! A PostgreSQL server to restore into.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use holdfast_config::{Secret, SslMode};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use postgres_openssl::MakeTlsConnector;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config};

/// How long one address may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long a server may take from the first packet to its readiness.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A PostgreSQL server, a user, and a database that may not exist yet.
#[derive(Clone, Debug)]
pub struct Server {
    hosts: Vec<String>,
    ports: Vec<u16>,
    user: String,
    database: String,
    password: Option<Secret>,
    sslmode: SslMode,
    sslrootcert: Option<PathBuf>,
}

/// A server could not be reached or understood.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is not one. It is not repeated here: it may hold a password.
    #[error("not a PostgreSQL address: {problem}; write postgres://user@host:port/database")]
    Url {
        /// The rule.
        problem: String,
    },
    /// The certificates for TLS cannot be used.
    #[error("cannot set up TLS for {server}")]
    Tls {
        /// Host and port.
        server: String,
        /// Why.
        #[source]
        source: openssl::error::ErrorStack,
    },
    /// The server does not let us in, or is not there.
    #[error("cannot connect to the database {database:?} at {server}")]
    Connect {
        /// Host and port.
        server: String,
        /// The database.
        database: String,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The server took the connection, and then said nothing.
    #[error(
        "cannot connect to the database {database:?} at {server}: it accepts connections and does not answer; check that \
         what listens there is PostgreSQL, and that it is not overloaded"
    )]
    Silent {
        /// Host and port.
        server: String,
        /// The database.
        database: String,
    },
    /// A statement failed.
    #[error("cannot {doing} at {server}")]
    Query {
        /// Host and port.
        server: String,
        /// What was being done.
        doing: String,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The password cannot be handed to PostgreSQL's programs.
    #[error("cannot hand the password to PostgreSQL's programs")]
    PassFile(#[source] std::io::Error),
}

impl ServerError {
    /// Whether the same call may succeed later without anyone changing anything.
    #[must_use]
    pub fn retry(&self) -> bool {
        match self {
            Self::Connect { source, .. } | Self::Query { source, .. } => {
                // No code: the connection broke. 08: connection exception, 53: resources, 57: shutdown, 40: deadlock.
                source
                    .code()
                    .is_none_or(|code| ["08", "53", "57", "40"].contains(&&code.code()[..2]))
            }
            Self::Silent { .. } => true,
            Self::Url { .. } | Self::Tls { .. } | Self::PassFile(_) => false,
        }
    }

    /// Whether the server refused the user or the password.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        let Self::Connect { source, .. } = self else {
            return false;
        };
        // Class 28: invalid authorization.
        source.code().is_some_and(|code| code.code().starts_with("28"))
    }
}

impl Server {
    /// Reads `postgres://user@host:port/database`, with `sslmode` and `sslrootcert` as libpq knows them. A password in it
    /// counts unless one is given here.
    ///
    /// # Errors
    /// [`ServerError::Url`]
    pub fn from_url(url: &str, password: Option<Secret>) -> Result<Self, ServerError> {
        let fault = |problem: &str| ServerError::Url {
            problem: problem.to_owned(),
        };
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(fault("it does not begin with postgres://"));
        }
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut sslmode, mut sslrootcert, mut rest) = (SslMode::Prefer, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => {
                    sslmode = value.parse().map_err(|_| fault("its sslmode is unknown"))?;
                }
                Some(("sslrootcert", "system")) => {}
                Some(("sslrootcert", value)) => sslrootcert = Some(PathBuf::from(decoded(value)?)),
                _ => rest.push(pair),
            }
        }
        // The parser's own message may hold the password.
        let config = Config::from_str(&format!("{address}?{}", rest.join("&")))
            .map_err(|_| fault("it has parts that cannot be read"))?;
        let hosts: Vec<String> = config.get_hosts().iter().map(host_text).collect();
        // The parser gives a host in the address the usual port, before it sees one among the parameters.
        let ports = config.get_ports();
        let ports = ports[ports.len().saturating_sub(hosts.len().max(1))..].to_vec();
        let user = config.get_user().ok_or_else(|| fault("it names no user"))?.to_owned();
        let named = config.get_password().map(|p| Secret::new(String::from_utf8_lossy(p)));
        Ok(Self {
            hosts: if hosts.is_empty() {
                vec!["localhost".to_owned()]
            } else {
                hosts
            },
            ports: if ports.is_empty() { vec![5432] } else { ports },
            database: config.get_dbname().unwrap_or(&user).to_owned(),
            user,
            password: password.or(named),
            sslmode,
            sslrootcert,
        })
    }

    /// The same server, with another database.
    #[must_use]
    pub fn with_database(&self, name: &str) -> Self {
        Self {
            database: name.to_owned(),
            ..self.clone()
        }
    }

    /// The same server, with these rules for TLS.
    #[must_use]
    pub fn with_tls(&self, sslmode: SslMode, sslrootcert: Option<PathBuf>) -> Self {
        Self {
            sslmode,
            sslrootcert,
            ..self.clone()
        }
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Host and port, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let port = self.ports.first().copied().unwrap_or(5432);
        format!("{}:{port}", self.hosts.join(","))
    }

    /// Connects.
    ///
    /// # Errors
    /// [`ServerError`]
    pub async fn connect(&self) -> Result<Client, ServerError> {
        let mut config = Config::new();
        for host in &self.hosts {
            config.host(host);
        }
        for port in &self.ports {
            config.port(*port);
        }
        config
            .user(&self.user)
            .dbname(&self.database)
            .application_name("holdfast restore");
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        config.ssl_mode(match self.sslmode {
            SslMode::Disable => tokio_postgres::config::SslMode::Disable,
            SslMode::Allow | SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => tokio_postgres::config::SslMode::Require,
        });
        config.connect_timeout(CONNECT_WITHIN);
        let (server, database) = (self.describe(), self.database.clone());
        let Ok(connected) = tokio::time::timeout(READY_WITHIN, config.connect(self.tls()?)).await else {
            return Err(ServerError::Silent { server, database });
        };
        let (client, connection) = connected.map_err(|source| ServerError::Connect {
            server,
            database,
            source,
        })?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a database connection ended");
            }
        });
        Ok(client)
    }

    fn tls(&self) -> Result<MakeTlsConnector, ServerError> {
        let fault = |source| ServerError::Tls {
            server: self.describe(),
            source,
        };
        let mut builder = SslConnector::builder(SslMethod::tls()).map_err(fault)?;
        let verify = matches!(self.sslmode, SslMode::VerifyCa | SslMode::VerifyFull);
        builder.set_verify(if verify {
            SslVerifyMode::PEER
        } else {
            SslVerifyMode::NONE
        });
        if let (true, Some(file)) = (verify, &self.sslrootcert) {
            builder.set_ca_file(file).map_err(fault)?;
        }
        let mut connector = MakeTlsConnector::new(builder.build());
        let hostname = self.sslmode == SslMode::VerifyFull;
        connector.set_callback(move |ssl, _| {
            ssl.set_verify_hostname(hostname);
            Ok(())
        });
        Ok(connector)
    }

    /// Tells a program of PostgreSQL where to connect to, by its environment alone: a database's name on the command line
    /// would be read as a connection string, and arguments are for all to see. The file holds the password; it must live
    /// as long as the program.
    pub(crate) fn hand_to(&self, command: &mut Command) -> Result<PassFile, ServerError> {
        let ports: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
        command
            .env("PGHOST", self.hosts.join(","))
            .env("PGPORT", ports.join(","))
            .env("PGUSER", &self.user)
            .env("PGDATABASE", &self.database)
            .env("PGSSLMODE", self.sslmode.as_str())
            .env("PGCONNECT_TIMEOUT", CONNECT_WITHIN.as_secs().to_string())
            .env("PGCLIENTENCODING", "UTF8")
            .env("PGAPPNAME", "holdfast restore");
        if let Some(file) = &self.sslrootcert {
            command.env("PGSSLROOTCERT", file);
        }
        let file = PassFile::new(self.password.as_ref()).map_err(ServerError::PassFile)?;
        command.env("PGPASSFILE", file.path());
        Ok(file)
    }

    pub(crate) fn query_error(&self, doing: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> ServerError {
        let (server, doing) = (self.describe(), doing.into());
        move |source| ServerError::Query { server, doing, source }
    }
}

fn host_text(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    }
}

/// Resolves percent-escapes.
fn decoded(text: &str) -> Result<String, ServerError> {
    let fault = || ServerError::Url {
        problem: "a percent sign in it is not followed by two hex digits".to_owned(),
    };
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%' {
            let digits = tail.get(..2).ok_or_else(fault)?;
            out.extend(hex::decode(digits).map_err(|_| fault())?);
            rest = &tail[2..];
        } else {
            out.push(*first);
        }
    }
    String::from_utf8(out).map_err(|_| fault())
}

/// A password file for libpq that exists in memory only, and only as long as somebody holds it: nothing is left of it even
/// if this process is killed. The program inherits it, and finds it under its own number. Without a password it is empty.
pub(crate) struct PassFile(OwnedFd);

impl PassFile {
    fn new(password: Option<&Secret>) -> std::io::Result<Self> {
        use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
        let memory = memfd_create("pgpass", MemfdFlags::empty())?;
        // libpq refuses a file that others may read.
        fchmod(&memory, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(memory);
        if let Some(password) = password {
            let escaped = password.expose().replace('\\', "\\\\").replace(':', "\\:");
            if escaped.contains(['\n', '\0']) {
                return Err(std::io::Error::other("it holds a line break"));
            }
            file.write_all(format!("*:*:*:*:{escaped}\n").as_bytes())?;
        }
        Ok(Self(file.into()))
    }

    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses() {
        let url =
            "postgres://me:pa%3Ass@db:5433/a%20b?sslmode=verify-full&sslrootcert=/etc/ca%20x.pem&connect_timeout=5";
        let server = Server::from_url(url, None).unwrap();
        assert_eq!(server.describe(), "db:5433");
        assert_eq!(server.database(), "a b");
        assert_eq!(server.password.as_ref().unwrap().expose(), "pa:ss");
        assert_eq!(server.sslmode, SslMode::VerifyFull);
        assert_eq!(
            server.sslrootcert.as_deref().unwrap().to_str().unwrap(),
            "/etc/ca x.pem"
        );
        let socket = Server::from_url("postgresql://me@%2Fvar%2Frun/x?port=6000", None).unwrap();
        assert_eq!(socket.describe(), "/var/run:6000");
        for bad in [
            "http://x",
            "postgres://db/x",
            "postgres://me@db/x?sslmode=maybe",
            "postgres://me:secret@db:x/",
        ] {
            let error = Server::from_url(bad, None).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
        assert!(!format!("{server:?}").contains("pa:ss"));
    }
}
