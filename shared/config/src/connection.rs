//! Connections to PostgreSQL servers, written as libpq's URLs or `key=value` words. Everything that speaks to a server
//! uses them: the driver, and PostgreSQL's own programs.

mod grammar;
mod parameters;
mod reach;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::secret::Secret;
use crate::suggest;
use crate::values::percent::encoded;
use parameters::{PARAMETERS, Use};

pub use reach::{Authorities, ChannelBinding, Host, Keepalives, Reach, SslMode, TargetSession, TlsVersion};

/// The parameters of a connection, by name, and the password apart from them. `Display` and `Serialize` show a URL
/// without the password.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    words: BTreeMap<&'static str, String>,
    password: Option<Secret>,
}

impl Connection {
    /// Reads `postgres://user@host:port/database?key=value`, or libpq's `key=value` words. Paths of files are relative
    /// to `dir`.
    ///
    /// # Errors
    /// Every rule that is broken, as a phrase: `must …`. No rule shows a value, which may be a password.
    pub fn parse(text: &str, dir: &Path) -> Result<Self, Vec<String>> {
        let pairs = grammar::pairs(text).map_err(|rule| vec![rule])?;
        // The text after an unescaped @ is part of a user's name or password.
        let names_may_be_secret = text.rsplit_once('?').is_some_and(|(_, query)| query.contains('@'));
        let mut connection = Self::default();
        let mut faults = Vec::new();
        for (key, value) in pairs {
            match connection.put(&key, value, dir) {
                Err(Fault::Unknown(_)) if names_may_be_secret => faults.push(
                    "must have known parameters alone (write @, ?, & in a user's name or password as %40, %3F, %26)"
                        .to_owned(),
                ),
                Err(fault) => faults.push(fault.to_string()),
                Ok(()) => {}
            }
        }
        if faults.is_empty() { Ok(connection) } else { Err(faults) }
    }

    /// Returns the connection to a server at this host, which may be an address.
    #[must_use]
    pub fn at(host: &str, port: u16, user: &str, database: &str) -> Self {
        let words = [
            ("host", host),
            ("port", &port.to_string()),
            ("user", user),
            ("dbname", database),
        ];
        Self {
            words: words.map(|(key, value)| (key, value.to_owned())).into(),
            password: None,
        }
    }

    /// Returns the password, if the connection has one.
    #[must_use]
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// Returns the name of the section of `pg_service.conf` that has the other parameters.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.words.get("service").map(String::as_str)
    }

    /// Adds the parameters of `others` that this connection does not have. They are those of a service, and their paths
    /// of files are relative to `dir`.
    ///
    /// # Errors
    /// Every rule that is broken.
    pub fn or_words(&self, others: Vec<(String, String)>, dir: &Path) -> Result<Self, Vec<String>> {
        let mut merged = Self::default();
        let mut faults = Vec::new();
        for (key, value) in others {
            if let Err(fault) = merged.put(&key, value, dir) {
                faults.push(fault.to_string());
            }
        }
        merged.words.extend(self.words.clone());
        merged.words.remove("service");
        merged.password = self.password.clone().or(merged.password);
        if faults.is_empty() { Ok(merged) } else { Err(faults) }
    }

    /// Returns this connection with other rules for TLS, where they are given.
    #[must_use]
    pub fn with_tls(mut self, sslmode: Option<SslMode>, authorities: Option<&Authorities>) -> Self {
        self.words.extend(sslmode.map(|mode| ("sslmode", mode.to_string())));
        self.words
            .extend(authorities.map(|roots| ("sslrootcert", roots.to_string())));
        self
    }

    /// Removes the password, and returns it.
    pub(crate) fn take_password(&mut self) -> Option<Secret> {
        self.password.take()
    }

    /// Removes a parameter, and returns it.
    pub(crate) fn take(&mut self, key: &str) -> Option<String> {
        self.words.remove(key)
    }

    fn put(&mut self, key: &str, value: String, dir: &Path) -> Result<(), Fault> {
        let known = PARAMETERS.iter().find(|(word, _)| *word == key);
        let Some((word, what)) = known else {
            return Err(Fault::Unknown(key.to_owned()));
        };
        let value = match what {
            Use::Refused(advice) => return Err(Fault::Refused(word, advice)),
            // `system` is a word of libpq, and not a file.
            Use::File if value != "system" && !value.is_empty() => dir.join(value).to_string_lossy().into_owned(),
            Use::File | Use::Taken => value,
        };
        match *word {
            "password" if self.password.is_some() => return Err(Fault::TwoPasswords),
            "password" => self.password = Some(value).filter(|value| !value.is_empty()).map(Secret::new),
            "ssl" if value == "true" => drop(self.words.insert("sslmode", "require".to_owned())),
            "ssl" => return Err(Fault::Refused("ssl", "write `sslmode`")),
            // As in libpq, an empty value counts as not given.
            word if value.is_empty() => drop(self.words.remove(word)),
            word => drop(self.words.insert(word, value)),
        }
        Ok(())
    }
}

/// A parameter that cannot be used.
enum Fault {
    Unknown(String),
    Refused(&'static str, &'static str),
    TwoPasswords,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(key) => {
                let known = PARAMETERS.iter().filter(|(_, what)| !matches!(what, Use::Refused(_)));
                let hint = suggest::hint(key, known.map(|(word, _)| *word));
                write!(f, "must not have `{key}`, which is no parameter of PostgreSQL{hint}")
            }
            Self::Refused(key, advice) => write!(f, "must not have `{key}`: {advice}"),
            Self::TwoPasswords => write!(f, "must not carry two passwords"),
        }
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |key: &str| self.words.get(key).map(String::as_str).unwrap_or_default();
        f.write_str("postgres://")?;
        if !word("user").is_empty() {
            write!(f, "{}@", encoded(word("user")))?;
        }
        let list = |key| word(key).split(',').collect::<Vec<_>>();
        let hosts = list("host");
        let ports = list("port");
        // One port for several hosts is written as a parameter, and not beside a host.
        let beside = ports.len() == hosts.len();
        for (at, host) in hosts.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let is_ipv6 = host.contains(':') && !host.starts_with('/');
            let host = if is_ipv6 { format!("[{host}]") } else { encoded(host) };
            write!(f, "{comma}{host}")?;
            if let Some(port) = ports.get(at).filter(|port| beside && !port.is_empty()) {
                write!(f, ":{}", encoded(port))?;
            }
        }
        if !word("dbname").is_empty() {
            write!(f, "/{}", encoded(word("dbname")))?;
        }
        let mut mark = '?';
        for (key, value) in &self.words {
            if !matches!(*key, "user" | "host" | "dbname") && (*key != "port" || !beside) {
                write!(f, "{mark}{key}={}", encoded(value))?;
                mark = '&';
            }
        }
        Ok(())
    }
}

impl serde::Serialize for Connection {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests;
