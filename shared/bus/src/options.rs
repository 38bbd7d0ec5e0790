//! The options of a connection.

use std::path::PathBuf;
use std::time::Duration;

use holdfast_format::{BusUser, SubjectPrefix};
use secrecy::SecretString;

/// The credentials that this program shows to the server.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// The server asks for nothing.
    #[default]
    None,
    /// A user and a password.
    Password { user: String, password: SecretString },
    /// A secret token.
    Token(SecretString),
    /// A credentials file: JWT and seed.
    CredentialsFile(PathBuf),
    /// The seed of an nkey.
    Nkey(SecretString),
}

/// The address of the server, and the beginning of our names on it.
#[derive(Clone, Debug)]
pub struct BusOptions {
    /// The address, `nats://host:port` or `tls://host:port`, without credentials.
    pub url: String,
    /// Further servers of the same cluster, likewise: any that answers will do.
    pub servers: Vec<String>,
    pub auth: Auth,
    /// Certificates of the authorities to believe besides the system's.
    pub tls_ca: Option<PathBuf>,
    /// The first part of subjects and, in upper case, of streams.
    pub prefix: SubjectPrefix,
    /// Copies that a cluster keeps of each stream: 1, 3 or 5.
    pub replicas: usize,
    /// The name of this connection in the server's reports.
    pub name: String,
    /// The time that [`crate::Bus::connect`] tries before it gives up. Later losses of the connection are mended
    /// without end.
    pub connect_timeout: Duration,
}

impl BusOptions {
    /// Makes options for this server with everything else at its default: no credentials, prefix `holdfast`, one
    /// replica, 10 s.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            servers: Vec::new(),
            auth: Auth::None,
            tls_ca: None,
            prefix: SubjectPrefix::default(),
            replicas: 1,
            name: "holdfast".to_owned(),
            connect_timeout: Duration::from_secs(10),
        }
    }

    /// Returns the user that the server knows this connection by. None without a name: with a token, say.
    pub(crate) fn user(&self) -> Option<BusUser> {
        match &self.auth {
            Auth::Password { user, .. } if !user.is_empty() => Some(BusUser::new(user)),
            _ => None,
        }
    }

    /// Returns the URL as it may be shown: credentials that it carries after all are left out.
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
