//! The meaning of a connection's parameters, by libpq's rules.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use holdfast_format::{UnknownWord, word_enum};

use crate::reader::read_words;

use super::Connection;

/// The folder of a local server's socket, if none is named.
const SOCKETS: &str = "/var/run/postgresql";

/// The default user.
const USER: &str = "postgres";

/// The default port.
const PORT: u16 = 5432;

/// The silence after which a server is asked if it is still there.
const IDLE: Duration = Duration::from_secs(60);

word_enum! {
    /// The security of a connection, in libpq's words.
    SslMode {
        /// Never uses TLS.
        Disable = "disable",
        /// Uses TLS only if the server insists.
        Allow = "allow",
        /// Uses TLS if the server offers it. The default, as in libpq.
        Prefer = "prefer",
        /// Uses TLS with any server certificate.
        Require = "require",
        /// Uses TLS with a certificate of a known authority.
        VerifyCa = "verify-ca",
        /// Uses TLS with a certificate of a known authority for the host that was asked.
        VerifyFull = "verify-full",
    }
}

read_words!(SslMode);

word_enum! {
    /// The kind of server to use, if there are several: libpq's `target_session_attrs`.
    TargetSession {
        /// The first server that answers.
        Any = "any",
        /// A server that accepts writes.
        ReadWrite = "read-write",
        /// A server that accepts no writes.
        ReadOnly = "read-only",
        /// A server that is no standby.
        Primary = "primary",
        /// A standby.
        Standby = "standby",
        /// A standby, or any server if there is none.
        PreferStandby = "prefer-standby",
    }
}

word_enum! {
    /// The binding of a password's proof to the TLS connection.
    ChannelBinding {
        /// Never binds.
        Disable = "disable",
        /// Binds the proof if the server supports it. The default.
        Prefer = "prefer",
        /// Always binds the proof. A server that does not support it is refused.
        Require = "require",
    }
}

word_enum! {
    /// A version of the TLS protocol.
    TlsVersion {
        /// TLS 1.0
        V1 = "TLSv1",
        /// TLS 1.1
        V1_1 = "TLSv1.1",
        /// TLS 1.2
        V1_2 = "TLSv1.2",
        /// TLS 1.3
        V1_3 = "TLSv1.3",
    }
}

/// The authorities whose certificates are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorities {
    /// The authorities of the operating system.
    System,
    /// The authorities in this file, and no others.
    File(PathBuf),
}

impl From<String> for Authorities {
    fn from(word: String) -> Self {
        if word == "system" {
            Self::System
        } else {
            Self::File(word.into())
        }
    }
}

impl fmt::Display for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl serde::Serialize for Authorities {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One address at which a server may listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A name or an address, or the folder of a Unix socket. Empty if only the address is given.
    pub name: String,
    /// The address. If it is set, the name is not looked up.
    pub address: Option<IpAddr>,
    pub port: u16,
}

impl Host {
    /// True if the host is the folder of a Unix socket.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        self.address.is_none() && self.name.starts_with('/')
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) if self.name.is_empty() => write!(f, "{address}:{}", self.port),
            _ => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

/// The probes that keep a silent connection alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keepalives {
    pub on: bool,
    pub idle: Duration,
    pub interval: Option<Duration>,
    pub count: Option<u32>,
    /// The longest time for which sent data may stay unacknowledged.
    pub user_timeout: Option<Duration>,
}

/// The meaning of a connection's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The addresses to try, in this order. Never empty.
    pub hosts: Vec<Host>,
    pub any_order: bool,
    pub session: TargetSession,
    pub user: String,
    pub database: Option<String>,
    pub sslmode: SslMode,
    /// The trusted authorities. `None` if every certificate is accepted.
    pub authorities: Option<Authorities>,
    /// The user's certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// True to send the host's name in the TLS handshake.
    pub sni: bool,
    /// True to begin TLS at once, without a question in PostgreSQL's protocol.
    pub direct: bool,
    pub oldest: Option<TlsVersion>,
    pub newest: Option<TlsVersion>,
    pub channel_binding: ChannelBinding,
    /// The time limit for connecting to each address.
    pub connect_within: Option<Duration>,
    pub keepalives: Keepalives,
    pub options: Option<String>,
    pub application: Option<String>,
}

impl Connection {
    /// Reads the parameters. Those of a service must have been added before.
    ///
    /// # Errors
    /// Every rule that is broken, as a phrase: `must …`.
    pub fn reach(&self) -> Result<Reach, Vec<String>> {
        let mut words = Words {
            words: &self.words,
            faults: Vec::new(),
        };
        let reach = words.reach();
        if words.faults.is_empty() {
            Ok(reach)
        } else {
            Err(words.faults)
        }
    }
}

struct Words<'a> {
    words: &'a BTreeMap<&'static str, String>,
    faults: Vec<String>,
}

impl Words<'_> {
    fn text(&self, key: &str) -> Option<String> {
        self.words.get(key).cloned()
    }

    fn fault(&mut self, rule: &str) {
        self.faults.push(rule.to_owned());
    }

    /// Reads a parameter that takes one of a few words, or returns `None`.
    fn choice<T: FromStr<Err = UnknownWord>>(&mut self, key: &str) -> Option<T> {
        let read: Result<T, UnknownWord> = self.words.get(key)?.parse();
        read.map_err(|unknown| self.fault(&format!("must have a valid `{key}`: it {}", unknown.rule())))
            .ok()
    }

    /// Reads a whole number of at least `from`.
    fn number(&mut self, key: &str, from: u32) -> Option<u32> {
        let number = self
            .words
            .get(key)?
            .trim()
            .parse()
            .ok()
            .filter(|number| *number >= from);
        if number.is_none() {
            self.faults.push(format!(
                "must have a valid `{key}`: it must be a whole number from {from} on"
            ));
        }
        number
    }

    /// Reads a parameter that is 0 or 1. Returns true if it is not given.
    fn switch(&mut self, key: &str) -> bool {
        self.number(key, 0).is_none_or(|number| number != 0)
    }

    /// True if a parameter is the second of two words. The first one is the default.
    fn one_of(&mut self, key: &str, words: [&str; 2]) -> bool {
        let Some(word) = self.words.get(key) else { return false };
        if !words.contains(&word.as_str()) {
            self.faults.push(format!(
                "must have a valid `{key}`: it must be {} or {}",
                words[0], words[1]
            ));
        }
        word == words[1]
    }

    fn reach(&mut self) -> Reach {
        let hosts = self.hosts();
        let (sslmode, authorities) = self.trust();
        let direct = self.one_of("sslnegotiation", ["postgres", "direct"]);
        if direct && sslmode < SslMode::Require {
            self.fault("must have an sslmode of `require` or more with sslnegotiation=direct");
        }
        if sslmode == SslMode::VerifyFull && hosts.iter().any(|host| host.name.is_empty()) {
            self.fault("must name a host for sslmode=verify-full, beside hostaddr: its certificate is looked at");
        }
        if self.text("gssencmode").is_some_and(|mode| mode == "require") {
            self.fault("must not have gssencmode=require: Kerberos is not spoken, so use TLS");
        }
        Reach {
            hosts,
            any_order: self.one_of("load_balance_hosts", ["disable", "random"]),
            session: self.choice("target_session_attrs").unwrap_or(TargetSession::Any),
            user: self.text("user").unwrap_or_else(|| USER.to_owned()),
            database: self.text("dbname"),
            sslmode,
            authorities,
            certificate: self.certificate(),
            sni: self.switch("sslsni"),
            direct,
            oldest: self.choice("ssl_min_protocol_version"),
            newest: self.choice("ssl_max_protocol_version"),
            channel_binding: self.choice("channel_binding").unwrap_or(ChannelBinding::Prefer),
            connect_within: self.number("connect_timeout", 1).map(seconds),
            keepalives: Keepalives {
                on: self.switch("keepalives"),
                idle: self.number("keepalives_idle", 1).map_or(IDLE, seconds),
                interval: self.number("keepalives_interval", 1).map(seconds),
                count: self.number("keepalives_count", 1),
                user_timeout: self
                    .number("tcp_user_timeout", 1)
                    .map(|n| Duration::from_millis(n.into())),
            },
            options: self.text("options"),
            application: self
                .text("application_name")
                .or_else(|| self.text("fallback_application_name")),
        }
    }

    /// Returns one host for each name, address or port. There must be as many of each, or one port for all.
    fn hosts(&mut self) -> Vec<Host> {
        let list = |key: &str| -> Vec<String> {
            let text = self.words.get(key).map(|text| text.split(',').map(str::trim));
            text.into_iter().flatten().map(str::to_owned).collect()
        };
        let [names, addresses, ports] = ["host", "hostaddr", "port"].map(list);
        let count = names.len().max(addresses.len()).max(1);
        if ![0, count].contains(&names.len()) || ![0, count].contains(&addresses.len()) {
            self.fault("must have as many hosts as addresses in hostaddr");
        }
        if ![0, 1, count].contains(&ports.len()) {
            self.fault("must have one port, or as many as hosts");
        }
        let mut hosts = Vec::with_capacity(count);
        for at in 0..count {
            let given = |list: &[String]| list.get(at).filter(|text| !text.is_empty()).cloned();
            let address = given(&addresses).map(|text| text.parse());
            if let Some(Err(_)) = address {
                self.fault("must have addresses such as 10.0.0.1 or ::1 in hostaddr");
            }
            let port = given(&ports).or_else(|| ports.first().filter(|_| ports.len() == 1).cloned());
            let port = port.filter(|text| !text.is_empty()).map(|text| text.parse());
            if port.as_ref().is_some_and(|port| !matches!(port, Ok(1..))) {
                self.fault("must have ports from 1 to 65535");
            }
            let address = address.and_then(Result::ok);
            let name = given(&names).unwrap_or_else(|| match address {
                Some(_) => String::new(),
                None => SOCKETS.to_owned(),
            });
            if name.starts_with('@') {
                self.fault("must not name an abstract socket: name the folder of the socket");
            }
            hosts.push(Host {
                name: name.trim_matches(['[', ']']).to_owned(),
                address,
                port: port.and_then(Result::ok).unwrap_or(PORT),
            });
        }
        hosts
    }

    /// Reads `sslmode` and `sslrootcert`. As in libpq, a certificate is checked against named authorities whenever TLS
    /// is used, and against the system's only together with the host's name.
    fn trust(&mut self) -> (SslMode, Option<Authorities>) {
        let mode = self.choice("sslmode");
        match self.text("sslrootcert").map(Authorities::from) {
            Some(Authorities::System) => {
                if mode.is_some_and(|mode| mode != SslMode::VerifyFull) {
                    self.fault("must have sslmode=verify-full with sslrootcert=system: anybody has a certificate of these authorities");
                }
                (SslMode::VerifyFull, Some(Authorities::System))
            }
            None if mode >= Some(SslMode::VerifyCa) => (mode.unwrap_or(SslMode::VerifyFull), Some(Authorities::System)),
            named => (mode.unwrap_or(SslMode::Prefer), named),
        }
    }

    fn certificate(&mut self) -> Option<(PathBuf, PathBuf)> {
        match (self.text("sslcert"), self.text("sslkey")) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            _ => {
                self.fault("must have both `sslcert` and `sslkey`, or neither");
                None
            }
        }
    }
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}
