//! Containers, volumes and networks as the engine tells of them, reduced to what Holdfast decides by.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_config::Secret;

/// Labels by name.
pub type Labels = BTreeMap<String, String>;

/// Whether a container runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Its processes run.
    Running,
    /// They are frozen.
    Paused,
    /// They have ended, and the engine is about to start it again.
    Restarting,
    /// Created, ended or dead.
    #[default]
    Stopped,
}

/// A container.
#[derive(Clone, Debug, Default)]
pub struct Container {
    /// The engine's id: 64 hex digits.
    pub id: String,
    /// The name, without the slash that the engine puts before it.
    pub name: String,
    /// The image as it was asked for.
    pub image: String,
    /// The id of the image that it was made of.
    pub image_id: String,
    /// Whether it runs.
    pub state: State,
    /// When it was last started, in the engine's words: another text means another start.
    pub started_at: String,
    /// How it last ended.
    pub exit_code: Option<i64>,
    /// Its labels.
    pub labels: Labels,
    /// Its environment as configured.
    pub environment: Environment,
    /// What is mounted in it.
    pub mounts: Vec<Mount>,
    /// The networks that it is in, by name.
    pub networks: BTreeMap<String, Endpoint>,
    /// `bridge`, `host`, `none`, a network's name, or `container:<id>`.
    pub network_mode: String,
    /// `private`, `shareable`, `host`, or `container:<id>`.
    pub ipc_mode: String,
    /// Empty, `host`, or `container:<id>`.
    pub pid_mode: String,
    /// How long it may take to stop, if it was made with such a limit.
    pub stop_timeout: Option<Duration>,
    /// Whether the engine removes it when it ends (`--rm`).
    pub auto_remove: bool,
}

impl Container {
    /// Whether it would write, left alone.
    #[must_use]
    pub fn runs(&self) -> bool {
        matches!(self.state, State::Running | State::Restarting)
    }

    /// The label's value.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }
}

/// What a mount shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountKind {
    /// A volume.
    #[default]
    Volume,
    /// A path of the host.
    Bind,
    /// Anything else.
    Other,
}

/// Something that is mounted in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// What it shows.
    pub kind: MountKind,
    /// The volume's name, if it shows one.
    pub volume: Option<String>,
    /// Where on the host it is.
    pub source: String,
    /// Where in the container it is.
    pub destination: String,
    /// Whether the container may write to it.
    pub writable: bool,
}

/// A container's place in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The network's id.
    pub network_id: String,
    /// The address, while it runs.
    pub address: Option<String>,
    /// Further names by which it is found there.
    pub aliases: Vec<String>,
}

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// The driver that keeps it: `local`, or a plugin's name.
    pub driver: String,
    /// Where on the host its files are, if the driver says so.
    pub mountpoint: String,
    /// Its labels.
    pub labels: Labels,
    /// What was told to the driver.
    pub options: BTreeMap<String, String>,
}

impl Volume {
    /// Whether its files are always where its mount point says: a volume with options of its own may be mounted only while
    /// a container runs, and be an empty folder else.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.driver == "local" && self.options.is_empty()
    }

    /// Where its files are seen: below `volumes_dir`, if that is where the engine's volumes are mounted here.
    #[must_use]
    pub fn folder(&self, volumes_dir: Option<&Path>) -> PathBuf {
        match volumes_dir {
            Some(folder) => folder.join(&self.name).join("_data"),
            None => PathBuf::from(&self.mountpoint),
        }
    }
}

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The engine's id.
    pub id: String,
    /// Its name; not always unique.
    pub name: String,
    /// `bridge`, `overlay`, ...
    pub driver: String,
    /// Its labels.
    pub labels: Labels,
}

/// An image that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The engine's id: `sha256:...` of its configuration.
    pub id: String,
    /// Its names: `repository:tag`.
    pub tags: Vec<String>,
    /// By what it can be pulled again exactly: `repository@sha256:...`. Empty for images made here.
    pub digests: Vec<String>,
}

/// Variables and values. Values are secrets: `Debug` shows the names alone.
#[derive(Clone, Default)]
pub struct Environment(Vec<(String, Secret)>);

impl Environment {
    /// From lines `NAME=VALUE`; the later of two counts.
    pub fn from_lines(lines: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let pair = |line: &str| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_owned(), Secret::new(value)))
        };
        Self(lines.into_iter().filter_map(|line| pair(line.as_ref())).collect())
    }

    /// The variable's value; an empty one counts as none, as it does to the images that read it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Secret> {
        let found = self.0.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value).filter(|value| !value.expose().is_empty())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Whether the engine would take `name` for a container, volume or network. Names go into addresses of the engine's
/// interface, so nothing else is ever sent to it.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first && name.len() <= 255 && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_environment_are_not_shown() {
        let environment = Environment::from_lines(["POSTGRES_PASSWORD=pass=word", "EMPTY=", "NONE"]);
        assert_eq!(
            environment.get("POSTGRES_PASSWORD").map(Secret::expose),
            Some("pass=word")
        );
        assert!(environment.get("EMPTY").is_none() && environment.get("NONE").is_none());
        assert_eq!(format!("{environment:?}"), r#"{"POSTGRES_PASSWORD", "EMPTY"}"#);
    }

    #[test]
    fn names_that_would_leave_their_place_in_an_address_are_none() {
        for name in ["a", "shop_db-1", "0.x", &"n".repeat(255)] {
            assert!(is_name(name), "{name}");
        }
        let long = "n".repeat(256);
        for name in [
            "",
            ".",
            "..",
            "../x",
            "-x",
            "_x",
            "a/b",
            "a b",
            "a?force=1",
            "a%2fb",
            "a\n",
            "ä",
            "a#b",
            &long,
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
