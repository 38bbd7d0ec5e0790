//! The options of a place.

use std::time::Duration;

use secrecy::SecretString;
use url::Url;

/// The address of a place, the credentials for it, and the limits at it. `Debug` shows no secrets.
#[derive(Clone, Debug)]
pub struct PlaceOptions {
    /// The address: `file:///directory` or `s3://bucket/prefix`.
    pub url: Url,
    /// The address of the S3 service, where it is not AWS.
    pub endpoint: Option<Url>,
    /// The region; `us-east-1` if there is none.
    pub region: Option<String>,
    /// The key's id. Without a key, the means of the platform apply: a web identity, a container's or instance's role.
    pub access_key_id: Option<SecretString>,
    /// The secret part of the key.
    pub secret_access_key: Option<SecretString>,
    /// The token that goes with temporary credentials.
    pub session_token: Option<SecretString>,
    /// Allows an endpoint without TLS.
    pub allow_http: bool,
    /// Puts the bucket into the path, not into the host name.
    pub path_style: bool,
    /// The most bytes to send and to receive in a second, on average. `None`: no limit.
    pub bandwidth: Option<u64>,
    /// Objects sent or received at the same time; at least 1.
    pub concurrency: usize,
    /// The longest silence of the store. Sending or receiving a large object may take longer, as long as it goes on.
    pub timeout: Duration,
    /// The time for which a request that failed in passing (5xx, throttled, connection refused) is repeated.
    pub retry_for: Duration,
    /// The storage class for objects that are written without one of their own. Directories have none.
    pub storage_class: Option<String>,
    /// Makes the directory if it is missing. Off by default: a missing directory is more often a missing mount.
    pub create_directory: bool,
}

impl PlaceOptions {
    /// Makes the options for this URL: no credentials, no limits, 4 objects at a time, 5 minutes of silence, 2 of
    /// retries.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            allow_http: false,
            path_style: false,
            bandwidth: None,
            concurrency: 4,
            timeout: Duration::from_secs(300),
            retry_for: Duration::from_secs(120),
            storage_class: None,
            create_directory: false,
        }
    }
}

/// Returns the URL without anything that may be secret.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both calls fail only for URLs that cannot have a user, and so have none.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}
