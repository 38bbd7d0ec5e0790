//! Files of keys.

use std::path::Path;

use holdfast_format::{Member, Role, Site};
use holdfast_sealing::{GeneratedKey, TrustedSigners};
use jiff::Timestamp;

use crate::CliError;
use crate::error::file_error;

/// Writes the three files of a key, none of which may be there; gives their paths.
///
/// # Errors
/// [`CliError::Refused`] if one is there: nothing is then written.
pub(crate) fn write(dir: &Path, name: &str, key: &GeneratedKey) -> Result<Vec<String>, CliError> {
    // The public part last: where it is, the others are.
    let files = [
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
        (
            dir.join(format!("{name}.pub.asc")),
            key.public_armored.as_bytes(),
            0o644,
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

/// Makes the roster's entry of a new key from the file with its public part. It counts from now on.
pub(crate) fn member_of_file(path: &Path, role: Role, sites: Option<Vec<Site>>) -> Result<Member, CliError> {
    let certificate = std::fs::read_to_string(path).map_err(file_error("read the certificate in", path))?;
    let unusable = |error| CliError::keys(format!("{} cannot be used", path.display()), error);
    let certs = TrustedSigners::from_bytes(certificate.as_bytes()).map_err(unusable)?;
    let fingerprints = certs.fingerprints();
    let [fingerprint] = fingerprints.as_slice() else {
        return Err(CliError::refused(
            format!("{} holds {} certificates", path.display(), fingerprints.len()),
            "give a file with the public part of one key",
        ));
    };
    Ok(Member {
        role,
        sites,
        fingerprint: fingerprint.clone(),
        certificate,
        from: Timestamp::now(),
        until: None,
        revoked: None,
    })
}
