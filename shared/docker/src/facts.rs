//! Containers, volumes and networks, reduced to the facts that Holdfast decides by.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_config::Secret;

/// The labels of a container, volume or network, by name.
pub type Labels = BTreeMap<String, String>;

/// The state of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// The container's processes run.
    Running,
    /// The container's processes are frozen.
    Paused,
    /// The container's processes have ended, and the engine is about to start it again.
    Restarting,
    /// The container was never started, has ended or is dead.
    #[default]
    Stopped,
}

/// A container, as far as backups need to know it.
#[derive(Clone, Debug, Default)]
pub struct Container {
    /// The engine's id: 64 hex digits.
    pub id: String,
    /// The name, without the slash that the engine puts before it.
    pub name: String,
    /// The image as the user asked for it: a name with or without a tag, a digest or an id.
    pub image: String,
    /// The id of the image that the container was made of.
    pub image_id: String,
    pub state: State,
    /// Time of the last start, as the engine writes it. Compared for equality only: another text means another start.
    pub started_at: String,
    /// The exit code of the last run. Means nothing while the container runs.
    pub exit_code: Option<i64>,
    /// All labels, those of Compose included.
    pub labels: Labels,
    /// The environment as configured.
    pub environment: Environment,
    /// The volumes and host paths that are mounted in the container.
    pub mounts: Vec<Mount>,
    /// The networks that the container is in, by name.
    pub networks: BTreeMap<String, Endpoint>,
    /// `bridge`, `host`, `none`, a network's name, or `container:<id>`.
    pub network_mode: String,
    /// `private`, `shareable`, `host`, or `container:<id>`.
    pub ipc_mode: String,
    /// Empty, `host`, or `container:<id>`.
    pub pid_mode: String,
    /// The time that the container may take to stop, if one was set when it was made.
    pub stop_timeout: Option<Duration>,
    /// True if the engine removes the container when it ends (`--rm`).
    pub auto_remove: bool,
}

impl Container {
    /// True if the container would write to its volumes if nobody stopped it: it runs, or is about to run again.
    #[must_use]
    pub fn runs(&self) -> bool {
        matches!(self.state, State::Running | State::Restarting)
    }

    /// Returns the value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }
}

/// The kind of a mount.
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
    /// The kind of source: a volume, a host path or something else.
    pub kind: MountKind,
    /// The volume's name, if the source is a volume.
    pub volume: Option<String>,
    /// The path on the host.
    pub source: String,
    /// The path in the container.
    pub destination: String,
    /// True if the container may write to the mount.
    pub writable: bool,
}

/// A container's place in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    pub network_id: String,
    /// The container's address in the network. Set only while the container runs.
    pub address: Option<String>,
    /// Further names by which the container is found in the network.
    pub aliases: Vec<String>,
}

/// A volume, as far as backups need to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// The name, unique in the engine.
    pub name: String,
    /// The driver that keeps it: `local`, or a plugin's name.
    pub driver: String,
    /// The folder of the volume's files on the host. Empty if the driver does not say.
    pub mountpoint: String,
    /// All labels, those of Compose included.
    pub labels: Labels,
    /// The options that the volume was made with. The driver interprets them.
    pub options: BTreeMap<String, String>,
}

impl Volume {
    /// True if the volume's files are always at its mount point. A volume with options of its own may be mounted only
    /// while a container runs; until then its mount point is an empty folder.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.driver == "local" && self.options.is_empty()
    }

    /// Returns the folder of the volume's files: below `volumes_dir` if the engine's volumes are mounted there in this
    /// container, else the mount point.
    #[must_use]
    pub fn folder(&self, volumes_dir: Option<&Path>) -> PathBuf {
        match volumes_dir {
            Some(folder) => folder.join(&self.name).join("_data"),
            None => PathBuf::from(&self.mountpoint),
        }
    }
}

/// A network, as far as backups need to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    pub id: String,
    /// The name. Several networks may have the same one.
    pub name: String,
    /// `bridge`, `overlay`, ...
    pub driver: String,
    /// All labels, those of Compose included.
    pub labels: Labels,
}

/// An image that the engine has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The engine's id: `sha256:...` of its configuration.
    pub id: String,
    /// The names, as `repository:tag`.
    pub tags: Vec<String>,
    /// The references by which exactly this image can be pulled again: `repository@sha256:...`. Empty for an image that
    /// was built on this host.
    pub digests: Vec<String>,
}

/// Environment variables. Values are secrets: `Debug` shows the names alone.
#[derive(Clone, Default)]
pub struct Environment(Vec<(String, Secret)>);

impl Environment {
    /// Reads lines of the form `NAME=VALUE`, and ignores others. If a name occurs twice, the later value counts.
    pub fn from_lines(lines: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let pair = |line: &str| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_owned(), Secret::new(value)))
        };
        Self(lines.into_iter().filter_map(|line| pair(line.as_ref())).collect())
    }

    /// Returns the variable's value. An empty value counts as none, since the images that read it treat it so.
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

/// True if the engine would accept `name` for a container, volume or network. Names become parts of the addresses of
/// the engine's interface, so no other text is ever sent to it.
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
