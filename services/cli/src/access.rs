//! A repository opened for reading (and, where the keys allow it, writing) with what this host has: a whole
//! configuration, a configuration and a secret key, or a secret key alone.
//!
//! Reading asks for less than capturing: a recipient that has expired, or a reader key that is not on this host, must
//! not keep anybody from restoring. What is always needed is one secret key that opens the records, and the owner's public
//! certificate: the roster has all others.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use holdfast_config::{PlaceUrl, Secret, SecretSection, Settings, well_known};
use holdfast_format::PlaceName;
use holdfast_repository::{Catalogue, Repository, RepositoryKeys};
use holdfast_sealing::{Profile, Recipients, SecretKeys, TrustedSigners};
use holdfast_service::{check_roster_seen, open_place, role_keys, target_place};
use holdfast_storage::{Place, PlaceOptions};

use crate::error::file_error;
use crate::{CliError, Global};

/// Names a file with the passphrase of the secret keys, where no `--passphrase-file` is given.
pub(crate) const PASSPHRASE_VARIABLE: &str = "HOLDFAST_KEY_PASSPHRASE_FILE";

/// Secret keys, for commands that decrypt.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct KeyArgs {
    /// A secret backup key; else those of [verifier].secret_keys. Repeatable.
    #[arg(long = "key", value_name = "FILE")]
    pub(crate) keys: Vec<PathBuf>,
    /// A file with the passphrase that unlocks the secret keys; else the file that HOLDFAST_KEY_PASSPHRASE_FILE names,
    /// else [verifier].passphrase.
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// The owner's public key, whose roster says whose records count; else that of the configuration. Without a
    /// configuration: else owner.pub.asc beside the first --key.
    #[arg(long, value_name = "FILE")]
    pub(crate) owner: Option<PathBuf>,
}

impl KeyArgs {
    /// The backup keys that are given or configured; `None` if there are none.
    pub(crate) fn load(&self, settings: Option<&Settings>) -> Result<Option<SecretKeys>, CliError> {
        let configured = settings.map(|s| s.verifier.secret_keys.as_slice()).unwrap_or_default();
        let files = if self.keys.is_empty() { configured } else { &self.keys };
        if files.is_empty() {
            return Ok(None);
        }
        let given = self.passphrase()?;
        let configured = settings.and_then(|s| s.verifier.passphrase.as_ref());
        let passphrase = given.as_ref().or(configured).map(Secret::expose);
        let keys = SecretKeys::from_files(files, passphrase);
        keys.map(Some)
            .map_err(|error| CliError::keys("the secret backup keys cannot be used", error))
    }

    /// Loads keys as [`KeyArgs::load`] does, for commands that cannot do without.
    pub(crate) fn need(&self, settings: Option<&Settings>) -> Result<SecretKeys, CliError> {
        let none = || {
            CliError::no_key(
                "a secret backup key is needed to decrypt: name it with --key FILE, or in verifier.secret_keys of the \
                 configuration",
            )
        };
        self.load(settings)?.ok_or_else(none)
    }

    fn passphrase(&self) -> Result<Option<Secret>, CliError> {
        let named = std::env::var_os(PASSPHRASE_VARIABLE)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from);
        let Some(path) = self.passphrase_file.clone().or(named) else {
            return Ok(None);
        };
        passphrase_in(&path).map(Some)
    }

    fn beside_key(&self) -> Option<PathBuf> {
        let owner = self.keys.first()?.with_file_name("owner.pub.asc");
        owner.exists().then_some(owner)
    }
}

/// Reads a passphrase: a file without the end of its last line.
pub(crate) fn passphrase_in(path: &Path) -> Result<Secret, CliError> {
    let text = std::fs::read_to_string(path).map_err(file_error("read the passphrase in", path))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::new(text.strip_suffix('\r').unwrap_or(text)))
}

/// Loads the configuration with the secrets of these sections alone.
pub(crate) fn load(global: &Global, secrets: &[SecretSection]) -> Result<Arc<Settings>, CliError> {
    let path = Settings::find(global.config.as_deref())?;
    Ok(Arc::new(Settings::load_for(&path, &Settings::environment(), secrets)?))
}

/// Sections whose secrets are needed to read a repository at any of its places.
pub(crate) const READING: &[SecretSection] = &[
    SecretSection::Repository,
    SecretSection::Encryption,
    SecretSection::Target,
];

/// The sections of [`READING`], with the passphrase of the backup keys.
pub(crate) const DECRYPTING: &[SecretSection] = &[
    SecretSection::Repository,
    SecretSection::Encryption,
    SecretSection::Target,
    SecretSection::Verifier,
];

/// A repository at one place, and what it holds.
pub(crate) struct Access {
    pub(crate) repository: Repository,
    pub(crate) catalogue: Catalogue,
}

impl Access {
    /// Opens the repository at a place of the configuration; at the local one if none is named.
    pub(crate) async fn open(settings: &Settings, place: Option<&PlaceName>) -> Result<Self, CliError> {
        Self::open_with(settings, place, None, None).await
    }

    /// Opens a repository as [`Access::open`] does, with backup keys and an owner that the configuration may not have.
    pub(crate) async fn open_with(
        settings: &Settings,
        place: Option<&PlaceName>,
        secret: Option<&SecretKeys>,
        owner: Option<&Path>,
    ) -> Result<Self, CliError> {
        let keys = reading_keys(settings, secret, owner)?;
        let access = Self::at(named_place(settings, place).await?, keys).await?;
        // A target may lag behind until it is copied to.
        if place.is_none_or(PlaceName::is_local) {
            check_roster_seen(&settings.state_dir, &access.repository)?;
        }
        Ok(access)
    }

    /// Opens the repository at a URL without any configuration, with what the arguments give.
    pub(crate) async fn without_config(url: &str, args: &KeyArgs) -> Result<(Self, SecretKeys), CliError> {
        let secret = args.need(None)?;
        let Some(owner) = args.owner.clone().or_else(|| args.beside_key()) else {
            return Err(CliError::no_key(
                "the owner's public key is needed to tell genuine records from forged ones: name it with --owner FILE, or put \
                 it beside the secret key as owner.pub.asc",
            ));
        };
        let keys = RepositoryKeys {
            owner: owner_of(&owner)?,
            signers: Vec::new(),
            secret: secret.clone(),
            reader: None,
            recipients: None,
            profile: Profile::Gnupg,
        };
        let place = Place::open(PlaceName::local(), options_of(url)?).await?;
        Ok((Self::at(place, keys).await?, secret))
    }

    async fn at(place: Place, keys: RepositoryKeys) -> Result<Self, CliError> {
        let repository = Repository::open(place, keys).await?;
        Ok(Self {
            catalogue: Catalogue::new(repository.clone()),
            repository,
        })
    }
}

/// The local place or a target.
pub(crate) async fn named_place(settings: &Settings, place: Option<&PlaceName>) -> Result<Place, CliError> {
    let Some(name) = place.filter(|name| !name.is_local()) else {
        return Ok(open_place(settings).await?);
    };
    let Some(target) = settings.target(name) else {
        let names: Vec<&str> = settings
            .target
            .iter()
            .map(|t| t.name.as_str())
            .chain(["local"])
            .collect();
        return Err(CliError::Usage(format!(
            "there is no place {name}; there are {}",
            names.join(", ")
        )));
    };
    Ok(target_place(target).await?)
}

fn options_of(url: &str) -> Result<PlaceOptions, CliError> {
    let usage = |error: &dyn std::fmt::Display| CliError::Usage(format!("--repository {error}"));
    let parsed = PlaceUrl::parse(url, Path::new(".")).map_err(|error| usage(&error))?;
    let mut options = PlaceOptions::new(parsed.url().clone());
    if parsed.is_s3() {
        // Credentials come from the usual variables by the client's own means.
        let first = |names: [&str; 2]| {
            names
                .into_iter()
                .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
        };
        options.region = first(well_known::AWS_REGION);
        if let Some(endpoint) = first(well_known::AWS_ENDPOINT) {
            let endpoint = url::Url::parse(&endpoint)
                .map_err(|error| usage(&format!("has an endpoint that is no URL: {error}")))?;
            options.allow_http = endpoint.scheme() == "http";
            options.endpoint = Some(endpoint);
            options.path_style = true;
        }
    }
    Ok(options)
}

/// The keys to read with: as many as this host has.
pub(crate) fn reading_keys(
    settings: &Settings,
    backup: Option<&SecretKeys>,
    owner: Option<&Path>,
) -> Result<RepositoryKeys, CliError> {
    let section = &settings.encryption;
    let now = SystemTime::now();
    let passphrase = section.passphrase.as_ref().map(Secret::expose);
    let reader = SecretKeys::from_files(std::slice::from_ref(&section.reader_key), passphrase);
    let secret = match (reader, backup) {
        (Ok(reader), Some(backup)) => reader.union(backup),
        (Ok(reader), None) => reader,
        (Err(_), Some(backup)) => backup.clone(),
        (Err(error), None) => return Err(CliError::keys("encryption.reader_key cannot be used", error)),
    };
    Ok(RepositoryKeys {
        owner: owner_of(owner.unwrap_or(&section.owner))?,
        signers: role_keys(section, now).unwrap_or_default(),
        secret,
        reader: Recipients::of_secret_key(&section.reader_key, now).ok(),
        recipients: Recipients::from_files(&section.recipients, now).ok(),
        profile: section.profile,
    })
}

fn owner_of(file: &Path) -> Result<TrustedSigners, CliError> {
    TrustedSigners::one_from_file(file).map_err(|error| {
        CliError::keys(
            "the owner's public key cannot be used: name it with --owner FILE, or in encryption.owner of the configuration",
            error,
        )
    })
}

/// Keeps this process's memory to itself, before secret backup keys are in it.
pub(crate) fn harden() -> Result<(), CliError> {
    holdfast_service::harden().map_err(|error| CliError::because("keep secret keys to this process", error))
}
