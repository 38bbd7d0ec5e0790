//! Certificates of authorities that exist in a test alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;

use crate::tools;

/// An authority of its own, in a temporary folder.
#[derive(Debug)]
pub struct Authority {
    dir: TempDir,
}

/// A certificate and its key, as files in PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key, which only its owner may read.
    pub key: PathBuf,
}

impl Authority {
    /// Makes one.
    ///
    /// # Errors
    /// If the `openssl` program does not do it.
    pub fn new() -> Result<Self> {
        let authority = Self {
            dir: tempfile::tempdir()?,
        };
        let mut command = authority.request("authority", "A test's authority");
        command.args(["-addext", "basicConstraints=critical,CA:TRUE"]);
        tools::text_of(&mut command)?;
        Ok(authority)
    }

    /// The authority's own certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.path("authority.pem")
    }

    /// A certificate for `name`: a host's, or a user's.
    ///
    /// # Errors
    /// If the `openssl` program does not do it.
    pub fn certify(&self, name: &str) -> Result<Certificate> {
        let mut command = self.request(name, name);
        command.args(["-addext", &format!("subjectAltName=DNS:{name}")]);
        command.arg("-CA").arg(self.certificate());
        command.arg("-CAkey").arg(self.path("authority.key"));
        tools::text_of(&mut command)?;
        Ok(Certificate {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn request(&self, file: &str, name: &str) -> Command {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-batch", "-noenc", "-days", "2", "-newkey", "ec"]);
        command.args(["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", &format!("/CN={name}")]);
        command.arg("-keyout").arg(self.path(&format!("{file}.key")));
        command.arg("-out").arg(self.path(&format!("{file}.pem")));
        command
    }
}

impl Certificate {
    /// The parameters of a connection URL that show it.
    #[must_use]
    pub fn in_url(&self) -> String {
        let shown = |path: &Path| path.display().to_string();
        format!("sslcert={}&sslkey={}", shown(&self.certificate), shown(&self.key))
    }
}
