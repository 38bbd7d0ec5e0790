//! Keys: readable, alive, matching, and able to do what they are for.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use holdfast_config::{Secret, Settings};
use holdfast_sealing::{Profile, Recipients, SecretKeys, Signer, TrustedSigners, open_signed, seal, sign_and_seal};

use super::{Check, State};
use crate::human;

/// The time before a key's end from which on it is warned of.
const SOON: Duration = Duration::from_secs(30 * 86_400);
/// The text that is sealed and opened as a test.
const TEST: &[u8] = b"holdfast: a test message";

/// Looks at every key that the configuration names.
pub(crate) fn all(settings: &Settings) -> Vec<Check> {
    let section = &settings.encryption;
    let now = SystemTime::now();
    let mut checks: Vec<Check> = section.recipients.iter().map(|path| recipient(path, now)).collect();
    checks.extend(pipeline(settings, now));
    for path in &section.trusted_signers {
        let name = format!("encryption.trusted_signers {}", path.display());
        checks.push(match TrustedSigners::from_files(std::slice::from_ref(path)) {
            Ok(signers) => Check::ok(name, signers.fingerprints().join(", ")),
            Err(error) => Check::error(name, &error),
        });
    }
    checks.extend(backup(settings, now));
    if section.recipients.len() == 1 && super::is_good(&checks) {
        checks.push(Check::warn(
            "encryption.recipients",
            "only one backup key: if its secret part is lost, so is every backup",
            "make a second one for an offline copy (`holdfast keys generate backup --name offline`) and name it too",
        ));
    }
    checks
}

fn recipient(path: &Path, now: SystemTime) -> Check {
    let name = format!("encryption.recipients {}", path.display());
    let recipients = match Recipients::from_files(&[path.to_owned()], now) {
        Ok(recipients) => recipients,
        Err(error) => return Check::error(name, &error),
    };
    let found = recipients.fingerprints().join(", ");
    match recipients.expiring_before(now + SOON).first() {
        None => Check::ok(name, found),
        Some((fingerprint, at)) => {
            let at = jiff::Timestamp::try_from(*at).map(human::time).unwrap_or_default();
            Check::warn(
                name,
                format!("{fingerprint} expires at {at}"),
                "extend it, or add its successor to encryption.recipients",
            )
        }
    }
}

fn pipeline(settings: &Settings, now: SystemTime) -> Vec<Check> {
    let section = &settings.encryption;
    let path = &section.pipeline_key;
    let name = format!("encryption.pipeline_key {}", path.display());
    let passphrase = section.pipeline_key_passphrase.as_ref().map(Secret::expose);
    let loaded = Signer::from_file(path, passphrase, now)
        .and_then(|signer| Ok((signer, SecretKeys::from_files(std::slice::from_ref(path), passphrase)?)));
    let (signer, secret) = match loaded {
        Ok(both) => both,
        Err(error) => return vec![Check::error(name, &error)],
    };
    let mut checks = vec![match signs_and_opens(&signer, &secret, settings.encryption.profile) {
        Ok(()) => Check::ok(
            &name,
            format!("{}: signs and opens a test message", signer.fingerprint()),
        ),
        Err(why) => Check::fail(
            &name,
            why,
            "take it from a copy; if there is none, make a new one (`holdfast keys generate pipeline`), name this one's public part in \
             trusted_signers, and begin a new repository: the old one still restores, but takes nothing new",
        ),
    }];
    checks.extend(exposed(&name, path));
    checks
}

fn signs_and_opens(signer: &Signer, secret: &SecretKeys, profile: Profile) -> Result<(), String> {
    let said = |error: &dyn std::error::Error| holdfast_fault::chain(error).to_string();
    let sealed = sign_and_seal(signer, &signer.recipients(), profile, TEST).map_err(|e| said(&e))?;
    let opened =
        open_signed(secret, &TrustedSigners::from_signer(signer), &sealed, sealed.len()).map_err(|e| said(&e))?;
    if opened.plaintext == TEST {
        Ok(())
    } else {
        Err("a test message came back changed".to_owned())
    }
}

fn backup(settings: &Settings, now: SystemTime) -> Vec<Check> {
    let section = &settings.verifier;
    let passphrase = section.passphrase.as_ref().map(Secret::expose);
    let mut checks = Vec::new();
    for path in &section.secret_keys {
        let name = format!("verifier.secret_keys {}", path.display());
        match SecretKeys::from_files(std::slice::from_ref(path), passphrase) {
            Ok(secret) => checks.push(matching(&name, settings, &secret, now)),
            Err(error) => checks.push(Check::error(&name, &error)),
        }
        checks.extend(exposed(&name, path));
    }
    if section.secret_keys.is_empty() {
        let found = "none on this host: it cannot read its own backups, and verifies their integrity alone";
        checks.push(Check::ok("verifier.secret_keys", found));
    }
    checks
}

/// Checks that the secret key opens what is sealed to the recipients.
fn matching(name: &str, settings: &Settings, secret: &SecretKeys, now: SystemTime) -> Check {
    let Ok(recipients) = Recipients::from_files(&settings.encryption.recipients, now) else {
        return Check::ok(
            name,
            format!(
                "{} (not tried: the recipients cannot be used)",
                secret.fingerprints().join(", ")
            ),
        );
    };
    let opened = seal(&recipients, settings.encryption.profile, TEST)
        .map_err(|error| holdfast_fault::chain(&error).to_string())
        .and_then(|sealed| {
            secret
                .open(&sealed, TEST.len())
                .map_err(|error| holdfast_fault::chain(&error).to_string())
        });
    match opened {
        Ok(text) if text == TEST => Check::ok(
            name,
            format!("{}: opens a test message", secret.fingerprints().join(", ")),
        ),
        Ok(_) => Check::fail(
            name,
            "a test message came back changed",
            "the key file is damaged: take it from a copy",
        ),
        Err(why) => Check::fail(
            name,
            format!("does not open what is sealed to encryption.recipients: {why}"),
            "name the secret part of one of the recipients",
        ),
    }
}

/// A secret key that others on this host can read. Root's group can read everything anyway.
fn exposed(name: &str, path: &PathBuf) -> Option<Check> {
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
