//! Opens the keys, the places, the repository and the bus that the configuration names.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use holdfast_bus::{Auth, Bus, BusError, BusOptions};
use holdfast_config::{Encryption, PlaceUrl, S3Options, Secret, Settings, Target};
use holdfast_fault::{Retry, Retryable};
use holdfast_format::{PlaceName, Role};
use holdfast_repository::{Repository, RepositoryError, RepositoryKeys};
use holdfast_sealing::{KeyError, Recipients, SecretKeys, Signer, TrustedSigners};
use holdfast_storage::{Place, PlaceOptions, StorageError};
use secrecy::SecretString;

use crate::seen::check_roster_seen;

/// The reason why something that the configuration names cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A key cannot be used.
    #[error("{setting} cannot be used")]
    Keys {
        /// The setting that names the key.
        setting: &'static str,
        #[source]
        source: KeyError,
    },
    /// A place cannot be opened.
    #[error("place {name} cannot be opened")]
    Place {
        name: PlaceName,
        #[source]
        source: Box<StorageError>,
    },
    /// The repository cannot be opened.
    #[error("the repository cannot be opened")]
    Repository(#[source] Box<RepositoryError>),
    /// The bus cannot be reached, or not be used.
    #[error("NATS cannot be used")]
    Bus(#[source] Box<BusError>),
    /// A folder cannot be made.
    #[error("folder {0} cannot be made")]
    Folder(PathBuf, #[source] std::io::Error),
}

impl Retryable for OpenError {
    fn retry(&self) -> Retry {
        match self {
            Self::Keys { source, .. } => source.retry(),
            Self::Place { source, .. } => source.retry(),
            Self::Repository(source) => source.retry(),
            Self::Bus(source) => source.retry(),
            Self::Folder(_, source) => Retry::of_io(source),
        }
    }
}

fn secret(secret: Option<&Secret>) -> Option<SecretString> {
    secret.map(|s| SecretString::from(s.expose().to_owned()))
}

/// Returns the options of a connection to the NATS server at `url`, as the configuration has them.
#[must_use]
pub fn bus_options(settings: &Settings, url: &str, name: &str) -> BusOptions {
    let nats = &settings.nats;
    BusOptions {
        url: url.to_owned(),
        servers: nats.servers.iter().map(ToString::to_string).collect(),
        auth: auth(settings),
        tls_ca: nats.tls_ca.clone(),
        prefix: nats.prefix.clone(),
        replicas: nats.replicas,
        name: name.to_owned(),
        connect_timeout: nats.connect_timeout.as_std(),
    }
}

/// Connects to the bus and makes sure that its streams are as this version needs them.
///
/// # Errors
/// [`OpenError::Bus`], which says what to do.
pub async fn open_bus(options: &BusOptions) -> Result<Bus, OpenError> {
    let bus = Bus::connect(options).await.map_err(|e| OpenError::Bus(Box::new(e)))?;
    bus.ensure_topology().await.map_err(|e| OpenError::Bus(Box::new(e)))?;
    Ok(bus)
}

fn auth(settings: &Settings) -> Auth {
    let nats = &settings.nats;
    let some = |s: &Secret| SecretString::from(s.expose().to_owned());
    match (
        &nats.user,
        &nats.password,
        &nats.token,
        &nats.credentials_file,
        &nats.nkey_seed,
    ) {
        (Some(user), Some(password), ..) => Auth::Password {
            user: user.clone(),
            password: some(password),
        },
        (_, _, Some(token), ..) => Auth::Token(some(token)),
        (_, _, _, Some(file), _) => Auth::CredentialsFile(file.clone()),
        (_, _, _, _, Some(seed)) => Auth::Nkey(some(seed)),
        _ => Auth::None,
    }
}

fn place_options(url: &PlaceUrl, s3: &S3Options) -> PlaceOptions {
    PlaceOptions {
        endpoint: s3.endpoint.clone(),
        region: s3.region.clone(),
        access_key_id: secret(s3.access_key_id.as_ref()),
        secret_access_key: secret(s3.secret_access_key.as_ref()),
        session_token: secret(s3.session_token.as_ref()),
        allow_http: s3.allow_http,
        path_style: s3.path_style,
        ..PlaceOptions::new(url.url().clone())
    }
}

async fn open_named(name: PlaceName, options: PlaceOptions) -> Result<Place, OpenError> {
    let opened = Place::open(name.clone(), options).await;
    opened.map_err(|source| OpenError::Place {
        name,
        source: Box::new(source),
    })
}

/// The repository's own place.
///
/// # Errors
/// [`OpenError::Place`].
pub async fn open_place(settings: &Settings) -> Result<Place, OpenError> {
    let section = &settings.repository;
    open_named(PlaceName::local(), place_options(&section.url, &section.s3)).await
}

/// The place of a target.
///
/// # Errors
/// [`OpenError::Place`].
pub async fn target_place(target: &Target) -> Result<Place, OpenError> {
    let mut options = place_options(&target.url, &target.s3);
    options.bandwidth = target.bandwidth.map(|b| b.as_u64());
    options.concurrency = target.concurrency;
    options.timeout = target.timeout.as_std();
    open_named(target.name.clone(), options).await
}

/// Reads the secret backup keys of `[verifier]`. `None` if there are none.
///
/// # Errors
/// [`KeyError`], which names the file.
pub fn secret_keys(settings: &Settings) -> Result<Option<SecretKeys>, KeyError> {
    let section = &settings.verifier;
    if section.secret_keys.is_empty() {
        return Ok(None);
    }
    let passphrase = section.passphrase.as_ref().map(Secret::expose);
    SecretKeys::from_files(&section.secret_keys, passphrase).map(Some)
}

/// Reads the keys that services hold: public backup keys, the owner's certificate, the reader key, and those role keys that
/// are there. Recipients that expire within 30 days are warned of; expired ones are refused.
///
/// # Errors
/// [`OpenError::Keys`], which names the setting, the file and the rule.
pub fn repository_keys(settings: &Settings) -> Result<RepositoryKeys, OpenError> {
    let section = &settings.encryption;
    let now = SystemTime::now();
    let named = |setting| move |source| OpenError::Keys { setting, source };
    let recipients = Recipients::from_files(&section.recipients, now).map_err(named("encryption.recipients"))?;
    for (fingerprint, at) in recipients.expiring_before(now + Duration::from_secs(30 * 86_400)) {
        let at = jiff::Timestamp::try_from(at).map(|t| t.to_string()).unwrap_or_default();
        tracing::warn!(
            fingerprint,
            at,
            "a backup key expires soon: add its successor to encryption.recipients"
        );
    }
    let owner = TrustedSigners::one_from_file(&section.owner);
    let passphrase = section.passphrase.as_ref().map(Secret::expose);
    let reader_file = std::slice::from_ref(&section.reader_key);
    let of_reader = named("encryption.reader_key");
    Ok(RepositoryKeys {
        owner: owner.map_err(named("encryption.owner"))?,
        signers: role_keys(section, now).map_err(named("encryption.role_keys"))?,
        secret: SecretKeys::from_files(reader_file, passphrase).map_err(of_reader)?,
        reader: Some(Recipients::of_secret_key(&section.reader_key, now).map_err(of_reader)?),
        recipients: Some(recipients),
        profile: section.profile,
    })
}

/// Reads the secret role keys that are in their folder. An empty file, as Compose wants for a secret that is elsewhere, is
/// none.
///
/// # Errors
/// [`KeyError`], which names the file.
pub fn role_keys(section: &Encryption, now: SystemTime) -> Result<Vec<Signer>, KeyError> {
    let passphrase = section.passphrase.as_ref().map(Secret::expose);
    let files = Role::ALL.iter().map(|role| section.role_key(*role));
    let is_there = |file: &PathBuf| std::fs::metadata(file).is_ok_and(|meta| meta.len() > 0);
    files
        .filter(is_there)
        .map(|file| Signer::from_file(&file, passphrase, now))
        .collect()
}

/// The repository that the configuration names, with its keys.
///
/// # Errors
/// [`OpenError`]: keys, place, or repository.
pub async fn open_repository(settings: &Settings) -> Result<Repository, OpenError> {
    let keys = repository_keys(settings)?;
    let place = open_place(settings).await?;
    let fault = |error| OpenError::Repository(Box::new(error));
    let repository = Repository::open(place, keys).await.map_err(fault)?;
    check_roster_seen(&settings.state_dir, &repository).map_err(fault)?;
    Ok(repository)
}

/// Makes a folder that only this user can look into.
pub(crate) fn make_private(dir: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| OpenError::Folder(dir.to_owned(), source))
}

/// Removes what processes that were killed left in a scratch folder: sealed copies that nobody reads any more.
fn sweep(dir: &Path) {
    let old = SystemTime::now() - Duration::from_secs(86_400);
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_old = entry.metadata().and_then(|m| m.modified()).is_ok_and(|at| at < old);
        if is_old && let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::debug!(path = %entry.path().display(), %error, "an old scratch file stays");
        }
    }
}

/// Makes the process's scratch folder, and removes old files in it.
pub(crate) fn scratch_dir(settings: &Settings) -> Result<PathBuf, OpenError> {
    let dir = settings.state_dir.join("scratch");
    make_private(&dir)?;
    sweep(&dir);
    Ok(dir)
}

impl crate::Context {
    /// The context of a process: opens the repository, connects to NATS at `url`, takes the system's clock.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(settings: Arc<Settings>, options: &BusOptions) -> Result<Self, OpenError> {
        let repository = open_repository(&settings).await?;
        Self::with(settings, repository, open_bus(options).await?)
    }

    /// The context around a repository and a bus that are open already.
    ///
    /// # Errors
    /// [`OpenError::Folder`].
    pub fn with(settings: Arc<Settings>, repository: Repository, bus: Bus) -> Result<Self, OpenError> {
        Ok(Self {
            site: settings.site.clone(),
            scratch: scratch_dir(&settings)?,
            catalogue: Arc::new(holdfast_repository::Catalogue::new(repository.clone())),
            repository,
            bus,
            clock: holdfast_telemetry::clock::system(),
            drain: tokio_util::sync::CancellationToken::new(),
            settings,
        })
    }
}
