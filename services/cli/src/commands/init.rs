//! `holdfast init`: a configuration, keys and a repository.

mod template;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use clap::Args;
use holdfast_config::{PlaceUrl, SecretSection, Settings};
use holdfast_format::{Member, ObjectKey, Role, Site};
use holdfast_repository::Repository;
use holdfast_restore::{RESTORE_MD, RESTORE_PY};
use holdfast_sealing::{KeyPurpose, Recipients, Signer, generate};
use holdfast_service::{open_place, repository_keys};

use crate::error::file_error;
use crate::key_files::{make_private_dir, member_of_file, refuse_existing, write, write_new};
use crate::logs::Logs;
use crate::output::Output;
use crate::{CliError, Exit, Global};

use template::Template;

/// Arguments of `init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The folder for holdfast.toml and keys/. Keys that `keys generate` has written there are used.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// The repository: a directory, file:///directory or s3://bucket/prefix; else repository/ in DIR, or
    /// /var/backups/holdfast if DIR is /etc/holdfast.
    #[arg(long, value_name = "URL")]
    pub(crate) repository: Option<String>,
    /// Seal backups to this public key, made by GnuPG, instead of making one. Repeatable.
    #[arg(long = "recipient", value_name = "FILE")]
    pub(crate) recipients: Vec<PathBuf>,
    /// The site that this host's workers serve; else the host's name.
    #[arg(long, value_name = "NAME", value_parser = site)]
    pub(crate) site: Option<Site>,
    /// The folder for what services must keep through a restart; else state/ in DIR, or /var/lib/holdfast if DIR is
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
    let present = Present::in_folder(&keys);
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
    let new = Folder {
        config: &config,
        keys: &keys,
        present,
    };
    let repository = make(args, &new, &mut made).await?;
    made.keep = true;
    Output::new(false).say(&next_steps(args, &new, &repository));
    Ok(Exit::Good)
}

/// The folder that is set up, and the keys that were there before.
struct Folder<'a> {
    config: &'a Path,
    keys: &'a Path,
    present: Present,
}

/// The keys that were there before.
struct Present {
    /// Names of keys whose public part was there.
    public: Vec<String>,
    backup_secret: bool,
}

/// Returns the names of all keys that a deployment has, each with its purpose.
fn key_names() -> impl Iterator<Item = (&'static str, KeyPurpose)> {
    let roles = Role::ALL.iter().map(|role| (role.as_str(), KeyPurpose::Signing));
    let others = [
        ("owner", KeyPurpose::Signing),
        ("reader", KeyPurpose::Reader),
        ("backup", KeyPurpose::Backup),
    ];
    others.into_iter().chain(roles)
}

impl Present {
    /// Looks into a folder; an empty file, as Compose wants for a secret that is elsewhere, is no key.
    fn in_folder(keys: &Path) -> Self {
        let is_key = |name: &str| fs::metadata(keys.join(name)).is_ok_and(|file| file.is_file() && file.len() > 0);
        let is_there = |name: &&str| is_key(&format!("{name}.pub.asc"));
        Self {
            public: key_names()
                .map(|(name, _)| name)
                .filter(is_there)
                .map(String::from)
                .collect(),
            backup_secret: is_key("backup.sec.asc"),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.public.iter().any(|known| known == name)
    }
}

async fn make(args: &InitArgs, new: &Folder<'_>, made: &mut Made) -> Result<Repository, CliError> {
    let Folder { config, keys, .. } = new;
    if !keys.exists() {
        made.paths.push(keys.to_path_buf());
    }
    make_private_dir(keys)?;
    make_keys(args, new, made)?;
    write_new(config, template(args, new)?.text().as_bytes(), 0o644)?;
    made.paths.push(config.to_path_buf());
    let settings = Settings::load_for(
        config,
        &Settings::environment(),
        &[SecretSection::Repository, SecretSection::Encryption],
    )?;
    let members = members(keys, args.site.as_ref())?;
    let owner = Signer::from_file(&keys.join("owner.sec.asc"), None, SystemTime::now());
    let owner = owner.map_err(|error| CliError::keys("the owner key cannot sign the first roster", error))?;
    make_repository(&settings, owner, members, made).await
}

/// Returns the members of the first roster: the keys of all roles. The producer's is for the site, if one is named.
fn members(keys: &Path, site: Option<&Site>) -> Result<Vec<Member>, CliError> {
    let member = |role: &Role| {
        let sites = site.filter(|_| *role == Role::Producer).map(|site| vec![site.clone()]);
        member_of_file(&keys.join(format!("{role}.pub.asc")), *role, sites)
    };
    Role::ALL.iter().map(member).collect()
}

/// Makes the keys that are neither there nor given.
fn make_keys(args: &InitArgs, new: &Folder<'_>, made: &mut Made) -> Result<(), CliError> {
    let mut key = |name: &str, purpose| -> Result<(), CliError> {
        let key = generate(purpose, &format!("Holdfast {name} key"), None, SystemTime::now());
        let key = key.map_err(|error| CliError::keys("a key cannot be made", error))?;
        let files = write(new.keys, name, &key)?;
        made.paths.extend(files.into_iter().map(PathBuf::from));
        Ok(())
    };
    for (name, purpose) in key_names() {
        let is_given = purpose == KeyPurpose::Backup && !args.recipients.is_empty();
        if !is_given && !new.present.has(name) {
            key(name, purpose)?;
        }
    }
    Ok(())
}

fn template(args: &InitArgs, new: &Folder<'_>) -> Result<Template, CliError> {
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
        secret_elsewhere: new.present.has("backup") && !new.present.backup_secret,
    })
}

async fn make_repository(
    settings: &Settings,
    owner: Signer,
    members: Vec<Member>,
    made: &mut Made,
) -> Result<Repository, CliError> {
    if let Some(path) = settings.repository.url.directory() {
        let new = !path.exists();
        // Parents too: this is the one moment at which a missing directory is no missing mount.
        make_private_dir(path)?;
        if new {
            made.paths.push(path.to_owned());
        }
    }
    let place = open_place(settings).await?;
    let mut keys = repository_keys(settings)?;
    keys.signers.push(owner);
    let repository = Repository::create(place, keys, members, jiff::Timestamp::now()).await?;
    let written = write_guides(&repository).await;
    if written.is_err() {
        // Without its guides it is half-made, and it was made just now.
        for key in [
            ObjectKey::RestoreGuide,
            ObjectKey::RestoreScript,
            ObjectKey::Roster(1),
            ObjectKey::Repository,
        ] {
            if let Err(error) = repository.place().delete(&key).await {
                tracing::warn!(object = %key, reason = %holdfast_fault::chain(&error), "an object of the new repository could not be removed again");
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

/// The files and folders that were made, removed again unless they are to be kept.
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

fn next_steps(args: &InitArgs, new: &Folder<'_>, repository: &Repository) -> String {
    let config = new.config.display();
    let keys = new.keys.display();
    let verb = |present| if present { "uses" } else { "made" };
    let mut text = format!(
        "made {config}\n{} the keys of owner, reader and all roles in {keys}\nmade the repository {} at {}\n",
        verb(new.present.has("owner")),
        repository.id(),
        repository.place().describe()
    );
    let has_backup = new.present.has("backup");
    if args.recipients.is_empty() && (!has_backup || new.present.backup_secret) {
        text.push_str(&format!(
            "{} {keys}/backup.sec.asc, backup.pub.asc\n\n\
             What to do next:\n\
             1. Say what to back up: edit {config}, then run `holdfast doctor`.\n\
             2. Take two files away from this host, each to two places offline:\n   \
                {keys}/backup.sec.asc    it alone decrypts: without it nothing can be restored;\n   \
                {keys}/owner.sec.asc     it says whose records count: with it a stolen key is revoked.\n   \
                Keep owner.pub.asc with them: a restore on another machine needs it.\n\
             3. Then remove both from this host, and backup.sec.asc from [verifier] in {config}: whoever takes the host over\n   \
                cannot read its backups. While it is here, backups can be verified here by decrypting them.\n\
             4. Make a second key for an offline copy: `holdfast keys generate backup --name offline --dir {keys}`, and add\n   \
                {keys}/offline.pub.asc to encryption.recipients.\n\
             5. `holdfast run --verify` makes the first backup.\n",
            verb(has_backup)
        ));
    } else {
        text.push_str(&format!(
            "\nWhat to do next:\n\
             1. Say what to back up: edit {config}, then run `holdfast doctor`.\n\
             2. Take {keys}/owner.sec.asc away from this host, to two places offline: with it a stolen key is revoked.\n   \
                Keep owner.pub.asc with your secret keys: a restore on another machine needs it.\n\
             3. `holdfast run --verify=integrity` makes the first backup. To verify by decrypting, name a secret key in [verifier].\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::ffi::OsString;

    use super::*;

    fn holdfast(dir: &Path, words: &[&str]) -> Exit {
        let words = words.iter().map(OsString::from);
        let dir = [OsString::from("--dir"), dir.into()];
        crate::run([OsString::from("holdfast")].into_iter().chain(words).chain(dir))
    }

    fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(&path).unwrap()))
            .collect();
        files.sort();
        files
    }

    #[test]
    fn keys_that_were_made_before_are_used_and_missing_ones_made() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        assert_eq!(holdfast(&keys, &["keys", "generate", "reader"]), Exit::Good);
        let before = contents(&keys);
        assert_eq!(holdfast(dir.path(), &["init"]), Exit::Good);
        let after = contents(&keys);
        assert!(before.iter().all(|file| after.contains(file)), "the key was touched");
        // Public, secret, and certificate of revocation, of owner, reader, backup and six roles.
        assert_eq!(after.len(), 27);
        assert!(dir.path().join("repository/repository.pgp").is_file());
    }

    #[test]
    fn a_public_backup_key_alone_is_sealed_to_and_no_secret_one_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        assert_eq!(holdfast(&keys, &["keys", "generate", "backup"]), Exit::Good);
        fs::remove_file(keys.join("backup.rev.asc")).unwrap();
        // As Compose wants a file for a secret that is elsewhere.
        fs::write(keys.join("backup.sec.asc"), "").unwrap();
        assert_eq!(holdfast(dir.path(), &["init"]), Exit::Good);
        assert!(fs::read(keys.join("backup.sec.asc")).unwrap().is_empty());
        let text = fs::read_to_string(dir.path().join("holdfast.toml")).unwrap();
        assert!(text.contains("# secret_keys = "), "{text}");
    }

    #[test]
    fn keys_outlive_an_init_that_fails() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        assert_eq!(holdfast(&keys, &["keys", "generate", "reader"]), Exit::Good);
        let before = contents(&keys);
        fs::write(dir.path().join("repository"), "a file is no place").unwrap();
        assert_ne!(holdfast(dir.path(), &["init"]), Exit::Good);
        assert_eq!(contents(&keys), before);
        assert!(!dir.path().join("holdfast.toml").exists());
    }
}
