//! Secrets, which neither `Debug` nor the printed configuration shows, and the reading of secrets from files.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

/// The size limit of a secret's file. A larger file was named by mistake.
const MAX_BYTES: u64 = 64 * 1024;

/// A password, key or token. Wiped from memory when dropped; shown as `***` by `Debug` and `Serialize`.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Makes a secret of `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// Returns the secret itself. Keep it out of logs, errors, arguments of processes, and copies that live long.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// Reads the secret in `path`, without one line end at its end. The error is a rule, and does not show the secret.
pub(crate) fn read_secret_file(path: &Path) -> Result<Secret, String> {
    let file = open_private(path)?;
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(|error| unreadable(path, &error))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!(
            "names {}, which is too large to be a secret (over 64 KiB)",
            path.display()
        ));
    }
    let text = String::from_utf8(text).map_err(|_| format!("names {}, which is not UTF-8 text", path.display()))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(format!("names {}, which is empty", path.display()));
    }
    Ok(Secret::new(text))
}

/// Opens a file that holds a secret. It must be a plain file that not every user of the host can read.
pub(crate) fn open_private(path: &Path) -> Result<File, String> {
    // Checked before the file is opened, since opening a pipe would wait for its writer.
    let meta = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !meta.is_file() {
        return Err(format!("names {}, which is not a plain file", path.display()));
    }
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = file
            .metadata()
            .map_err(|error| unreadable(path, &error))?
            .permissions()
            .mode();
        if mode & 0o004 != 0 {
            let shown = path.display();
            return Err(format!(
                "names {shown}, which everyone on this host can read; run `chmod o-rwx {shown}`"
            ));
        }
    }
    Ok(file)
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("names {}, which cannot be read: {error}", path.display())
}
