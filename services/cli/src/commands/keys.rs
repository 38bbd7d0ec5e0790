//! `holdfast keys`: makes, lists and checks keys.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use holdfast_config::{SecretSection, Settings};
use holdfast_format::Role;
use holdfast_sealing::{KeyPurpose, Recipients, TrustedSigners, generate, seal};
use serde::Serialize;

use crate::access::{Access, KeyArgs, READING};
use crate::checks::keys::Looked;
use crate::checks::readers::{self, AtHand, Unproven};
use crate::checks::{self, Check};
use crate::commands::join::{self, AdmitArgs, JoinArgs};
use crate::commands::revoke::{self, RevokeArgs};
use crate::commands::roster;
use crate::commands::rotate::{self, ReissueArgs, RotateArgs};
use crate::error::file_error;
use crate::key_files::{refuse_existing, write, write_new};
use crate::logs::Logs;
use crate::output::{Output, Table};
use crate::{CliError, Exit, Global, access, human};

/// The time in which `keys check` looks at the repository.
const LOOK: Duration = Duration::from_secs(30);

/// Commands of `keys`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key pair: NAME.pub.asc, NAME.sec.asc and NAME.rev.asc, its certificate of revocation.
    Generate(GenerateArgs),
    /// List the keys that the configuration names, and the roster of the repository.
    List(ListArgs),
    /// Look at all keys, prove that every recipient opens what is sealed now, and tell who reads the newest backups.
    Check(CheckArgs),
    /// Put a new key in the place of a role's key: make it, and let the owner sign it in.
    Rotate(RotateArgs),
    /// Let no signature of a stolen key count any more.
    Revoke(RevokeArgs),
    /// Seal the roster to the backup keys and the reader key of now, after one of them was changed.
    Reissue(ReissueArgs),
    /// Make the keys of a further host's site, and the request for the owner to sign them in.
    Join(JoinArgs),
    /// Sign in the keys of a request that `keys join` wrote.
    Admit(AdmitArgs),
}

/// The purpose of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Purpose {
    /// Opens backups; its secret part belongs to the operator and the verifier.
    Backup,
    /// Signs rosters: says whose records count. Its secret part belongs to the operator alone.
    Owner,
    /// Reads metadata and signs nothing; its secret part is on the services.
    Reader,
    /// Signs records of one role, once the owner has signed it in.
    Role,
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
    /// Try this secret backup key too, beside those of [verifier].secret_keys. Repeatable.
    #[arg(long = "secret-key", value_name = "FILE")]
    pub(crate) secret_keys: Vec<PathBuf>,
    /// A file with the passphrase that unlocks these keys; else the file that HOLDFAST_KEY_PASSPHRASE_FILE names, else
    /// [verifier].passphrase.
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Write a probe that is sealed as a backup would be now: whoever opens it with `gpg --decrypt FILE` has a key that opens
    /// such backups.
    #[arg(long, value_name = "FILE")]
    pub(crate) write_probe: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) async fn run(global: &Global, command: &KeysCommand) -> Result<Exit, CliError> {
    match command {
        KeysCommand::Generate(args) => make(args),
        KeysCommand::Rotate(args) => rotate::rotate(global, args).await,
        KeysCommand::Revoke(args) => revoke::revoke(global, args).await,
        KeysCommand::Reissue(args) => rotate::reissue(global, args).await,
        KeysCommand::Join(args) => join::join(args),
        KeysCommand::Admit(args) => join::admit(global, args).await,
        KeysCommand::List(args) => {
            let settings = access::load(global, access::READING)?;
            let listed = Listed {
                files: list(&settings),
                roster: roster::entries(&settings).await,
            };
            Output::new(args.json).print(&listed, |out| list_text(out, &listed));
            Ok(Exit::Good)
        }
        KeysCommand::Check(args) => check(global, args).await,
    }
}

async fn check(global: &Global, args: &CheckArgs) -> Result<Exit, CliError> {
    access::harden()?;
    let settings = access::load(global, &[SecretSection::Encryption, SecretSection::Verifier])?;
    let _logs = Logs::start(global, Some(&settings), None)?;
    let given = given(args, &settings)?;
    let Looked {
        mut checks,
        mut at_hand,
        recipients,
    } = checks::keys::each(&settings);
    at_hand.extend(given);
    if let Some(recipients) = &recipients {
        let profile = settings.encryption.profile;
        checks.extend(readers::prove(recipients, profile, &at_hand, Unproven::Warned));
        checks.extend(of_repository(global, recipients, &at_hand).await);
        if let Some(path) = &args.write_probe {
            checks.push(write_probe(path, recipients, &settings)?);
        }
    }
    let report = Checked {
        good: checks::is_good(&checks),
        checks,
    };
    Output::new(args.json).print(&report, |out| checks::text(out, &report.checks));
    Ok(if report.good { Exit::Good } else { Exit::Usage })
}

/// Loads the secret keys of the command line.
fn given(args: &CheckArgs, settings: &Settings) -> Result<Vec<AtHand>, CliError> {
    let mut given = Vec::new();
    for path in &args.secret_keys {
        let key = KeyArgs {
            keys: vec![path.clone()],
            passphrase_file: args.passphrase_file.clone(),
            owner: None,
        };
        given.push(AtHand {
            name: path.display().to_string(),
            keys: key.need(Some(settings))?,
        });
    }
    Ok(given)
}

/// Looks at the repository, if it can be reached: the keys are judged without it.
async fn of_repository(global: &Global, recipients: &Recipients, at_hand: &[AtHand]) -> Vec<Check> {
    let look = async {
        let settings = access::load(global, READING)?;
        let access = Access::open(&settings, None).await?;
        readers::of_repository(&access, recipients, at_hand).await
    };
    let why = match tokio::time::timeout(LOOK, look).await {
        Ok(Ok(checks)) => return checks,
        Ok(Err(error)) => holdfast_fault::chain(&error).to_string(),
        Err(_) => format!("it did not answer within {} seconds", LOOK.as_secs()),
    };
    vec![Check::warn(
        "repository",
        format!("not looked at: {why}"),
        "the keys alone were looked at; `holdfast doctor` looks at the repository",
    )]
}

/// Seals a sentence to the recipients as a backup would be now, and writes it to a new file.
fn write_probe(path: &Path, recipients: &Recipients, settings: &Settings) -> Result<Check, CliError> {
    refuse_existing(path)?;
    let text = format!(
        "You can read this, so your key opens the backups that site {} seals since {}, to the keys {}.\n",
        settings.site,
        human::time(holdfast_telemetry::clock::system().now()),
        recipients.readers().join(", ")
    );
    let sealed = seal(recipients, settings.encryption.profile, text.as_bytes());
    let sealed = sealed.map_err(|error| CliError::because("seal the probe", error))?;
    write_new(path, &sealed, 0o644)?;
    Ok(Check::ok(
        format!("probe {}", path.display()),
        "written: `gpg --decrypt` of it, where a secret key is, prints a sentence if that key opens backups of now",
    ))
}

#[derive(Serialize)]
struct Listed {
    files: Vec<Key>,
    roster: roster::Entries,
}

#[derive(Serialize)]
struct Checked {
    good: bool,
    checks: Vec<Check>,
}

fn make(args: &GenerateArgs) -> Result<Exit, CliError> {
    let (purpose, word) = match args.purpose {
        Purpose::Backup => (KeyPurpose::Backup, "backup"),
        Purpose::Owner => (KeyPurpose::Signing, "owner"),
        Purpose::Reader => (KeyPurpose::Reader, "reader"),
        Purpose::Role => (KeyPurpose::Signing, "role"),
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

#[derive(Serialize)]
struct Key {
    role: String,
    file: PathBuf,
    fingerprints: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

fn list(settings: &Settings) -> Vec<Key> {
    let encryption = &settings.encryption;
    let mut keys: Vec<Key> = encryption
        .recipients
        .iter()
        .map(|path| key("backup, public", path))
        .collect();
    keys.push(key("owner", &encryption.owner));
    keys.push(key("reader", &encryption.reader_key));
    for role in Role::ALL {
        let path = encryption.role_key(*role);
        if path.exists() {
            keys.push(key(role.as_str(), &path));
        }
    }
    let secret = &settings.verifier.secret_keys;
    keys.extend(secret.iter().map(|path| key("backup, secret", path)));
    keys
}

fn key(role: &str, path: &Path) -> Key {
    let (fingerprints, problem) = match TrustedSigners::from_files(&[path.to_owned()]) {
        Ok(certs) => (certs.fingerprints(), None),
        Err(error) => (Vec::new(), Some(holdfast_fault::chain(&error).to_string())),
    };
    Key {
        role: role.to_owned(),
        file: path.to_owned(),
        fingerprints,
        problem,
    }
}

fn list_text(out: Output, listed: &Listed) -> String {
    let mut table = Table::new(&["key", "file", "fingerprint"]);
    for key in &listed.files {
        let found = key.problem.clone().unwrap_or_else(|| key.fingerprints.join(", "));
        table.row([key.role.as_str(), &key.file.display().to_string(), &found]);
    }
    format!("{}\n{}", out.table(&table), listed.roster.text(out))
}
