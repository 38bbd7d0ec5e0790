//! Makes a sandbox: runs `holdfast init`, then writes the configuration that a test asks for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;
use toml::{Table, Value};

use super::Sandbox;
use crate::postgres::{self, Cluster};
use crate::{nats, s3, tools};

/// The size of a folder in memory that is large enough for staging (`staging.max_bytes`) in any test.
const STAGING_ROOM: u64 = 256 << 20;

/// The parts of a sandbox that is to be made.
#[derive(Debug, Default)]
pub struct Builder {
    sources: Table,
    targets: Vec<Value>,
    sections: Table,
    nats_url: Option<String>,
    repository: Option<Table>,
}

/// Makes a table of texts.
fn texts(pairs: &[(&str, &str)]) -> Table {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
        .collect()
}

impl Builder {
    fn add(&mut self, section: &str, table: Table) {
        let list = self.sources.entry(section).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(Value::Table(table));
        }
    }

    /// Adds a PostgreSQL server as a source.
    #[must_use]
    pub fn postgres(self, name: &str, cluster: &Cluster) -> Self {
        self.postgres_at(name, cluster.port())
    }

    /// Adds a PostgreSQL server on a port of 127.0.0.1: a proxy, or a port where nothing answers.
    #[must_use]
    pub fn postgres_at(mut self, name: &str, port: u16) -> Self {
        let url = postgres::url(port, "postgres", None);
        self.add(
            "postgres",
            texts(&[("name", name), ("url", &url), ("password_file", "postgres.password")]),
        );
        self
    }

    /// Adds a directory as a source.
    #[must_use]
    pub fn directory(mut self, name: &str, path: &Path) -> Self {
        self.add(
            "directory",
            texts(&[("name", name), ("path", &path.display().to_string())]),
        );
        self
    }

    /// Adds paths of the system as a source.
    #[must_use]
    pub fn system(mut self, paths: &[&Path]) -> Self {
        let paths: Vec<Value> = paths.iter().map(|path| path.display().to_string().into()).collect();
        let mut table = Table::new();
        table.insert("paths".into(), paths.into());
        self.sources.insert("system".into(), Value::Table(table));
        self
    }

    /// Adds a directory as an off-site target; [`Sandbox::target`] is its path.
    #[must_use]
    pub fn target_directory(mut self, name: &str) -> Self {
        self.targets
            .push(texts(&[("name", name), ("url", &format!("targets/{name}"))]).into());
        self
    }

    /// Adds a bucket as an off-site target, reached on this port of 127.0.0.1, which is the S3 server's or a proxy's.
    #[must_use]
    pub fn target_s3(mut self, name: &str, port: u16, bucket: &str) -> Self {
        let mut target = s3_place(port, bucket);
        target.insert("name".into(), name.into());
        self.targets.push(target.into());
        self
    }

    /// Keeps the repository itself in a bucket.
    #[must_use]
    pub fn repository_s3(mut self, port: u16, bucket: &str) -> Self {
        self.repository = Some(s3_place(port, bucket));
        self
    }

    /// Uses this NATS server instead of a private one.
    #[must_use]
    pub fn nats(self, server: &nats::Server) -> Self {
        self.nats_at(&server.url())
    }

    /// Uses the NATS server at this URL.
    #[must_use]
    pub fn nats_at(mut self, url: &str) -> Self {
        self.nats_url = Some(url.to_owned());
        self
    }

    /// Sets a whole section (`retention`, `workers`, …) from TOML.
    ///
    /// # Errors
    /// If the text is not TOML.
    pub fn section(mut self, name: &str, text: &str) -> Result<Self> {
        let table: Table = text.parse().with_context(|| format!("read the section {name}"))?;
        self.sections.insert(name.into(), table.into());
        Ok(self)
    }

    /// Runs `holdfast init`, and replaces the configuration that it wrote, except for its keys.
    ///
    /// # Errors
    /// If `holdfast` is not built, or `init` fails.
    pub fn build(self) -> Result<Sandbox> {
        let mut sandbox = Sandbox::empty()?;
        for target in &self.targets {
            if let Some(name) = target.get("name").and_then(Value::as_str) {
                fs::create_dir_all(sandbox.target(name))?;
            }
        }
        let password = sandbox.path("postgres.password");
        fs::write(&password, postgres::PASSWORD)?;
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
        // The folders must be known before there is a configuration.
        let state = sandbox.path("state");
        sandbox.set_env("HOLDFAST__STATE_DIR", &state.display().to_string());
        if let Some(place) = &self.repository {
            for (key, value) in place {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                sandbox.set_env(&format!("HOLDFAST__REPOSITORY__{}", key.to_uppercase()), &text);
            }
        } else {
            let url = sandbox.repository().display().to_string();
            sandbox.set_env("HOLDFAST__REPOSITORY__URL", &url);
        }
        sandbox.run(&["init"])?.good()?;
        sandbox.environment.retain(|name, _| !name.starts_with("HOLDFAST__"));
        self.write(&sandbox)?;
        Ok(sandbox)
    }

    fn write(self, sandbox: &Sandbox) -> Result<()> {
        let mut repository = Table::new();
        repository.insert("url".into(), "repository".into());
        let repository = self.repository.unwrap_or(repository);
        let staging = sandbox.staging();
        let in_memory = !staging.starts_with(sandbox.dir());
        sandbox.edit_config(|table| {
            // The sources and targets that `init` proposes are dropped; its keys are kept.
            let kept = ["encryption", "verifier"];
            table.retain(|name, _| kept.contains(&name));
            table.insert("site".into(), "test".into());
            table.insert("state_dir".into(), "state".into());
            table.insert("repository".into(), repository.into());
            let mut section = texts(&[("dir", &staging.display().to_string())]);
            if !in_memory {
                section.insert("allow_disk".into(), "yes_plaintext_may_touch_the_disk".into());
            }
            table.insert("staging".into(), section.into());
            table.extend(self.sources);
            if !self.targets.is_empty() {
                table.insert("target".into(), self.targets.into());
            }
            for (name, value) in self.sections {
                match (table.get_mut(&name), value) {
                    (Some(Value::Table(old)), Value::Table(new)) => old.extend(new),
                    (_, value) => drop(table.insert(name, value)),
                }
            }
        })?;
        let binary = tools::nats_server()?;
        sandbox.edit_config(|table| {
            let nats = table.entry("nats").or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(nats) = nats {
                // Otherwise tests that kill workers would wait a minute for each job to come again.
                nats.insert("lease".into(), "4s".into());
                match self.nats_url {
                    Some(url) => nats.insert("url".into(), url.into()),
                    None => nats.insert("server_binary".into(), binary.display().to_string().into()),
                };
            }
        })
    }
}

fn s3_place(port: u16, bucket: &str) -> Table {
    let mut place = texts(&[
        ("url", &format!("s3://{bucket}")),
        ("endpoint", &format!("http://127.0.0.1:{port}")),
        ("region", "us-east-1"),
        ("access_key_id", s3::ACCESS_KEY_ID),
        ("secret_access_key", s3::SECRET_ACCESS_KEY),
    ]);
    place.insert("allow_http".into(), true.into());
    place
}

/// Returns a folder for staging: in memory if there is room, as in production, else within the sandbox.
pub(super) fn staging_dir(sandbox: &Path) -> Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    let parent = if room >= STAGING_ROOM { memory } else { sandbox };
    let dir = tempfile::Builder::new().prefix("hf-staging-").tempdir_in(parent);
    dir.context("make the staging folder")
}
