//! `holdfast keys`: makes, lists and checks keys.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use holdfast_config::{SecretSection, Settings};
use holdfast_sealing::{GeneratedKey, KeyPurpose, TrustedSigners, generate};
use serde::Serialize;

use crate::checks::{self, Check};
use crate::error::file_error;
use crate::output::{Output, Table};
use crate::{CliError, Exit, Global, access};

/// Commands of `keys`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key pair: NAME.pub.asc, NAME.sec.asc and NAME.rev.asc, its certificate of revocation.
    Generate(GenerateArgs),
    /// List the keys that the configuration names.
    List(ListArgs),
    /// Look whether the keys that the configuration names are there, alive, and do what they are for.
    Check(CheckArgs),
}

/// The purpose of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Purpose {
    /// Opens backups; its secret part belongs to the operator and the verifier.
    Backup,
    /// Signs records and reads metadata; its secret part is on the services.
    Pipeline,
}

/// Arguments of `keys generate`.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// The purpose of the key.
    #[arg(value_enum)]
    pub(crate) purpose: Purpose,
    /// The folder to write to; made with mode 0700 if it is missing.
    #[arg(long, value_name = "DIR", default_value = "keys")]
    pub(crate) dir: PathBuf,
    /// The beginning of the files' names; else the purpose.
    #[arg(long, value_name = "NAME", value_parser = crate::parse::source)]
    pub(crate) name: Option<holdfast_format::SourceName>,
    /// The name in the key.
    #[arg(long, value_name = "TEXT")]
    pub(crate) user_id: Option<String>,
    /// A file with the passphrase to lock the secret part with.
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// Arguments of `keys list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `keys check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(global: &Global, command: &KeysCommand) -> Result<Exit, CliError> {
    match command {
        KeysCommand::Generate(args) => make(args),
        KeysCommand::List(args) => {
            let settings = access::load(global, &[])?;
            let keys = list(&settings);
            Output::new(args.json).print(&keys, |out| list_text(out, &keys));
            Ok(Exit::Good)
        }
        KeysCommand::Check(args) => {
            let settings = access::load(global, &[SecretSection::Encryption, SecretSection::Verifier])?;
            let checks = checks::keys::all(&settings);
            let report = Checked {
                good: checks::is_good(&checks),
                checks,
            };
            Output::new(args.json).print(&report, |out| checks::text(out, &report.checks));
            Ok(if report.good { Exit::Good } else { Exit::Usage })
        }
    }
}

#[derive(Serialize)]
struct Checked {
    good: bool,
    checks: Vec<Check>,
}

fn make(args: &GenerateArgs) -> Result<Exit, CliError> {
    let (purpose, word) = match args.purpose {
        Purpose::Backup => (KeyPurpose::Backup, "backup"),
        Purpose::Pipeline => (KeyPurpose::Pipeline, "pipeline"),
    };
    let name = args.name.as_ref().map_or(word, |name| name.as_str());
    let passphrase = match &args.passphrase_file {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(file_error("read the passphrase in", path))?;
            Some(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        None => None,
    };
    let user_id = args.user_id.clone().unwrap_or_else(|| format!("Holdfast {word} key"));
    let key = generate(purpose, &user_id, passphrase.as_deref(), std::time::SystemTime::now());
    let key = key.map_err(|error| CliError::keys("the key cannot be made", error))?;
    let files = write(&args.dir, name, &key)?;
    let out = Output::new(false);
    out.say(&format!("{}\n{}\n", key.fingerprint, files.join("\n")));
    Ok(Exit::Good)
}

/// Writes the three files of a key, none of which may be there; gives their paths.
///
/// # Errors
/// [`CliError::Refused`] if one is there: nothing is then written.
pub(crate) fn write(dir: &Path, name: &str, key: &GeneratedKey) -> Result<Vec<String>, CliError> {
    let files = [
        (
            dir.join(format!("{name}.pub.asc")),
            key.public_armored.as_bytes(),
            0o644,
        ),
        (
            dir.join(format!("{name}.sec.asc")),
            key.secret_armored.as_bytes(),
            0o600,
        ),
        (
            dir.join(format!("{name}.rev.asc")),
            key.revocation_armored.as_bytes(),
            0o600,
        ),
    ];
    for (path, ..) in &files {
        refuse_existing(path)?;
    }
    make_private_dir(dir)?;
    for (path, bytes, mode) in &files {
        write_new(path, bytes, *mode)?;
    }
    Ok(files.iter().map(|(path, ..)| path.display().to_string()).collect())
}

/// Refuses to go on if something has this path.
pub(crate) fn refuse_existing(path: &Path) -> Result<(), CliError> {
    // A dangling link counts: something is there.
    if std::fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    Err(CliError::refused(
        format!("{} is there already", path.display()),
        "nothing was written; choose another place or move it away",
    ))
}

/// Makes a folder that only this user can look into, unless it is there.
pub(crate) fn make_private_dir(dir: &Path) -> Result<(), CliError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(file_error("make the folder", dir))
}

/// Writes a new file, durably.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CliError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
    written.map_err(file_error("write", path))
}

#[derive(Serialize)]
struct Key {
    role: &'static str,
    file: PathBuf,
    fingerprints: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

fn list(settings: &Settings) -> Vec<Key> {
    let encryption = &settings.encryption;
    let recipients = encryption.recipients.iter().map(|path| ("backup, public", path));
    let pipeline = std::iter::once(("pipeline", &encryption.pipeline_key));
    let signers = encryption.trusted_signers.iter().map(|path| ("trusted signer", path));
    let secret = settings
        .verifier
        .secret_keys
        .iter()
        .map(|path| ("backup, secret", path));
    recipients
        .chain(pipeline)
        .chain(signers)
        .chain(secret)
        .map(|(role, path)| key(role, path))
        .collect()
}

fn key(role: &'static str, path: &Path) -> Key {
    let (fingerprints, problem) = match TrustedSigners::from_files(&[path.to_owned()]) {
        Ok(certs) => (certs.fingerprints(), None),
        Err(error) => (Vec::new(), Some(holdfast_fault::chain(&error).to_string())),
    };
    Key {
        role,
        file: path.to_owned(),
        fingerprints,
        problem,
    }
}

fn list_text(out: Output, keys: &[Key]) -> String {
    let mut table = Table::new(&["role", "file", "fingerprint"]);
    for key in keys {
        let found = key.problem.clone().unwrap_or_else(|| key.fingerprints.join(", "));
        table.row([key.role, &key.file.display().to_string(), &found]);
    }
    out.table(&table)
}
