//! Sessions of the driver, by libpq's rules for the order of places and for TLS.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use holdfast_config::{ChannelBinding, Host, Reach, SslMode, TargetSession};
use postgres_openssl::MakeTlsConnector;
use tokio::time::timeout;
use tokio_postgres::config::{self, SslMode as DriverMode, SslNegotiation};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config};

use crate::server::MAINTENANCE;
use crate::{PgError, Server, tls};

/// The time that a place may take to accept a connection, unless `connect_timeout` says another.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// The time that a place may take from the first packet to its readiness, unless `connect_timeout` says another.
const READY_WITHIN: Duration = Duration::from_secs(20);

impl Server {
    /// Connects. The session converts no text: see [`crate::text`].
    ///
    /// # Errors
    /// [`PgError`], with what to do.
    pub async fn connect(&self) -> Result<Client, PgError> {
        Ok(self.connect_there().await?.0)
    }

    /// Connects, and tells to which of several places: what goes on from here is to meet the same server.
    ///
    /// # Errors
    /// [`PgError`], with what to do.
    pub async fn connect_there(&self) -> Result<(Client, Self), PgError> {
        let (client, host) = first_that_will_do(self).await?;
        Ok((client, self.only(host)))
    }

    /// Connects to a database that every server has, and tells to which of several places.
    ///
    /// # Errors
    /// [`PgError`], with what to do.
    pub async fn connect_beside(&self) -> Result<(Client, Self), PgError> {
        let (client, there) = match self.with_database(MAINTENANCE).connect_there().await {
            Err(error) if error.is_no_database() => self.with_database("template1").connect_there().await?,
            connected => connected?,
        };
        Ok((client, there.with_database(self.database())))
    }
}

/// Connects to the first place that will do, and tells which that is.
async fn first_that_will_do(server: &Server) -> Result<(Client, Host), PgError> {
    let tries = Tries {
        server,
        tls: tls::connector(server.reach(), &server.title())?,
    };
    let rounds = match server.reach().session {
        TargetSession::PreferStandby => vec![TargetSession::Standby, TargetSession::Any],
        other => vec![other],
    };
    let mut failed = Vec::new();
    for wanted in rounds {
        for host in in_order(server.reach()) {
            for place in tries.places(&host).await {
                let tried = match place {
                    Ok(place) => tries.place(place, wanted).await,
                    Err(source) => Err(Failure::NoHost(source)),
                };
                match tried {
                    Ok(found) => return Ok(found),
                    Err(failure) => {
                        let is_final = failure.is_final();
                        failed.push((host.clone(), failure));
                        if is_final {
                            return Err(tries.error(failed));
                        }
                    }
                }
            }
        }
    }
    Err(tries.error(failed))
}

/// The reason why a place would not do.
enum Failure {
    NoHost(io::Error),
    Silent,
    Driver(tokio_postgres::Error),
    /// A server answered, but not one of this kind.
    Unsuitable(&'static str),
}

impl Failure {
    /// Tells whether no other place is tried any more, because a server has answered and refused.
    fn is_final(&self) -> bool {
        let Self::Driver(error) = self else { return false };
        error.code().is_some_and(|code| *code != SqlState::CANNOT_CONNECT_NOW)
    }

    fn reason(&self) -> String {
        match self {
            Self::NoHost(error) => error.to_string(),
            Self::Silent => "it does not answer".to_owned(),
            Self::Driver(error) => holdfast_fault::chain(error).to_string(),
            Self::Unsuitable(wanted) => format!("it is not {wanted}"),
        }
    }
}

struct Tries<'a> {
    server: &'a Server,
    tls: MakeTlsConnector,
}

impl Tries<'_> {
    /// The host at each of its addresses.
    async fn places(&self, host: &Host) -> Vec<io::Result<Host>> {
        if host.address.is_some() || host.is_socket() {
            return vec![Ok(host.clone())];
        }
        let within = self.server.reach().connect_within.unwrap_or(CONNECT_WITHIN);
        let found = timeout(within, tokio::net::lookup_host((host.name.as_str(), host.port))).await;
        let at = |address: IpAddr| Host {
            address: Some(address),
            ..host.clone()
        };
        match found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(addresses) => addresses.map(|address| Ok(at(address.ip()))).collect(),
            Err(error) => vec![Err(error)],
        }
    }

    async fn place(&self, place: Host, wanted: TargetSession) -> Result<(Client, Host), Failure> {
        let ways = ways(self.server.reach().sslmode, &place);
        for (at, way) in ways.iter().enumerate() {
            match self.session(&place, *way).await {
                Ok(client) => return self.suited(client, wanted).await.map(|client| (client, place)),
                Err(Failure::Driver(error)) if at + 1 < ways.len() && may_go_otherwise(&error) => {}
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::Silent)
    }

    /// Opens a session that converts no text.
    async fn session(&self, place: &Host, way: DriverMode) -> Result<Client, Failure> {
        let within = self.server.reach().connect_within.unwrap_or(READY_WITHIN);
        let config = self.config(place, way);
        let connected = timeout(within, config.connect(self.tls.clone())).await;
        let (client, connection) = connected.map_err(|_| Failure::Silent)?.map_err(Failure::Driver)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(reason = %holdfast_fault::chain(&error), "a PostgreSQL connection ended");
            }
        });
        // The driver itself asks for UTF-8, which databases in other encodings need not be able to give.
        let raw = client.batch_execute("SET client_encoding = 'SQL_ASCII'").await;
        raw.map_err(Failure::Driver)?;
        Ok(client)
    }

    fn config(&self, place: &Host, way: DriverMode) -> Config {
        let server = self.server;
        let reach = server.reach();
        let mut config = Config::new();
        match place.address {
            // The name is what a certificate is compared with.
            Some(address) if place.name.is_empty() => config.host(address.to_string()).hostaddr(address),
            Some(address) => config.host(&place.name).hostaddr(address),
            None => config.host(&place.name),
        };
        config
            .port(place.port)
            .user(&reach.user)
            .dbname(server.database())
            .application_name(server.application())
            .connect_timeout(reach.connect_within.unwrap_or(CONNECT_WITHIN))
            .ssl_mode(way)
            .channel_binding(match reach.channel_binding {
                ChannelBinding::Disable => config::ChannelBinding::Disable,
                ChannelBinding::Prefer => config::ChannelBinding::Prefer,
                ChannelBinding::Require => config::ChannelBinding::Require,
            })
            .keepalives(reach.keepalives.on)
            .keepalives_idle(reach.keepalives.idle);
        if reach.direct && way != DriverMode::Disable {
            config.ssl_negotiation(SslNegotiation::Direct);
        }
        if let Some(interval) = reach.keepalives.interval {
            config.keepalives_interval(interval);
        }
        if let Some(count) = reach.keepalives.count {
            config.keepalives_retries(count);
        }
        if let Some(time) = reach.keepalives.user_timeout {
            config.tcp_user_timeout(time);
        }
        if let Some(options) = &reach.options {
            config.options(options);
        }
        if let Some(password) = server.password() {
            config.password(password.expose());
        }
        config
    }

    /// The session, if its server is of the kind that was asked for.
    async fn suited(&self, client: Client, wanted: TargetSession) -> Result<Client, Failure> {
        let (question, fitting) = match wanted {
            TargetSession::Any | TargetSession::PreferStandby => return Ok(client),
            TargetSession::ReadWrite => ("SELECT current_setting('transaction_read_only') = 'on'", false),
            TargetSession::ReadOnly => ("SELECT current_setting('transaction_read_only') = 'on'", true),
            TargetSession::Primary => ("SELECT pg_catalog.pg_is_in_recovery()", false),
            TargetSession::Standby => ("SELECT pg_catalog.pg_is_in_recovery()", true),
        };
        let row = client.query_one(question, &[]).await.map_err(Failure::Driver)?;
        if row.try_get::<_, bool>(0).map_err(Failure::Driver)? == fitting {
            Ok(client)
        } else {
            Err(Failure::Unsuitable(wanted.as_str()))
        }
    }

    /// The last failure, with those before it.
    fn error(&self, mut failed: Vec<(Host, Failure)>) -> PgError {
        let database = self.server.database().to_owned();
        let told = |failed: &[(Host, Failure)]| {
            let mut all: Vec<String> = Vec::new();
            for (host, failure) in failed {
                let one = format!("; {host}: {}", failure.reason());
                if !all.contains(&one) {
                    all.push(one);
                }
            }
            all.concat()
        };
        if let Some((_, Failure::Unsuitable(wanted))) = failed.last() {
            return PgError::Unsuitable {
                server: self.server.title(),
                wanted,
                others: told(&failed),
            };
        }
        let last = failed.pop();
        let others = told(&failed);
        let at = |host: Host| self.server.only(host).title();
        match last {
            Some((host, Failure::Driver(source))) => PgError::Connect {
                server: at(host),
                database,
                hint: hint(&source),
                others,
                source,
            },
            Some((host, Failure::NoHost(source))) => PgError::NoHost {
                server: at(host),
                others,
                source,
            },
            Some((host, _)) => PgError::Silent {
                server: at(host),
                database,
                others,
            },
            None => PgError::NoHost {
                server: self.server.title(),
                others,
                source: io::Error::other("its name has no address"),
            },
        }
    }
}

/// The hosts in the order in which they are tried.
fn in_order(reach: &Reach) -> Vec<Host> {
    let mut hosts = reach.hosts.clone();
    if reach.any_order {
        let mut keys = vec![0; hosts.len()];
        // Without randomness the order is the given one.
        let _ = openssl::rand::rand_bytes(&mut keys);
        let mut keys = keys.into_iter();
        hosts.sort_by_cached_key(|_| keys.next());
    }
    hosts
}

/// The ways in which a place may be spoken to, the preferred one first.
fn ways(mode: SslMode, place: &Host) -> &'static [DriverMode] {
    match mode {
        // What goes through a socket stays on this machine.
        _ if place.is_socket() => &[DriverMode::Disable],
        SslMode::Disable => &[DriverMode::Disable],
        SslMode::Allow => &[DriverMode::Disable, DriverMode::Require],
        SslMode::Prefer => &[DriverMode::Prefer, DriverMode::Disable],
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[DriverMode::Require],
    }
}

/// Tells whether the other way of speaking may be let in: TLS failed, or `pg_hba.conf` has no line for this way.
fn may_go_otherwise(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) => *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        None => is_tls(error),
    }
}

/// Tells whether TLS failed. The driver's text is the only sign of it.
fn is_tls(error: &tokio_postgres::Error) -> bool {
    error.to_string().contains("TLS")
}

/// Tells whether the network failed, or the other side closed the connection.
fn is_network(error: &tokio_postgres::Error) -> bool {
    use std::error::Error as _;
    error.is_closed() || error.source().is_some_and(|cause| cause.is::<io::Error>())
}

fn hint(error: &tokio_postgres::Error) -> &'static str {
    use std::error::Error as _;
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    match error.code() {
        Some(code) if *code == SqlState::INVALID_PASSWORD || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "the server refused user or password: check the user and the password (url, password_file), and pg_hba.conf of \
             the server"
        }
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => {
            "the database does not exist, or does not exist any more"
        }
        Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => "the server has no free connection",
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => "the user may not connect: grant CONNECT",
        Some(_) => "the server refused",
        None if is_network(error) => {
            "the server does not answer, or not as PostgreSQL: check host, port and that it runs"
        }
        None if cause == "password missing" => {
            "the server asks for a password, and none is given: name a password_file"
        }
        None if is_tls(error) => "TLS failed: check sslmode, sslrootcert, sslcert, and the server's certificate",
        None => {
            "the server's way to let users in is not agreed on: check channel_binding, and pg_hba.conf of the server"
        }
    }
}
