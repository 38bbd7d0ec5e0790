//! The keys for the connection to a bucket, shared by `[repository]` and `[[target]]`.

use serde::Serialize;
use url::Url;

use crate::secret::Secret;
use crate::table::Table;
use crate::values::place::PlaceUrl;
use crate::well_known;

/// The connection to an S3 bucket.
///
/// A place without credentials of its own uses those of the usual `AWS_*` variables, and with them region and endpoint,
/// where it names none. Without either, the storage client uses its own means (such as an instance's role).
#[derive(Clone, Debug, Default, Serialize)]
pub struct S3Options {
    /// The address of the service, if it is not AWS: `https://s3.example.org`.
    pub endpoint: Option<Url>,
    /// The region of the bucket.
    pub region: Option<String>,
    /// The id of the access key (or `access_key_id_file`).
    pub access_key_id: Option<Secret>,
    /// The secret of the access key (or `secret_access_key_file`).
    pub secret_access_key: Option<Secret>,
    /// The token of temporary credentials (or `session_token_file`).
    pub session_token: Option<Secret>,
    /// True to allow an endpoint without TLS. Default: false.
    pub allow_http: bool,
    /// True to put the bucket into the path, not into the host name. Default: true if an endpoint is given.
    pub path_style: bool,
}

const KEYS: [&str; 10] = [
    "endpoint",
    "region",
    "access_key_id",
    "access_key_id_file",
    "secret_access_key",
    "secret_access_key_file",
    "session_token",
    "session_token_file",
    "allow_http",
    "path_style",
];

impl S3Options {
    /// Reads these keys from `table`. `url` is the place's address, if it could be read.
    pub(crate) fn read(table: &mut Table<'_>, url: Option<&PlaceUrl>) -> Self {
        if url.is_some_and(|url| !url.is_s3()) {
            for key in KEYS.into_iter().filter(|key| table.has(key)) {
                table.fault(key, "is only for places with an s3:// url");
            }
        }
        let pair = (table.has_secret("access_key_id"), table.has_secret("secret_access_key"));
        match pair {
            (true, false) => table.fault("secret_access_key", "is required with access_key_id (or its `_file`)"),
            (false, true) => table.fault("access_key_id", "is required with secret_access_key (or its `_file`)"),
            _ => {}
        }
        let mut options = Self {
            endpoint: table.optional("endpoint"),
            region: table.optional("region"),
            access_key_id: table.secret("access_key_id"),
            secret_access_key: table.secret("secret_access_key"),
            session_token: table.secret("session_token"),
            allow_http: table.or("allow_http", false),
            path_style: false,
        };
        if url.is_some_and(PlaceUrl::is_s3) && pair == (false, false) && table.reveals() {
            options.take_environment(table);
        }
        options.check_endpoint(table);
        options.path_style = table.or("path_style", options.endpoint.is_some());
        options
    }

    /// True if no key is set. The printed configuration then leaves these keys out, which a directory must not have.
    pub(crate) fn is_unset(&self) -> bool {
        let secrets = [&self.access_key_id, &self.secret_access_key, &self.session_token];
        let texts = self.endpoint.is_some() || self.region.is_some() || secrets.iter().any(|secret| secret.is_some());
        !texts && !self.allow_http && !self.path_style
    }

    fn take_environment(&mut self, table: &Table<'_>) {
        let env = |name: &str| table.cx.env(name);
        let first = |names: [&str; 2]| names.into_iter().find_map(env);
        let (Some(id), Some(key)) = (
            env(well_known::AWS_ACCESS_KEY_ID),
            env(well_known::AWS_SECRET_ACCESS_KEY),
        ) else {
            return;
        };
        self.access_key_id = Some(Secret::new(id));
        self.secret_access_key = Some(Secret::new(key));
        self.session_token = env(well_known::AWS_SESSION_TOKEN).map(Secret::new);
        self.region = self
            .region
            .take()
            .or_else(|| first(well_known::AWS_REGION).map(str::to_owned));
        if self.endpoint.is_none()
            && let Some(endpoint) = first(well_known::AWS_ENDPOINT)
        {
            self.endpoint = Url::parse(endpoint).ok();
            if self.endpoint.is_none() {
                table.fault(
                    "endpoint",
                    format!(
                        "must be a URL (it comes from {})",
                        well_known::AWS_ENDPOINT.join(" or ")
                    ),
                );
            }
        }
    }

    fn check_endpoint(&self, table: &Table<'_>) {
        let Some(endpoint) = &self.endpoint else { return };
        match endpoint.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => table.fault(
                "endpoint",
                "must be https:// (or set allow_http = true, which shows all to the network)",
            ),
            _ => table.fault("endpoint", "must be an https:// URL"),
        }
        if !endpoint.username().is_empty() || endpoint.password().is_some() {
            table.fault(
                "endpoint",
                "must not carry a user or password; use access_key_id and secret_access_key",
            );
        }
    }
}
