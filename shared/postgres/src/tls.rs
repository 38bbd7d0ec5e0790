//! TLS by libpq's rules, for the driver. Programs get the same files.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use holdfast_config::{Authorities, Reach, SslMode, TlsVersion};
use openssl::error::ErrorStack;
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslFiletype, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::X509;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use postgres_openssl::MakeTlsConnector;

use crate::PgError;

/// The files in which systems keep the certificates of the authorities that they believe.
const OF_THE_SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The file with the authorities that are believed; `None` if every certificate is.
pub(crate) fn authorities(reach: &Reach, server: &str) -> Result<Option<PathBuf>, PgError> {
    match &reach.authorities {
        None => Ok(None),
        Some(Authorities::File(path)) => Ok(Some(path.clone())),
        Some(Authorities::System) => {
            let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
            let mut files = named.into_iter().chain(OF_THE_SYSTEM.map(PathBuf::from));
            let found = files.find(|path| path.is_file());
            found.map(Some).ok_or_else(|| PgError::NoAuthorities {
                server: server.to_owned(),
                looked: OF_THE_SYSTEM.join(", "),
            })
        }
    }
}

/// Makes the driver's side of TLS.
pub(crate) fn connector(reach: &Reach, server: &str) -> Result<MakeTlsConnector, PgError> {
    let fault = |source| PgError::Tls {
        server: server.to_owned(),
        source,
    };
    let mut builder = SslConnector::builder(SslMethod::tls()).map_err(fault)?;
    match authorities(reach, server)? {
        None => builder.set_verify(SslVerifyMode::NONE),
        Some(path) => {
            // In place of the system's, which the builder has taken: those in the file are believed, and no others.
            builder.set_cert_store(store(&path, server)?);
            builder.set_verify(SslVerifyMode::PEER);
        }
    }
    let oldest = reach.oldest.unwrap_or(TlsVersion::V1_2);
    builder.set_min_proto_version(Some(version(oldest))).map_err(fault)?;
    builder
        .set_max_proto_version(reach.newest.map(version))
        .map_err(fault)?;
    if let Some((certificate, key)) = &reach.certificate {
        show_certificate(&mut builder, certificate, key, server)?;
    }
    if reach.direct {
        postgres_openssl::set_postgresql_alpn(&mut builder).map_err(fault)?;
    }
    let check_host = reach.sslmode == SslMode::VerifyFull;
    let sni = reach.sni;
    let mut connector = MakeTlsConnector::new(builder.build());
    connector.set_callback(move |ssl, _| {
        ssl.set_verify_hostname(check_host);
        ssl.set_use_server_name_indication(sni);
        Ok(())
    });
    Ok(connector)
}

/// The certificates in a file.
fn store(path: &Path, server: &str) -> Result<X509Store, PgError> {
    let fault = |problem: String| PgError::File {
        server: server.to_owned(),
        path: path.to_owned(),
        problem,
    };
    let pem = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
    let certificates = X509::stack_from_pem(&pem).map_err(|error| fault(error.to_string()))?;
    if certificates.is_empty() {
        return Err(fault("it holds no certificate in PEM".to_owned()));
    }
    let filled = || -> Result<X509Store, ErrorStack> {
        let mut store = X509StoreBuilder::new()?;
        certificates
            .into_iter()
            .try_for_each(|certificate| store.add_cert(certificate))?;
        Ok(store.build())
    };
    filled().map_err(|error| fault(error.to_string()))
}

/// Shows the server a certificate of the user.
fn show_certificate(
    builder: &mut SslConnectorBuilder,
    certificate: &Path,
    key: &Path,
    server: &str,
) -> Result<(), PgError> {
    let fault = |path: &Path, problem: String| PgError::File {
        server: server.to_owned(),
        path: path.to_owned(),
        problem,
    };
    let meta = std::fs::metadata(key).map_err(|error| fault(key, error.to_string()))?;
    // As libpq has it: root may let a group read its key.
    let allowed = if meta.uid() == 0 { 0o640 } else { 0o600 };
    if meta.mode() & 0o777 & !allowed != 0 {
        return Err(fault(key, format!("others may read this key: chmod {allowed:o}")));
    }
    let read = builder.set_certificate_chain_file(certificate);
    read.map_err(|error| fault(certificate, error.to_string()))?;
    let read = builder.set_private_key_file(key, SslFiletype::PEM);
    read.map_err(|error| fault(key, error.to_string()))?;
    let fits = builder.check_private_key();
    fits.map_err(|_| fault(key, format!("it is not the key of {}", certificate.display())))
}

fn version(version: TlsVersion) -> SslVersion {
    match version {
        TlsVersion::V1 => SslVersion::TLS1,
        TlsVersion::V1_1 => SslVersion::TLS1_1,
        TlsVersion::V1_2 => SslVersion::TLS1_2,
        TlsVersion::V1_3 => SslVersion::TLS1_3,
    }
}
