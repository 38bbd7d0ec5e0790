//! `[[postgres]]`: PostgreSQL servers to back up.

use std::path::PathBuf;

use holdfast_format::{Site, SourceName};
use serde::Serialize;

use crate::connection::{Authorities, Connection, SslMode};
use crate::reader::{At, Kind, Read};
use crate::secret::Secret;
use crate::table::Table;
use crate::values::period::Period;

/// `[[postgres]]`: one server. Its databases are found at run time.
#[derive(Clone, Debug, Serialize)]
pub struct Postgres {
    /// The source's name. Required.
    pub name: SourceName,
    /// The container that the server runs in, for messages. No key: set for servers that are found at run time.
    #[serde(skip)]
    pub container: Option<String>,
    /// The site whose workers capture the server. Default: the configuration's `site`.
    pub site: Option<Site>,
    /// The greatest age that the newest good backup may have. Default: by the schedules that capture the source.
    pub max_age: Option<Period>,
    /// `postgres://user@host:port/database`, with libpq's parameters after a `?`. The database is the one to connect to
    /// first. Required.
    ///
    /// `sslmode`, `sslrootcert` and a password in the URL are moved to their own keys.
    pub url: Connection,
    /// The user's password (or `password_file`, or in the URL).
    pub password: Option<Secret>,
    /// Patterns of databases to back up. Default: `["*"]`.
    pub include: Vec<String>,
    /// Patterns of databases to leave out. Default: none.
    pub exclude: Vec<String>,
    /// Additional folders to search for `pg_dump`, as `DIR/bin/pg_dump` or `DIR/pg_dump`. Default: none.
    pub client_dirs: Vec<PathBuf>,
    /// True to dump roles and tablespaces, too. Default: true.
    pub globals: bool,
    /// The time that `pg_dump` waits for a lock before it gives up. Default: `60s`.
    pub lock_timeout: Period,
    /// The smallest allowed size of a dump, as a share of the dump before it, 0 to 1. A smaller dump gets a warning.
    /// Default: 0.5.
    pub min_ratio: f64,
    /// The security of the connection. Default: from the URL, else `prefer`.
    pub sslmode: Option<SslMode>,
    /// The trusted authorities: a file, or `system`. Default: from the URL. Without one, `verify-ca` and `verify-full`
    /// trust the system's authorities, and other modes check none.
    pub sslrootcert: Option<Authorities>,
}

impl Postgres {
    /// Returns the name for messages: the container's, or else the source's.
    #[must_use]
    pub fn label(&self) -> &str {
        self.container.as_deref().unwrap_or(self.name.as_str())
    }

    /// Returns the whole connection: the URL, and the parts that were moved out of it.
    #[must_use]
    pub fn connection(&self) -> Connection {
        self.url.clone().with_tls(self.sslmode, self.sslrootcert.as_ref())
    }

    pub(crate) fn read(mut table: Table<'_>) -> Option<Self> {
        let name = table.required("name");
        let site = table.optional("site");
        let max_age = table.max_age();
        let url = table.required("url").and_then(|url: String| read_url(&url, &table));
        if url.as_ref().is_some_and(|url| url.password().is_some()) && table.has_secret("password") {
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
        let taken = url.map(|url| Taken::from_url(url, sslmode, sslrootcert, &table));
        table.finish();
        let taken = taken?;
        Some(Self {
            name: name?,
            container: None,
            site,
            max_age,
            url: taken.url,
            password: password.or(taken.password),
            include,
            exclude,
            client_dirs,
            globals,
            lock_timeout,
            min_ratio,
            sslmode: taken.sslmode,
            sslrootcert: taken.sslrootcert,
        })
    }
}

/// A connection URL, without the parts that have keys of their own.
struct Taken {
    url: Connection,
    password: Option<Secret>,
    sslmode: Option<SslMode>,
    sslrootcert: Option<Authorities>,
}

impl Taken {
    /// Reads the parts of a URL. A key of its own overrides the URL.
    fn from_url(
        mut url: Connection,
        sslmode: Option<SslMode>,
        sslrootcert: Option<Authorities>,
        table: &Table<'_>,
    ) -> Self {
        let in_url = url.take("sslmode").and_then(|word| {
            let mode = word.parse();
            mode.map_err(|rule| table.fault("url", format!("must have a valid `sslmode`: it {rule}")))
                .ok()
        });
        let sslmode = sslmode.or(in_url);
        let roots_in_url = url.take("sslrootcert").map(Authorities::from);
        let sslrootcert = sslrootcert.or(roots_in_url);
        let whole = url.clone().with_tls(sslmode, sslrootcert.as_ref());
        // The parameters of a service are read on the host that connects, since other hosts need not have the file.
        if let (None, Err(rules)) = (whole.service(), whole.reach()) {
            rules.into_iter().for_each(|rule| table.fault("url", rule));
        }
        Self {
            password: url.take_password().filter(|_| table.reveals()),
            url,
            sslmode,
            sslrootcert,
        }
    }
}

fn read_url(text: &str, table: &Table<'_>) -> Option<Connection> {
    let read = Connection::parse(text, &table.cx.dir);
    read.map_err(|rules| rules.into_iter().for_each(|rule| table.fault("url", rule)))
        .ok()
}

impl Read for Authorities {
    fn read(at: &At<'_>, kind: Kind) -> Option<Self> {
        match kind {
            Kind::String(word) if word == "system" => Some(Self::System),
            kind => PathBuf::read(at, kind).map(Self::File),
        }
    }
}
