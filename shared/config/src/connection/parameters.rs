//! Every parameter of libpq up to PostgreSQL 18, and the use that is made of it here.

/// The use that is made of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Used as it is.
    Taken,
    /// Used as the path of a file.
    File,
    /// Not used, since it would not do what it promises. The text says what to do instead.
    Refused(&'static str),
}

const NO_GSS: &str = "Kerberos is not spoken: let the user in by password or certificate";
const NO_OAUTH: &str = "OAuth is not spoken: let the user in by password or certificate";
const NO_CRL: &str = "lists of revoked certificates are not looked at: give the server a certificate of an authority that is \
                      believed, in `sslrootcert`";
const NO_SCRAM_KEY: &str = "give the password in `password_file`, or with `--password-file`";

/// The parameters, by name.
pub(super) const PARAMETERS: &[(&str, Use)] = &[
    ("host", Use::Taken),
    ("hostaddr", Use::Taken),
    ("port", Use::Taken),
    ("user", Use::Taken),
    ("dbname", Use::Taken),
    ("password", Use::Taken),
    ("service", Use::Taken),
    ("options", Use::Taken),
    ("application_name", Use::Taken),
    ("fallback_application_name", Use::Taken),
    ("connect_timeout", Use::Taken),
    ("target_session_attrs", Use::Taken),
    ("load_balance_hosts", Use::Taken),
    ("keepalives", Use::Taken),
    ("keepalives_idle", Use::Taken),
    ("keepalives_interval", Use::Taken),
    ("keepalives_count", Use::Taken),
    ("tcp_user_timeout", Use::Taken),
    ("channel_binding", Use::Taken),
    ("gssencmode", Use::Taken),
    ("ssl", Use::Taken),
    ("sslmode", Use::Taken),
    ("sslnegotiation", Use::Taken),
    ("sslcompression", Use::Taken),
    ("sslsni", Use::Taken),
    ("ssl_min_protocol_version", Use::Taken),
    ("ssl_max_protocol_version", Use::Taken),
    ("sslrootcert", Use::File),
    ("sslcert", Use::File),
    ("sslkey", Use::File),
    (
        "passfile",
        Use::Refused("give the password in `password_file`, or with `--password-file`"),
    ),
    (
        "servicefile",
        Use::Refused("name the file in the environment, in PGSERVICEFILE"),
    ),
    (
        "sslpassword",
        Use::Refused("take the passphrase off the key in `sslkey`, and let only its owner read it"),
    ),
    (
        "sslcertmode",
        Use::Refused("a certificate is shown if `sslcert` and `sslkey` are given, and none otherwise"),
    ),
    (
        "sslkeylogfile",
        Use::Refused("it would write the keys of the connection to a file"),
    ),
    ("sslcrl", Use::Refused(NO_CRL)),
    ("sslcrldir", Use::Refused(NO_CRL)),
    (
        "require_auth",
        Use::Refused("use `sslmode=verify-full`, so that no other server is spoken to"),
    ),
    (
        "requirepeer",
        Use::Refused("use a folder for the socket that only the server's account may write to"),
    ),
    (
        "client_encoding",
        Use::Refused("leave it out: text is taken in the encoding that the server has"),
    ),
    (
        "replication",
        Use::Refused("leave it out: databases are dumped, not replicated"),
    ),
    (
        "min_protocol_version",
        Use::Refused("leave it out: the protocol's version is agreed on"),
    ),
    (
        "max_protocol_version",
        Use::Refused("leave it out: the protocol's version is agreed on"),
    ),
    ("krbsrvname", Use::Refused(NO_GSS)),
    ("gsslib", Use::Refused(NO_GSS)),
    ("gssdelegation", Use::Refused(NO_GSS)),
    ("scram_client_key", Use::Refused(NO_SCRAM_KEY)),
    ("scram_server_key", Use::Refused(NO_SCRAM_KEY)),
    ("oauth_issuer", Use::Refused(NO_OAUTH)),
    ("oauth_client_id", Use::Refused(NO_OAUTH)),
    ("oauth_client_secret", Use::Refused(NO_OAUTH)),
    ("oauth_scope", Use::Refused(NO_OAUTH)),
];
