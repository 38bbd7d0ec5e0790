//! Connections to a server, for listing and for the snapshot; and the same parameters for the client programs.

use holdfast_config::{Postgres, Secret, SslMode};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use postgres_openssl::MakeTlsConnector;
use tokio_postgres::Client;
use tokio_postgres::config::SslMode as DriverMode;

use crate::PgError;

/// How long a server may take from the first packet to its readiness.
const READY_WITHIN: std::time::Duration = std::time::Duration::from_secs(20);

/// A connection to `database` of the source. It is closed when the client is dropped.
///
/// # Errors
/// [`PgError::Connect`], with what to do; [`PgError::Tls`].
pub async fn connect(source: &Postgres, database: &str) -> Result<Client, PgError> {
    let mut config = tokio_postgres::Config::new();
    for host in source.hosts() {
        config.host(&host);
    }
    config.port(source.port());
    config.user(source.user());
    config.dbname(database);
    config.application_name("holdfast");
    config.connect_timeout(std::time::Duration::from_secs(10));
    config.keepalives_idle(std::time::Duration::from_secs(60));
    if let Some(password) = source.password.as_ref() {
        config.password(Secret::expose(password));
    }
    config.ssl_mode(match source.sslmode {
        SslMode::Disable | SslMode::Allow => DriverMode::Disable,
        SslMode::Prefer => DriverMode::Prefer,
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => DriverMode::Require,
    });
    let connector = connector(source).map_err(|e| PgError::Tls {
        source_name: source.label().to_owned(),
        source: e,
    })?;
    let Ok(connected) = tokio::time::timeout(READY_WITHIN, config.connect(connector)).await else {
        return Err(PgError::Silent {
            source_name: source.label().to_owned(),
            database: database.to_owned(),
        });
    };
    let (client, connection) = connected.map_err(|error| PgError::Connect {
        source_name: source.label().to_owned(),
        database: database.to_owned(),
        hint: hint(&error),
        source: error,
    })?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(reason = %holdfast_fault::chain(&error), "a PostgreSQL connection ended");
        }
    });
    Ok(client)
}

fn connector(source: &Postgres) -> Result<MakeTlsConnector, openssl::error::ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls())?;
    if let Some(authorities) = &source.sslrootcert {
        builder.set_ca_file(authorities)?;
    }
    let verified = matches!(source.sslmode, SslMode::VerifyCa | SslMode::VerifyFull);
    builder.set_verify(if verified {
        SslVerifyMode::PEER
    } else {
        SslVerifyMode::NONE
    });
    let mut connector = MakeTlsConnector::new(builder.build());
    let check_host = source.sslmode == SslMode::VerifyFull;
    connector.set_callback(move |ssl, _| {
        ssl.set_verify_hostname(check_host);
        Ok(())
    });
    Ok(connector)
}

fn hint(error: &tokio_postgres::Error) -> &'static str {
    use tokio_postgres::error::SqlState;
    match error.code() {
        Some(code) if *code == SqlState::INVALID_PASSWORD || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "the server refused user or password: check url and password_file, and pg_hba.conf"
        }
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => "the database does not exist any more",
        Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => "the server has no free connection",
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => "the user may not connect: grant CONNECT",
        Some(_) => "the server refused",
        None => "the server does not answer, or not as PostgreSQL: check host, port and that it runs",
    }
}
