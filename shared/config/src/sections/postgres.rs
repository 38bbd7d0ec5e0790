//! `[[postgres]]`: PostgreSQL servers to back up.

use std::path::PathBuf;

use holdfast_format::{Site, SourceName};
use serde::Serialize;
use url::Url;

use crate::choice::choice;
use crate::secret::Secret;
use crate::table::Table;
use crate::values::period::Period;

choice! {
    /// How far the connection is secured: the words of libpq.
    SslMode {
        /// Never TLS.
        Disable = "disable",
        /// TLS only if the server insists.
        Allow = "allow",
        /// TLS if the server offers it. The default, as in libpq.
        Prefer = "prefer",
        /// TLS, whoever answers.
        Require = "require",
        /// TLS with a certificate of a known authority.
        VerifyCa = "verify-ca",
        /// TLS with a certificate of a known authority for the host that was asked.
        VerifyFull = "verify-full",
    }
}

/// `[[postgres]]`: one server, of which all databases are found at run time.
#[derive(Clone, Debug, Serialize)]
pub struct Postgres {
    /// The source's name. Required.
    pub name: SourceName,
    /// The container that the server runs in, for messages. No key: set for servers that are found at run time.
    #[serde(skip)]
    pub container: Option<String>,
    /// The site whose workers capture it. Default: the configuration's `site`.
    pub site: Option<Site>,
    /// `postgres://user@host:port/database`; the database is the one to connect to first. Required.
    ///
    /// `sslmode`, `sslrootcert` and a password are moved out of it into their own keys.
    pub url: Url,
    /// The user's password (or `password_file`, or in the URL).
    pub password: Option<Secret>,
    /// Patterns of databases to back up. Default: `["*"]`.
    pub include: Vec<String>,
    /// Patterns of databases to leave out. Default: none.
    pub exclude: Vec<String>,
    /// Further places to look for `pg_dump`: `DIR/bin/pg_dump` or `DIR/pg_dump`. Default: none.
    pub client_dirs: Vec<PathBuf>,
    /// Also dump roles and tablespaces. Default: true.
    pub globals: bool,
    /// How long `pg_dump` waits for a lock before it gives up. Default: `60s`.
    pub lock_timeout: Period,
    /// A dump smaller than this share of the one before is flagged, 0 to 1. Default: 0.5.
    pub min_ratio: f64,
    /// Default: from the URL, else `prefer`.
    pub sslmode: SslMode,
    /// The authorities to believe, for `verify-ca` and `verify-full`. Default: from the URL, else the system's.
    pub sslrootcert: Option<PathBuf>,
}

impl Postgres {
    /// The name in messages: the container's, else the source's.
    #[must_use]
    pub fn label(&self) -> &str {
        self.container.as_deref().unwrap_or(self.name.as_str())
    }

    /// Where the server listens: host names, addresses, or the folder of a Unix socket (`?host=/run/postgresql`).
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        let asked = self
            .url
            .query_pairs()
            .find(|(key, _)| key == "host")
            .map(|(_, value)| value.into_owned());
        let host = asked
            .or_else(|| self.url.host_str().map(decoded))
            .filter(|host| !host.is_empty());
        let host = host.unwrap_or_else(|| "/var/run/postgresql".to_owned());
        host.split(',').map(|h| h.trim_matches(['[', ']']).to_owned()).collect()
    }

    /// The port. Default: 5432.
    #[must_use]
    pub fn port(&self) -> u16 {
        let asked = self
            .url
            .query_pairs()
            .find(|(key, _)| key == "port")
            .and_then(|(_, value)| value.parse().ok());
        self.url.port().or(asked).unwrap_or(5432)
    }

    /// The user. Default: `postgres`.
    #[must_use]
    pub fn user(&self) -> String {
        let asked = self
            .url
            .query_pairs()
            .find(|(key, _)| key == "user")
            .map(|(_, value)| value.into_owned());
        let user = Some(decoded(self.url.username())).filter(|user| !user.is_empty());
        user.or(asked).unwrap_or_else(|| "postgres".to_owned())
    }

    /// The database to connect to first. Default: `postgres`.
    #[must_use]
    pub fn database(&self) -> String {
        let name = decoded(self.url.path().trim_start_matches('/'));
        if name.is_empty() { "postgres".to_owned() } else { name }
    }

    pub(crate) fn read(mut table: Table<'_>) -> Option<Self> {
        let name = table.required("name");
        let site = table.optional("site");
        let url = table.required("url").and_then(|url| FromUrl::new(url, &table));
        if url.as_ref().is_some_and(|url| url.password.is_some()) && table.has_secret("password") {
            table.fault("password", "must not be given when the url carries one");
        }
        let password = table.secret("password");
        let include = table.globs("include", &["*"]);
        let exclude = table.globs("exclude", &[]);
        let client_dirs = table.or("client_dirs", Vec::new());
        let globals = table.or("globals", true);
        let lock_timeout = table.or("lock_timeout", Period::seconds(60));
        let min_ratio = table.or("min_ratio", 0.5);
        if !(0.0..=1.0).contains(&min_ratio) {
            table.fault("min_ratio", "must be between 0 and 1");
        }
        let sslmode = table.optional("sslmode");
        let sslrootcert = table.optional("sslrootcert");
        let reveals = table.reveals();
        table.finish();
        let url = url?;
        Some(Self {
            name: name?,
            container: None,
            site,
            url: url.url,
            password: password.or(url.password.filter(|_| reveals)),
            include,
            exclude,
            client_dirs,
            globals,
            lock_timeout,
            min_ratio,
            sslmode: sslmode.or(url.sslmode).unwrap_or(SslMode::Prefer),
            sslrootcert: sslrootcert.or(url.sslrootcert),
        })
    }
}

/// A connection URL taken apart: what has a key of its own is no longer in `url`.
struct FromUrl {
    url: Url,
    password: Option<Secret>,
    sslmode: Option<SslMode>,
    sslrootcert: Option<PathBuf>,
}

impl FromUrl {
    fn new(url: Url, table: &Table<'_>) -> Option<Self> {
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            table.fault("url", "must be postgres://user@host:port/database");
            return None;
        }
        if url.fragment().is_some() {
            table.fault("url", "must not have a fragment (write # in a password as %23)");
            return None;
        }
        let password = url.password().map(|text| Secret::new(decoded(text)));
        let mut parts = Self {
            url,
            password,
            sslmode: None,
            sslrootcert: None,
        };
        if parts.url.password().is_some() && parts.url.set_password(None).is_err() {
            table.fault("url", "must name a host if it carries a password");
            return None;
        }
        parts.strip_query(table);
        Some(parts)
    }

    fn strip_query(&mut self, table: &Table<'_>) {
        let pairs: Vec<(String, String)> = self.url.query_pairs().into_owned().collect();
        self.url.set_query(None);
        for (key, value) in pairs {
            match key.as_str() {
                "password" if self.password.is_some() => table.fault("url", "must not carry two passwords"),
                "password" => self.password = Some(Secret::new(value)),
                "sslmode" => match value.parse() {
                    Ok(mode) => self.sslmode = Some(mode),
                    Err(rule) => table.fault("url", format!("must have a valid sslmode: {rule}")),
                },
                // libpq's word for what is the default here.
                "sslrootcert" if value == "system" => {}
                "sslrootcert" => self.sslrootcert = Some(table.cx.dir.join(value)),
                "sslpassword" | "passfile" | "service" | "servicefile" => {
                    table.fault("url", format!("must not use `{key}`; give `password_file` instead"));
                }
                _ => {
                    self.url.query_pairs_mut().append_pair(&key, &value);
                }
            }
        }
    }
}

/// Text of a URL's user part with its percent-escapes resolved.
pub(super) fn decoded(text: &str) -> String {
    // The decoder is a query's: what separates or means something there must stand for itself here.
    let query = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(query.as_bytes())
        .next()
        .map(|(key, _)| key.into_owned())
        .unwrap_or_default()
}
