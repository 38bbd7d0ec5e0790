//! Writing what the databases of a server share, in whatever encoding its text is.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use crate::Server;
use crate::sql::{self, identifier};

/// Runs statements about databases and roles, whose text may be in any encoding. A server takes only text that fits the
/// encoding of the database of the session: what does not fit that of the usual database goes through the one that it is
/// about, and at last through one of no encoding, which is made for that.
#[derive(Debug)]
pub struct Scribe {
    server: Server,
    /// The name that a database of no encoding gets, while it is there.
    spare: String,
    usual: Client,
    own: Option<Client>,
    raw: Option<Client>,
}

impl Scribe {
    /// A scribe at this server, with a session there. A database of the name `spare` is nobody else's: one that is there is
    /// a rest.
    #[must_use]
    pub fn new(server: &Server, session: Client, spare: String) -> Self {
        Self {
            server: server.clone(),
            spare,
            usual: session,
            own: None,
            raw: None,
        }
    }

    /// The session that is used mostly.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.usual
    }

    /// Runs statements that have no result, written in `encoding`, or byte by byte.
    ///
    /// # Errors
    /// The driver's.
    pub async fn run(&mut self, statements: &[u8], encoding: Option<&str>) -> Result<(), Error> {
        let first = match encoding {
            Some(_) if !statements.is_ascii() => sql::run_as(&self.usual, statements, encoding).await,
            _ => sql::run(&self.usual, statements).await,
        };
        let Err(error) = first else { return Ok(()) };
        if !is_foreign(&error) {
            return Err(error);
        }
        if self.own.is_none() {
            self.own = self.server.connect().await.ok();
        }
        if let Some(own) = &self.own {
            match sql::run(own, statements).await {
                Err(error) if is_foreign(&error) => {}
                done => return done,
            }
        }
        if self.raw.is_none() {
            self.raw = self.make_raw().await;
        }
        match &self.raw {
            Some(raw) => sql::run(raw, statements).await,
            None => Err(error),
        }
    }

    /// Removes the database that the scribe made, if it made one.
    pub async fn finish(mut self) {
        if self.raw.take().is_some() {
            self.drop_spare().await;
        }
    }

    /// A session in a database that takes every byte; `None` if the user may not make one.
    async fn make_raw(&self) -> Option<Client> {
        self.drop_spare().await;
        let name = String::from_utf8_lossy(&identifier(&self.spare)).into_owned();
        let (_, major) = self.server.version(&self.usual).await.ok()?;
        // Other providers of locales cannot do without an encoding.
        let provider = if major >= 15 { " LOCALE_PROVIDER 'libc'" } else { "" };
        let encoding = "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'";
        let create = format!("CREATE DATABASE {name} TEMPLATE template0 {encoding}{provider}");
        self.usual.batch_execute(&create).await.ok()?;
        match self.server.with_database(&self.spare).connect().await {
            Ok(raw) => Some(raw),
            Err(_) => {
                self.drop_spare().await;
                None
            }
        }
    }

    async fn drop_spare(&self) {
        let name = String::from_utf8_lossy(&identifier(&self.spare)).into_owned();
        let dropped = self
            .usual
            .batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            .await;
        if let Err(error) = dropped {
            let reason = holdfast_fault::chain(&error).to_string();
            tracing::warn!(
                database = self.spare,
                reason,
                "a database that was made for text in other encodings is left"
            );
        }
    }
}

/// Tells whether text does not fit the encoding of the session's database.
fn is_foreign(error: &Error) -> bool {
    let codes = [
        SqlState::CHARACTER_NOT_IN_REPERTOIRE,
        SqlState::UNTRANSLATABLE_CHARACTER,
    ];
    error.code().is_some_and(|code| codes.contains(code))
}
