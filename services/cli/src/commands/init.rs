//! `holdfast init`: a configuration, keys and a repository.

mod template;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use clap::Args;
use holdfast_config::{PlaceUrl, SecretSection, Settings};
use holdfast_format::{ObjectKey, Site};
use holdfast_repository::Repository;
use holdfast_restore::{RESTORE_MD, RESTORE_PY};
use holdfast_sealing::{KeyPurpose, Recipients, generate};
use holdfast_service::{open_place, repository_keys};

use crate::commands::keys::{make_private_dir, refuse_existing, write, write_new};
use crate::error::file_error;
use crate::logs::Logs;
use crate::output::Output;
use crate::{CliError, Exit, Global};

use template::Template;

/// Arguments of `init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The folder for holdfast.toml and keys/.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Where backups are kept: a directory, file:///directory or s3://bucket/prefix; else repository/ in DIR, or
    /// /var/backups/holdfast if DIR is /etc/holdfast.
    #[arg(long, value_name = "URL")]
    pub(crate) repository: Option<String>,
    /// Seal backups to this public key, made by GnuPG, instead of making one. Repeatable.
    #[arg(long = "recipient", value_name = "FILE")]
    pub(crate) recipients: Vec<PathBuf>,
    /// What this host's workers serve; else the host's name.
    #[arg(long, value_name = "NAME", value_parser = site)]
    pub(crate) site: Option<Site>,
    /// Where services keep what must survive a restart; else state/ in DIR, or /var/lib/holdfast if DIR is
    /// /etc/holdfast.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

fn site(text: &str) -> Result<Site, String> {
    text.parse()
        .map_err(|error: holdfast_format::NameError| error.to_string())
}

/// Makes everything, or nothing: what was made before a failure is removed again.
pub(crate) async fn run(global: &Global, args: &InitArgs) -> Result<Exit, CliError> {
    if global.config.is_some() {
        return Err(CliError::Usage(
            "init writes DIR/holdfast.toml: use --dir, not --config".to_owned(),
        ));
    }
    let _logs = Logs::start(global, None, None)?;
    let config = args.dir.join("holdfast.toml");
    let keys = args.dir.join("keys");
    refuse_existing(&config)?;
    refuse_existing(&keys)?;
    if !args.recipients.is_empty() {
        let usable = Recipients::from_files(&args.recipients, SystemTime::now());
        usable.map_err(|error| CliError::keys("--recipient cannot be used", error))?;
    }
    let mut made = Made {
        paths: Vec::new(),
        keep: false,
    };
    let new_dir = !args.dir.exists();
    fs::create_dir_all(&args.dir).map_err(file_error("make the folder", &args.dir))?;
    if new_dir {
        made.paths.push(args.dir.clone());
    }
    let repository = make(args, &config, &keys, &mut made).await?;
    made.keep = true;
    Output::new(false).say(&next_steps(args, &config, &keys, &repository));
    Ok(Exit::Good)
}

async fn make(args: &InitArgs, config: &Path, keys: &Path, made: &mut Made) -> Result<Repository, CliError> {
    make_private_dir(keys)?;
    made.paths.push(keys.to_owned());
    make_keys(args, keys)?;
    write_new(config, template(args)?.text().as_bytes(), 0o644)?;
    made.paths.push(config.to_owned());
    let settings = Settings::load_for(
        config,
        &Settings::environment(),
        &[SecretSection::Repository, SecretSection::Encryption],
    )?;
    make_repository(&settings, made).await
}

fn make_keys(args: &InitArgs, keys: &Path) -> Result<(), CliError> {
    let key = |purpose, user_id: &str| {
        let made = generate(purpose, user_id, None, SystemTime::now());
        made.map_err(|error| CliError::keys("a key cannot be made", error))
    };
    write(keys, "pipeline", &key(KeyPurpose::Pipeline, "Holdfast pipeline key")?)?;
    if args.recipients.is_empty() {
        write(keys, "backup", &key(KeyPurpose::Backup, "Holdfast backup key")?)?;
    }
    Ok(())
}

fn template(args: &InitArgs) -> Result<Template, CliError> {
    let system = fs::canonicalize(&args.dir).is_ok_and(|dir| dir == Path::new("/etc/holdfast"));
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let default = |local: &str, system_wide: &str| {
        if system {
            system_wide.to_owned()
        } else {
            local.to_owned()
        }
    };
    // What the environment overrides anyway is what belongs into the file.
    let repository = match args.repository.clone().or_else(|| env("HOLDFAST__REPOSITORY__URL")) {
        Some(url) => {
            // Relative to the working directory here, and to the file there.
            let parsed = PlaceUrl::parse(&url, Path::new("."));
            parsed
                .map_err(|error| CliError::Usage(format!("--repository {error}")))?
                .to_string()
        }
        None => default("repository", "/var/backups/holdfast"),
    };
    let state_dir = match args
        .state_dir
        .clone()
        .or_else(|| env("HOLDFAST__STATE_DIR").map(PathBuf::from))
    {
        Some(dir) => std::path::absolute(&dir)
            .map_err(file_error("find", &dir))?
            .display()
            .to_string(),
        None => default("state", "/var/lib/holdfast"),
    };
    let mut recipients = Vec::new();
    for path in &args.recipients {
        recipients.push(
            std::path::absolute(path)
                .map_err(file_error("find", path))?
                .display()
                .to_string(),
        );
    }
    Ok(Template {
        site: args.site.as_ref().map(ToString::to_string),
        state_dir,
        repository,
        recipients,
    })
}

async fn make_repository(settings: &Settings, made: &mut Made) -> Result<Repository, CliError> {
    if let PlaceUrl::Directory(path) = &settings.repository.url {
        let new = !path.exists();
        // Parents too: this is the one moment at which a missing directory is no missing mount.
        make_private_dir(path)?;
        if new {
            made.paths.push(path.clone());
        }
    }
    let place = open_place(settings).await?;
    let keys = repository_keys(settings)?;
    let repository = Repository::create(place, keys, jiff::Timestamp::now()).await?;
    let written = write_guides(&repository).await;
    if written.is_err() {
        // Without its guides it is half-made, and it was made just now.
        for key in [ObjectKey::RestoreGuide, ObjectKey::RestoreScript, ObjectKey::Repository] {
            if let Err(error) = repository.place().delete(&key).await {
                tracing::warn!(object = %key, reason = %holdfast_fault::chain(&error), "it could not be removed again");
            }
        }
    }
    written.map(|()| repository)
}

async fn write_guides(repository: &Repository) -> Result<(), CliError> {
    repository
        .put_plain(&ObjectKey::RestoreGuide, Bytes::from_static(RESTORE_MD.as_bytes()))
        .await?;
    repository
        .put_plain(&ObjectKey::RestoreScript, Bytes::from_static(RESTORE_PY.as_bytes()))
        .await?;
    Ok(())
}

/// What was made, removed again unless it is to be kept.
struct Made {
    paths: Vec<PathBuf>,
    keep: bool,
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        // The last first: a folder after what is in it.
        for path in self.paths.iter().rev() {
            let removed = if path.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            };
            if let Err(error) = removed {
                eprintln!("{} could not be removed again: {error}", path.display());
            }
        }
    }
}

fn next_steps(args: &InitArgs, config: &Path, keys: &Path, repository: &Repository) -> String {
    let (config, keys) = (config.display(), keys.display());
    let mut text = format!(
        "made {config}\nmade {keys}/pipeline.sec.asc, pipeline.pub.asc\nmade the repository {} at {}\n",
        repository.id(),
        repository.place().describe()
    );
    if args.recipients.is_empty() {
        text.push_str(&format!(
            "made {keys}/backup.sec.asc, backup.pub.asc\n\n\
             What to do next:\n\
             1. Say what to back up: edit {config}, then run `holdfast doctor`.\n\
             2. Keep {keys}/backup.sec.asc and {keys}/pipeline.pub.asc offline, in two places: with them and any copy of\n   \
                the repository everything can be restored; without backup.sec.asc nothing can.\n\
             3. Then remove backup.sec.asc from this host and from [verifier] in {config}: whoever takes the host over\n   \
                cannot read its backups. While it is here, backups can be verified here by decrypting them.\n\
             4. Make a second key for an offline copy: `holdfast keys generate backup --name offline --dir {keys}`, and add\n   \
                {keys}/offline.pub.asc to encryption.recipients.\n\
             5. `holdfast run --verify` makes the first backup.\n"
        ));
    } else {
        text.push_str(&format!(
            "\nWhat to do next:\n\
             1. Say what to back up: edit {config}, then run `holdfast doctor`.\n\
             2. Keep {keys}/pipeline.pub.asc with your secret keys: both are needed for a restore on another machine.\n\
             3. `holdfast run --verify=integrity` makes the first backup. To verify by decrypting, name a secret key in [verifier].\n"
        ));
    }
    text
}
