//! Questions that one service asks another, answered at once or not at all: how to reach a database in a container.

use serde::{Deserialize, Serialize};

use crate::Message;

/// What the dumper asks whoever speaks to a site's Docker engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DockerQuestion {
    /// Which containers have databases.
    Databases {
        /// Of this stack alone.
        stack: Option<String>,
    },
    /// How to reach one of them, for as long as it is asked again within [`DockerAsk::HOLDS_SECONDS`].
    Reach {
        /// The container's name.
        container: String,
        /// What it is asked for by: another for each dump.
        ticket: u128,
    },
    /// It is not needed any more.
    Release {
        /// What it was asked for by.
        ticket: u128,
    },
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerAsk {
    /// What is asked.
    pub question: DockerQuestion,
    /// The container that whoever asks runs in; none on the host.
    pub from: Option<String>,
    /// A number that nobody can know beforehand: the answer names it, so that no earlier answer passes for it.
    pub nonce: u128,
}

impl DockerAsk {
    /// How long a way to a database is kept open for whoever asked for it.
    pub const HOLDS_SECONDS: u64 = 60;
}

impl Message for DockerAsk {
    const NAME: &'static str = "Docker question";
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DockerAnswer {
    /// Signed by, and sealed to, the pipeline key: it may hold passwords.
    Sealed(Vec<u8>),
    /// There is none.
    Refused {
        /// Why, for people.
        reason: String,
        /// Whether asking again may help.
        retry: bool,
    },
}

impl Message for DockerAnswer {
    const NAME: &'static str = "Docker answer";
}
