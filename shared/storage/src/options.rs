//! How a place is reached.

use std::time::Duration;

use secrecy::SecretString;
use url::Url;

/// How a place is reached. Secrets are not shown by `Debug`.
#[derive(Clone, Debug)]
pub struct PlaceOptions {
    /// `file:///directory` or `s3://bucket/prefix`.
    pub url: Url,
    /// The address of the S3 service, where it is not AWS.
    pub endpoint: Option<Url>,
    /// The region; `us-east-1` if there is none.
    pub region: Option<String>,
    /// The key's id. Without a key, the means of the platform apply: a web identity, a container's or instance's role.
    pub access_key_id: Option<SecretString>,
    /// The key.
    pub secret_access_key: Option<SecretString>,
    /// The token that goes with temporary credentials.
    pub session_token: Option<SecretString>,
    /// Allow an endpoint without TLS.
    pub allow_http: bool,
    /// Put the bucket in the path, not in the host name.
    pub path_style: bool,
    /// The most to send and to receive in a second, in bytes, on average. `None`: no limit.
    pub bandwidth: Option<u64>,
    /// Objects sent or received at the same time; at least 1.
    pub concurrency: usize,
    /// How long the store may be silent. Sending a large object may take longer, receiving one too, as long as it goes on.
    pub timeout: Duration,
    /// For how long a request that failed in passing (5xx, throttled, connection refused) is repeated.
    pub retry_for: Duration,
    /// The storage class for objects that are written without one of their own. Directories have none.
    pub storage_class: Option<String>,
    /// Make the directory if it is missing. Off by default: a missing directory is more often a missing mount.
    pub create_directory: bool,
}

impl PlaceOptions {
    /// The defaults for this URL: no credentials, no limits, 4 objects at a time, 5 minutes of silence, 2 of retries.
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
