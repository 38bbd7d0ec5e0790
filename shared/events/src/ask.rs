//! Questions that one service asks another, answered at once or not at all: how to reach a database in a container.

use serde::{Deserialize, Serialize};

use crate::Message;

/// A question of the dumper to the service that speaks to a site's Docker engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DockerQuestion {
    /// Asks for the containers that have databases.
    Databases {
        /// Limits the answer to one stack (a Compose project).
        stack: Option<String>,
    },
    /// Asks for a way to one container's databases. The way stays open while it is asked for again within
    /// [`DockerAsk::HOLDS_SECONDS`].
    Reach {
        container: String,
        /// Names the asker: a new number for each dump.
        ticket: u128,
    },
    /// Gives a way back that is not needed any more.
    Release {
        /// The number that the way was asked for with.
        ticket: u128,
    },
}

/// A [`DockerQuestion`] as it goes over the bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerAsk {
    pub question: DockerQuestion,
    /// The id of the container that the asker runs in; none on the host.
    pub from: Option<String>,
    /// A number that nobody can know beforehand. The answer repeats it, so that no earlier answer passes for this one.
    pub nonce: u128,
}

impl DockerAsk {
    /// Seconds for which a way to a database is kept open after it was asked for.
    pub const HOLDS_SECONDS: u64 = 60;
}

impl Message for DockerAsk {
    const NAME: &'static str = "Docker question";
}

/// The answer to a [`DockerAsk`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DockerAnswer {
    /// Signed by a role key and sealed to the reader key: it may hold passwords.
    Sealed(Vec<u8>),
    /// The question cannot be answered.
    Refused {
        /// The reason, for people.
        reason: String,
        /// True if asking again may help.
        retry: bool,
    },
}

impl Message for DockerAnswer {
    const NAME: &'static str = "Docker answer";
}
