//! What a connection needs.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// Who we are to the server.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// The server asks for nothing.
    #[default]
    None,
    /// User and password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// A token.
    Token(SecretString),
    /// A credentials file: JWT and seed.
    CredentialsFile(PathBuf),
    /// The seed of an nkey.
    Nkey(SecretString),
}

/// How to reach the server, and what our names on it begin with.
#[derive(Clone, Debug)]
pub struct BusOptions {
    /// `nats://host:port` or `tls://host:port`, without credentials.
    pub url: String,
    /// Further servers of its cluster, likewise: any that answers will do.
    pub servers: Vec<String>,
    /// Who we are.
    pub auth: Auth,
    /// Certificates of the authorities to believe besides the system's.
    pub tls_ca: Option<PathBuf>,
    /// One token that subjects and, in upper case, streams begin with.
    pub prefix: String,
    /// Copies that a cluster keeps of each stream: 1, 3 or 5.
    pub replicas: usize,
    /// What the server calls this connection in its reports.
    pub name: String,
    /// How long [`crate::Bus::connect`] tries before it gives up. Later losses of the connection are mended without end.
    pub connect_timeout: Duration,
}

impl BusOptions {
    /// Options for this server alone with everything else at its default: no credentials, prefix `holdfast`, one replica, 10 s.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            servers: Vec::new(),
            auth: Auth::None,
            tls_ca: None,
            prefix: "holdfast".to_owned(),
            replicas: 1,
            name: "holdfast".to_owned(),
            connect_timeout: Duration::from_secs(10),
        }
    }

    /// The URL as it may be shown: a URL that carries credentials after all loses them.
    pub(crate) fn shown_url(&self) -> String {
        match (self.url.split_once("://"), self.url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            (None, Some((_, host))) => host.to_owned(),
            _ => self.url.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_a_url_are_never_shown() {
        for (url, shown) in [
            ("nats://h:4222", "nats://h:4222"),
            ("nats://u:p@h:4222", "nats://h:4222"),
            ("tls://to:k@en@h", "tls://h"),
            ("u:p@h", "h"),
        ] {
            assert_eq!(BusOptions::new(url).shown_url(), shown);
        }
    }

    #[test]
    fn options_print_no_secret() {
        let mut options = BusOptions::new("nats://h:4222");
        options.auth = Auth::Password {
            user: "u".into(),
            password: "hunter2".to_owned().into(),
        };
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
