//! Keys: readable, alive, matching, and able to do what they are for.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use holdfast_config::{Secret, Settings};
use holdfast_format::Role;
use holdfast_sealing::{KeyError, Recipients, SecretKeys, Signer, TrustedSigners, seal};

use super::readers::{self, AtHand, Unproven};
use super::{Check, State};
use crate::human;

/// The time before a key's end from which on it is warned of.
const SOON: Duration = Duration::from_secs(30 * 86_400);
/// The advice for a reader key that does not open what is sealed to it.
const READER_ADVICE: &str = "take the file from a copy";
/// The text that is sealed and opened as a test.
const TEST: &[u8] = b"holdfast: a test message";
/// The advice for a backup key that ends soon.
const EXTEND: &str = "extend it, or add its successor to encryption.recipients";
/// The advice for the reader key that ends soon.
const EXTEND_READER: &str = "extend it, and put the new export in its place: from then on nothing is written any more";
/// The advice for a role key that ends soon.
const ROTATE: &str = "make its successor with `holdfast keys rotate`: from then on this role writes nothing any more";

/// The keys that a configuration names, looked at.
pub(crate) struct Looked {
    pub(crate) checks: Vec<Check>,
    /// The secret backup keys that could be loaded.
    pub(crate) at_hand: Vec<AtHand>,
    /// Everyone whom backups are sealed to, if all of them can be.
    pub(crate) recipients: Option<Recipients>,
}

/// Looks at every key that the configuration names, and proves what can be proven with the secret keys on this host.
pub(crate) fn all(settings: &Settings) -> Vec<Check> {
    let Looked {
        mut checks,
        at_hand,
        recipients,
    } = each(settings);
    if let Some(recipients) = recipients {
        let profile = settings.encryption.profile;
        checks.extend(readers::prove(&recipients, profile, &at_hand, Unproven::Told));
    }
    checks
}

/// Looks at every key that the configuration names, one by one.
pub(crate) fn each(settings: &Settings) -> Looked {
    let section = &settings.encryption;
    let now = SystemTime::now();
    let mut checks: Vec<Check> = section.recipients.iter().map(|path| recipient(path, now)).collect();
    checks.push(owner(&section.owner));
    checks.extend(reader(settings, now));
    checks.extend(roles(settings, now));
    let recipients = Recipients::from_files(&section.recipients, now).ok();
    let at_hand = backup(settings, &mut checks);
    checks.extend(unfit(recipients.as_ref(), &at_hand));
    if recipients.as_ref().is_some_and(|all| all.len() == 1) && super::is_good(&checks) {
        checks.push(Check::warn(
            "encryption.recipients",
            "only one backup key: if its secret part is lost, so is every backup",
            "make a second one for an offline copy (`holdfast keys generate backup --name offline`) and name it too",
        ));
    }
    Looked {
        checks,
        at_hand,
        recipients,
    }
}

fn recipient(path: &Path, now: SystemTime) -> Check {
    let name = of_recipient(path);
    let recipients = match Recipients::from_files(&[path.to_owned()], now) {
        Ok(recipients) => recipients,
        Err(error) => return Check::error(name, &error),
    };
    let ends = ending(&name, &recipients.expiring_before(now + SOON), EXTEND);
    ends.unwrap_or_else(|| Check::ok(name, recipients.fingerprints().join(", ")))
}

fn of_recipient(path: &Path) -> String {
    format!("encryption.recipients {}", path.display())
}

/// Warns of keys that end soon.
fn ending(name: &str, keys: &[(String, SystemTime)], advice: &str) -> Option<Check> {
    let end = |(fingerprint, at): &(String, SystemTime)| {
        let at = jiff::Timestamp::try_from(*at).map(human::time).unwrap_or_default();
        format!("{fingerprint} expires at {at}")
    };
    let ends: Vec<String> = keys.iter().map(end).collect();
    (!ends.is_empty()).then(|| Check::warn(name, ends.join("; "), advice))
}

/// Returns the end of a signing key, if it is before `until`.
fn end_of_signer(signer: &Signer, until: SystemTime) -> Vec<(String, SystemTime)> {
    let end = signer.expires().filter(|at| *at < until);
    end.map(|at| (signer.fingerprint().to_owned(), at))
        .into_iter()
        .collect()
}

/// Tells of the keys that have ended or end soon: without them, nothing is backed up any more. Other faults are for
/// [`all`] to tell.
pub(crate) fn ends(settings: &Settings) -> Vec<Check> {
    let section = &settings.encryption;
    let now = SystemTime::now();
    let end_of = |path: &PathBuf| {
        let loaded = Recipients::from_files(std::slice::from_ref(path), now);
        let keys = loaded.map(|recipients| recipients.expiring_before(now + SOON));
        ended(&of_recipient(path), keys, EXTEND)
    };
    let mut checks: Vec<Check> = section.recipients.iter().filter_map(end_of).collect();
    let reader = Recipients::of_secret_key(&section.reader_key, now);
    let keys = reader.map(|reader| reader.expiring_before(now + SOON));
    checks.extend(ended(&of_reader(settings), keys, EXTEND_READER));
    let passphrase = section.passphrase.as_ref().map(Secret::expose);
    for path in role_files(settings) {
        let signer = Signer::from_file(&path, passphrase, now);
        let keys = signer.map(|signer| end_of_signer(&signer, now + SOON));
        checks.extend(ended(&of_role(&path), keys, ROTATE));
    }
    checks
}

/// Tells of keys that end soon, or that did not load since they have ended.
fn ended(name: &str, keys: Result<Vec<(String, SystemTime)>, KeyError>, advice: &str) -> Option<Check> {
    match keys {
        Ok(keys) => ending(name, &keys, advice),
        Err(error @ KeyError::Expired { .. }) => Some(Check::error(name, &error)),
        Err(_) => None,
    }
}

fn owner(path: &Path) -> Check {
    let name = format!("encryption.owner {}", path.display());
    match TrustedSigners::one_from_file(path) {
        Ok(owner) => Check::ok(name, owner.fingerprints().join(", ")),
        Err(error) => Check::error(name, &error),
    }
}

fn of_reader(settings: &Settings) -> String {
    format!("encryption.reader_key {}", settings.encryption.reader_key.display())
}

fn reader(settings: &Settings, now: SystemTime) -> Vec<Check> {
    let section = &settings.encryption;
    let path = &section.reader_key;
    let name = of_reader(settings);
    let passphrase = section.passphrase.as_ref().map(Secret::expose);
    let loaded = SecretKeys::from_files(std::slice::from_ref(path), passphrase)
        .and_then(|secret| Ok((secret, Recipients::of_secret_key(path, now)?)));
    let (secret, public) = match loaded {
        Ok(both) => both,
        Err(error) => return vec![Check::error(name, &error)],
    };
    let opened = seal(&public, section.profile, TEST)
        .map_err(|error| holdfast_fault::chain(&error).to_string())
        .and_then(|sealed| {
            let opened = secret.open(&sealed, TEST.len());
            opened.map_err(|error| holdfast_fault::chain(&error).to_string())
        });
    let mut checks = vec![match opened {
        Ok(text) if text == TEST => Check::ok(
            &name,
            format!("{}: opens a test message", public.fingerprints().join(", ")),
        ),
        Ok(_) => Check::fail(&name, "a test message came back changed", READER_ADVICE),
        Err(why) => Check::fail(&name, why, READER_ADVICE),
    }];
    checks.extend(ending(&name, &public.expiring_before(now + SOON), EXTEND_READER));
    checks.extend(exposed(&name, path));
    checks
}

fn of_role(path: &Path) -> String {
    format!("encryption.role_keys {}", path.display())
}

/// Returns the files of those role keys that are on this host.
fn role_files(settings: &Settings) -> Vec<PathBuf> {
    let files = Role::ALL.iter().map(|role| settings.encryption.role_key(*role));
    files
        .filter(|path| std::fs::metadata(path).is_ok_and(|file| file.len() > 0))
        .collect()
}

/// Looks at each role key that is on this host.
fn roles(settings: &Settings, now: SystemTime) -> Vec<Check> {
    let section = &settings.encryption;
    let passphrase = section.passphrase.as_ref().map(Secret::expose);
    let mut checks = Vec::new();
    for path in role_files(settings) {
        let name = of_role(&path);
        let signer = match Signer::from_file(&path, passphrase, now) {
            Ok(signer) => signer,
            Err(error) => {
                checks.push(Check::error(&name, &error));
                continue;
            }
        };
        let ends = ending(&name, &end_of_signer(&signer, now + SOON), ROTATE);
        checks.push(ends.unwrap_or_else(|| Check::ok(&name, signer.fingerprint().to_owned())));
        checks.extend(exposed(&name, &path));
    }
    if checks.is_empty() {
        checks.push(Check::ok(
            "encryption.role_keys",
            format!("none in {}: this host writes no records", section.role_keys.display()),
        ));
    }
    checks
}

/// Loads the secret backup keys that the configuration names.
fn backup(settings: &Settings, checks: &mut Vec<Check>) -> Vec<AtHand> {
    let section = &settings.verifier;
    let passphrase = section.passphrase.as_ref().map(Secret::expose);
    let mut at_hand = Vec::new();
    for path in &section.secret_keys {
        let name = format!("verifier.secret_keys {}", path.display());
        match SecretKeys::from_files(std::slice::from_ref(path), passphrase) {
            Ok(keys) => {
                checks.push(Check::ok(&name, keys.fingerprints().join(", ")));
                checks.extend(exposed(&name, path));
                at_hand.push(AtHand { name, keys });
            }
            Err(error) => {
                checks.push(Check::error(&name, &error));
                checks.extend(exposed(&name, path));
            }
        }
    }
    if section.secret_keys.is_empty() {
        let found = "none on this host: it cannot read its own backups, and verifies their integrity alone";
        checks.push(Check::ok("verifier.secret_keys", found));
    }
    at_hand
}

/// Tells of secret keys none of which opens what is sealed today. Some may be there for older backups alone.
fn unfit(recipients: Option<&Recipients>, at_hand: &[AtHand]) -> Option<Check> {
    let today = recipients?.readers();
    let opens = |known: &AtHand| known.keys.readers().iter().any(|reader| today.contains(reader));
    if at_hand.is_empty() || at_hand.iter().any(opens) {
        return None;
    }
    Some(Check::fail(
        "verifier.secret_keys",
        format!(
            "none of them opens what is sealed to encryption.recipients: that takes the secret key {}",
            today.join(" or ")
        ),
        "name the secret part of one of the recipients, as it is now",
    ))
}

/// A secret key that others on this host can read. Root's group can read everything anyway.
fn exposed(name: &str, path: &Path) -> Option<Check> {
    let file = std::fs::metadata(path).ok()?;
    let mode = file.permissions().mode();
    let others = if file.gid() == 0 { 0o027 } else { 0o077 };
    (mode & others != 0).then(|| {
        let found = format!(
            "its mode is {:03o}: others on this host may read the secret key",
            mode & 0o777
        );
        Check::warn(name, found, &format!("run `chmod 600 {}`", path.display()))
    })
}

/// Returns all failures as faults of the configuration: key and rule.
pub(crate) fn faults(settings: &Settings) -> Vec<(String, String)> {
    let failed = all(settings).into_iter().filter(|check| check.state == State::Fail);
    failed
        .map(|check| {
            (
                check.check.split(' ').next().unwrap_or_default().to_owned(),
                check.found,
            )
        })
        .collect()
}
