//! Keys of GnuPG, as an operator makes and replaces them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::tools;

/// A home of GnuPG with one certificate, which has one encryption subkey that is not revoked. The agent ends with it.
#[derive(Debug)]
pub struct Home {
    dir: TempDir,
    fingerprint: String,
}

impl Home {
    /// Makes the certificate, without a passphrase.
    ///
    /// # Errors
    /// If GnuPG fails.
    pub fn new() -> Result<Self> {
        // A socket's path must be short.
        let dir = tempfile::Builder::new().prefix("hf-gpg-").tempdir()?;
        let mut home = Self {
            dir,
            fingerprint: String::new(),
        };
        home.run(&[
            "--quick-generate-key",
            "operator@example.org",
            "ed25519",
            "cert",
            "never",
        ])?;
        let listed = home.run(&["--with-colons", "--list-keys"])?;
        home.fingerprint = fingerprints(&listed).next().context("GnuPG made no key")?;
        home.add_subkey()?;
        Ok(home)
    }

    /// Returns the fingerprint of the certificate.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Returns the fingerprint of the newest subkey.
    ///
    /// # Errors
    /// If GnuPG fails.
    pub fn subkey(&self) -> Result<String> {
        let listed = self.run(&["--with-colons", "--list-keys"])?;
        fingerprints(&listed).last().context("the certificate has no subkey")
    }

    /// Adds an encryption subkey.
    ///
    /// # Errors
    /// If GnuPG fails.
    pub fn add_subkey(&self) -> Result<()> {
        self.run(&["--quick-add-key", &self.fingerprint, "cv25519", "encr", "never"])?;
        Ok(())
    }

    /// Revokes the oldest subkey, and adds another in its place.
    ///
    /// # Errors
    /// If GnuPG fails.
    pub fn replace_subkey(&self) -> Result<()> {
        self.edit("key 1\nrevkey\ny\n0\n\ny\nsave\n")?;
        self.add_subkey()
    }

    /// Exports the certificate, armoured.
    ///
    /// # Errors
    /// If GnuPG fails.
    pub fn public(&self) -> Result<String> {
        self.run(&["--armor", "--export", &self.fingerprint])
    }

    /// Exports the newest secret subkey alone, armoured.
    ///
    /// # Errors
    /// If GnuPG fails.
    pub fn newest_secret(&self) -> Result<String> {
        let subkey = format!("{}!", self.subkey()?);
        self.run(&["--armor", "--export-secret-subkeys", &subkey])
    }

    /// Runs GnuPG with these arguments, and returns what it prints.
    ///
    /// # Errors
    /// If GnuPG fails.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        tools::text_of(self.command().arg("--batch").args(arguments))
    }

    /// Edits the certificate with the answers of a person.
    fn edit(&self, answers: &str) -> Result<()> {
        let mut command = self.command();
        command.args(["--no-tty", "--command-fd", "0", "--edit-key", &self.fingerprint]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut running = command.spawn().context("start gpg")?;
        let mut asked = running.stdin.take().context("gpg has no input")?;
        asked.write_all(answers.as_bytes())?;
        drop(asked);
        let ended = running.wait()?;
        ensure!(ended.success(), "gpg --edit-key ended with {ended}");
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new("gpg");
        command
            .env("GNUPGHOME", self.dir.path())
            .args(["--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]);
        command
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let mut end = Command::new("gpgconf");
        // The folder goes all the same.
        let _ = end
            .arg("--homedir")
            .arg(self.dir.path())
            .args(["--kill", "all"])
            .output();
    }
}

/// The fingerprints in a listing: of the certificate, then of its subkeys.
fn fingerprints(listed: &str) -> impl Iterator<Item = String> {
    listed
        .lines()
        .filter(|line| line.starts_with("fpr:"))
        .filter_map(|line| line.split(':').nth(9).map(str::to_owned))
}
