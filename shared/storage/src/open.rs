//! Opening a place: from options to a store.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use holdfast_format::PlaceName;
use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use secrecy::ExposeSecret;

use crate::error::{StorageCause, StorageError};
use crate::http::Connector;
use crate::options::PlaceOptions;
use crate::place::{Opened, Place};

/// Connecting takes no longer than this, however patient the place is otherwise.
const CONNECT_MAX: Duration = Duration::from_secs(10);

impl Place {
    /// Opens a place. Looks whether a directory exists; asks nothing of a bucket (see [`Place::probe`]).
    ///
    /// # Errors
    /// [`StorageError::BadOptions`]; [`StorageError::NoPlace`] if a directory is missing or cannot be entered.
    pub async fn open(name: PlaceName, options: PlaceOptions) -> Result<Self, StorageError> {
        let bad = |problem: &str| StorageError::BadOptions {
            place: name.clone(),
            problem: problem.to_owned(),
        };
        if options.concurrency == 0 {
            return Err(bad("concurrency must be at least 1"));
        }
        let opened = match options.url.scheme() {
            "file" => directory(&name, &options).await?,
            "s3" => bucket(&name, &options)?,
            other => {
                return Err(bad(&format!(
                    "has an unknown kind of URL, {other}://; use file:// or s3://"
                )));
            }
        };
        Ok(Self::assemble(name, options, opened))
    }
}

async fn directory(name: &PlaceName, options: &PlaceOptions) -> Result<Opened, StorageError> {
    let path = options.url.to_file_path().map_err(|()| StorageError::BadOptions {
        place: name.clone(),
        problem: "its URL names no directory of this host; use file:///directory".to_owned(),
    })?;
    let create = options.create_directory;
    let at = path.clone();
    let opened = tokio::task::spawn_blocking(move || open_directory(&at, create)).await;
    let missing = |problem: String| StorageError::NoPlace {
        place: name.clone(),
        problem,
    };
    let shown = path.display();
    match opened {
        Ok(Ok((store, root))) => Ok(Opened {
            store: Arc::new(store),
            root: Some(root),
            conditional: Arc::new(AtomicBool::new(true)),
        }),
        Ok(Err(error)) => Err(missing(format!(
            "the directory {shown} cannot be used ({error}): create it, or mount what belongs there"
        ))),
        Err(error) => Err(missing(format!(
            "the directory {shown} could not be looked at ({error})"
        ))),
    }
}

fn open_directory(path: &FilePath, create: bool) -> std::io::Result<(LocalFileSystem, PathBuf)> {
    if create {
        std::fs::create_dir_all(path)?;
    }
    let root = path.canonicalize()?;
    if !root.is_dir() {
        return Err(std::io::ErrorKind::NotADirectory.into());
    }
    let store = LocalFileSystem::new_with_prefix(&root).map_err(std::io::Error::other)?;
    // Without fsync a power cut leaves empty objects. Empty directories would show as runs that no longer are.
    Ok((store.with_fsync(true).with_automatic_cleanup(true), root))
}

fn bucket(name: &PlaceName, options: &PlaceOptions) -> Result<Opened, StorageError> {
    let bad = |problem: String| StorageError::BadOptions {
        place: name.clone(),
        problem,
    };
    let bucket = options.url.host_str().unwrap_or_default();
    if bucket.is_empty() {
        return Err(bad("its URL names no bucket; use s3://bucket/prefix".to_owned()));
    }
    let prefix = object_store::path::Path::from_url_path(options.url.path())
        .map_err(|error| bad(format!("its URL has an unusable prefix ({error})")))?;
    let conditional = Arc::new(AtomicBool::new(true));
    let connector = Connector {
        timeout: options.timeout,
        conditional: Arc::clone(&conditional),
    };
    let store = addressed(credentials(options).map_err(bad)?, options, bucket)
        .map_err(bad)?
        .with_http_connector(connector)
        .with_client_options(client_options(options))
        .with_retry(retries(options))
        // A locked bucket takes no object without a checksum. This one every S3-compatible service knows.
        .with_checksum_algorithm(Checksum::SHA256)
        .with_unsigned_payload(options.endpoint.as_ref().is_none_or(|url| url.scheme() == "https"))
        // Several S3-compatible services cannot delete in bulk.
        .with_disable_bulk_delete(true)
        .build()
        .map_err(|error| bad(format!("cannot be set up ({})", StorageCause::new(&error, &[]))))?;
    Ok(Opened {
        store: Arc::new(PrefixStore::new(store, prefix)),
        root: None,
        conditional,
    })
}

fn credentials(options: &PlaceOptions) -> Result<AmazonS3Builder, String> {
    let builder = match (&options.access_key_id, &options.secret_access_key) {
        (Some(id), Some(secret)) => AmazonS3Builder::new()
            .with_access_key_id(id.expose_secret())
            .with_secret_access_key(secret.expose_secret()),
        (None, None) => return Ok(AmazonS3Builder::from_env()),
        _ => return Err("needs both access_key_id and secret_access_key, or neither".to_owned()),
    };
    Ok(match &options.session_token {
        Some(token) => builder.with_token(token.expose_secret()),
        None => builder,
    })
}

fn addressed(mut builder: AmazonS3Builder, options: &PlaceOptions, bucket: &str) -> Result<AmazonS3Builder, String> {
    builder = builder
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(!options.path_style);
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    let Some(endpoint) = &options.endpoint else {
        return Ok(builder);
    };
    if endpoint.scheme() != "https" && !options.allow_http {
        return Err("its endpoint must be https:// (or set allow_http)".to_owned());
    }
    let mut endpoint = endpoint.clone();
    if !options.path_style {
        let host = format!("{bucket}.{}", endpoint.host_str().unwrap_or_default());
        endpoint
            .set_host(Some(&host))
            .map_err(|_| "its bucket cannot be part of a host name; set path_style".to_owned())?;
    }
    Ok(builder.with_endpoint(endpoint.as_str().trim_end_matches('/')))
}

fn client_options(options: &PlaceOptions) -> ClientOptions {
    // The limits on time are in `http`, where they know a request's size.
    ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(options.timeout.min(CONNECT_MAX))
        .with_allow_http(options.allow_http)
}

fn retries(options: &PlaceOptions) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(15),
            base: 2.0,
        },
        max_retries: 10,
        retry_timeout: options.retry_for,
    }
}
