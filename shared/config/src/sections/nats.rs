//! `[nats]`: the message bus.

use std::path::PathBuf;

use holdfast_format::SubjectPrefix;
use serde::Serialize;
use url::Url;

use crate::secret::{Secret, open_private};
use crate::table::Table;
use crate::values::percent::decoded;
use crate::values::period::Period;

/// `[nats]`: the connection to the message bus.
#[derive(Clone, Debug, Serialize)]
pub struct Nats {
    /// The server: `nats://host:4222` or `tls://host:4222`. Default: none; then a private server is started.
    ///
    /// A user and password (or a token alone) in the URL are moved to their own keys.
    pub url: Option<Url>,
    /// Further servers of the same cluster, as URLs without credentials. Any server that answers is used. Default:
    /// none.
    pub servers: Vec<Url>,
    /// The `nats-server` program for the private server. Default: none; then it is searched in `PATH`.
    pub server_binary: Option<PathBuf>,
    /// The user, together with `password`.
    pub user: Option<String>,
    /// The user's password (or `password_file`).
    pub password: Option<Secret>,
    /// A token instead of user and password (or `token_file`).
    pub token: Option<Secret>,
    /// A NATS credentials file (JWT and seed) instead. Must not be readable by everyone.
    pub credentials_file: Option<PathBuf>,
    /// The seed of an nkey (or `nkey_seed_file`) instead.
    pub nkey_seed: Option<Secret>,
    /// Certificates of the authorities that are trusted instead of the system's.
    pub tls_ca: Option<PathBuf>,
    /// The beginning of all subjects and streams, so that several deployments can share a server. Default: `holdfast`.
    pub prefix: SubjectPrefix,
    /// The number of copies that a cluster keeps of each stream: 1, 3 or 5. Default: 1.
    pub replicas: usize,
    /// The time limit for connecting. Default: `10s`.
    pub connect_timeout: Period,
    /// The time without a sign of life from its worker after which a job goes to another worker, at least 2 s. Default:
    /// `60s`. On a private server never more than 15 s, since its workers are in the same process.
    pub lease: Period,
}

impl Nats {
    pub(crate) fn read(mut table: Table<'_>) -> Self {
        let means = Means::of(&table);
        let mut nats = Self {
            url: table.optional("url"),
            servers: table.or("servers", Vec::new()),
            server_binary: table.optional("server_binary"),
            user: table.optional("user"),
            password: table.secret("password"),
            token: table.secret("token"),
            credentials_file: table.optional("credentials_file"),
            nkey_seed: table.secret("nkey_seed"),
            tls_ca: table.optional("tls_ca"),
            prefix: table.or("prefix", SubjectPrefix::default()),
            replicas: table.or("replicas", 1_i64).try_into().unwrap_or(0),
            connect_timeout: table.or("connect_timeout", Period::seconds(10)),
            lease: table.or("lease", Period::seconds(60)),
        };
        if !matches!(nats.replicas, 1 | 3 | 5) {
            table.fault("replicas", "must be 1, 3 or 5");
        }
        let in_url = nats.strip_url(&table);
        means.check(&table, in_url);
        nats.check_servers(&table);
        if let Some(path) = nats.credentials_file.as_ref().filter(|_| table.reveals()) {
            let _ = open_private(path).map_err(|rule| table.fault("credentials_file", rule));
        }
        table.finish();
        nats
    }

    fn check_servers(&self, table: &Table<'_>) {
        let has_more = |url: &Url| {
            let path = matches!(url.path(), "" | "/");
            !url.username().is_empty() || url.password().is_some() || !path || url.query().is_some()
        };
        if self.servers.iter().any(|url| !fits(url) || has_more(url)) {
            table.fault(
                "servers",
                "must each be nats://host:port or tls://host:port, without user and password",
            );
        }
        if self.url.is_none() && !self.servers.is_empty() {
            table.fault("servers", "are further ones beside `url`, which is not set");
        }
    }

    /// Moves credentials out of the URL, which may be logged. Returns true if there were any.
    fn strip_url(&mut self, table: &Table<'_>) -> bool {
        let Some(mut url) = self.url.take() else { return false };
        if !fits(&url) {
            table.fault("url", "must be nats://host:port or tls://host:port");
            return false;
        }
        if url.query().is_some() || url.fragment().is_some() || !matches!(url.path(), "" | "/") {
            table.fault(
                "url",
                "must end with the host and port (write # in a password as %23, / as %2F and ? as %3F)",
            );
        }
        let user = as_written(url.username());
        let password = url.password().map(as_written);
        let given = !user.is_empty() || password.is_some();
        let wiped = url.set_username("").and_then(|()| url.set_password(None));
        if wiped.is_err() {
            table.fault("url", "must not carry a user or password");
            return given;
        }
        self.url = Some(url);
        if given && table.reveals() {
            match password {
                Some(password) => {
                    self.user = Some(user);
                    self.password = Some(Secret::new(password));
                }
                // NATS reads a name without a password as a token.
                None => self.token = Some(Secret::new(user)),
            }
        }
        given
    }
}

/// Text of a URL's user part with its percent-escapes resolved, where they are some.
fn as_written(text: &str) -> String {
    decoded(text).unwrap_or_else(|_| text.to_owned())
}

/// True if the URL has a form that a NATS server's may have.
fn fits(url: &Url) -> bool {
    matches!(url.scheme(), "nats" | "tls") && url.host_str().is_some_and(|host| !host.is_empty())
}

/// The means of authentication that the keys name. Only one is allowed.
struct Means {
    user: bool,
    password: bool,
    others: Vec<&'static str>,
}

impl Means {
    fn of(table: &Table<'_>) -> Self {
        let mut others = Vec::new();
        others.extend(table.has_secret("token").then_some("token"));
        others.extend(table.has("credentials_file").then_some("credentials_file"));
        others.extend(table.has_secret("nkey_seed").then_some("nkey_seed"));
        Self {
            user: table.has("user"),
            password: table.has_secret("password"),
            others,
        }
    }

    fn check(&self, table: &Table<'_>, in_url: bool) {
        match (self.user, self.password) {
            (true, false) => table.fault("password", "is required with user (or its `_file`)"),
            (false, true) => table.fault("user", "is required with password"),
            _ => {}
        }
        let mut given = self.others.clone();
        given.extend((self.user || self.password).then_some("user and password"));
        given.extend(in_url.then_some("credentials in the url"));
        if given.len() > 1 {
            table.fault(
                "url",
                format!("must have one means of authentication, not {}", given.join(", ")),
            );
        }
    }
}
