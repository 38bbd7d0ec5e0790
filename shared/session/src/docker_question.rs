//! The dumper's question for databases in containers. The process that speaks to the engine answers it, sealed to the
//! reader key that both have, so that no password stands in a message.

use std::time::Duration;

use holdfast_config::Connection;
use holdfast_events::{DockerAnswer, DockerAsk, DockerQuestion};
use holdfast_format::{Class, Site};
use holdfast_service::{Context, JobError};
use serde::{Deserialize, Serialize};

/// The time limit for an answer: a network may have to be joined, and a password be read in the container.
const ANSWER: Duration = Duration::from_secs(60);

/// A container with databases, and the reason if they cannot be dumped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseContainer {
    /// The container's name.
    pub container: String,
    /// The reason why the databases cannot be dumped, if they cannot.
    pub fault: Option<String>,
}

/// The address and role by which the databases of a container are reached. Holds a password, so it is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reachable {
    pub host: String,
    pub port: u16,
    /// The PostgreSQL role.
    pub user: String,
    /// The database to connect to first.
    pub database: String,
    /// The role's password, if it has one.
    pub password: Option<String>,
    /// The lowest class of the databases.
    #[serde(default)]
    pub class: Option<Class>,
}

impl Reachable {
    /// Returns the connection, without the password.
    #[must_use]
    pub fn connection(&self) -> Connection {
        Connection::at(&self.host, self.port, &self.user, &self.database)
    }
}

/// The answer to a [`DockerQuestion`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DockerReply {
    /// The containers with databases.
    Databases(Vec<DatabaseContainer>),
    /// The way to the databases of one container.
    Reachable(Reachable),
    /// The way that the question named is closed, unless somebody else needs it.
    Released,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    nonce: u128,
    told: DockerReply,
}

/// Asks whoever speaks to the Docker engine of this site.
///
/// # Errors
/// [`JobError`] with the reason if there is no answer.
pub async fn ask_docker(cx: &Context, question: DockerQuestion) -> Result<DockerReply, JobError> {
    let ask = DockerAsk {
        question,
        from: own_container(),
        nonce: uuid::Uuid::new_v4().as_u128(),
    };
    let answer = cx.bus.ask_docker(&cx.site, &ask, ANSWER).await;
    let answer = answer.map_err(|error| match error {
        holdfast_bus::BusError::NobodyAnswers => JobError::Retry(format!(
            "nobody speaks to the Docker engine of site {}: is its volume-snapshotter running, with [docker] configured?",
            cx.site
        )),
        other => JobError::from(other).during("ask about databases in containers"),
    })?;
    match answer {
        DockerAnswer::Refused { reason, retry: true } => Err(JobError::Retry(reason)),
        DockerAnswer::Refused { reason, retry: false } => Err(JobError::Fail(reason)),
        DockerAnswer::Sealed(sealed) => {
            let plain = cx.repository.open_told(&sealed).await?;
            let envelope: Envelope = serde_json::from_slice(&plain)
                .map_err(|_| JobError::Fail("an answer about databases in containers cannot be read".to_owned()))?;
            if envelope.nonce != ask.nonce {
                return Err(JobError::Fail("an answer to another question came".to_owned()));
            }
            Ok(envelope.told)
        }
    }
}

/// Answers such questions until the process drains. `answer` gets the question and the container that it came from.
pub async fn answer_docker<F, Fut>(cx: &Context, site: &Site, answer: F)
where
    F: Fn(DockerQuestion, Option<String>) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = Result<DockerReply, JobError>> + Send + 'static,
{
    let handler = |ask: DockerAsk| {
        let cx = cx.clone();
        let answer = answer.clone();
        async move {
            match sealed_answer(&cx, ask, answer).await {
                Ok(sealed) => DockerAnswer::Sealed(sealed),
                Err(error) => DockerAnswer::Refused {
                    reason: error.reason().to_owned(),
                    retry: error.retry().is_later(),
                },
            }
        }
    };
    while !cx.drain.is_cancelled() {
        if let Err(error) = cx.bus.answer_docker(site, handler, cx.drain.clone()).await {
            tracing::warn!(reason = %holdfast_fault::chain(&error), "answering questions about containers was interrupted; starting it again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn sealed_answer<F, Fut>(cx: &Context, ask: DockerAsk, answer: F) -> Result<Vec<u8>, JobError>
where
    F: Fn(DockerQuestion, Option<String>) -> Fut,
    Fut: Future<Output = Result<DockerReply, JobError>>,
{
    let envelope = Envelope {
        nonce: ask.nonce,
        told: answer(ask.question, ask.from).await?,
    };
    let plain = serde_json::to_vec(&envelope).map_err(|error| JobError::Fail(error.to_string()))?;
    Ok(cx.repository.seal_told(plain).await?)
}

/// The id of the container that this process runs in: engines mount a file of theirs below a folder of that name.
#[must_use]
pub fn own_container() -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    container_of(&mounts)
}

fn container_of(mountinfo: &str) -> Option<String> {
    let is_id = |word: &&str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let mut files = mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let root = fields.next()?;
        let at = fields.next()?;
        matches!(at, "/etc/hostname" | "/etc/hosts" | "/etc/resolv.conf").then_some(root)
    });
    files.find_map(|root| root.split('/').find(is_id).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_knows_itself_by_its_mounts() {
        let id = "4f".repeat(32);
        let inside = format!(
            "22 21 0:20 / /proc rw - proc proc rw\n36 35 254:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/vda1 rw\n"
        );
        assert_eq!(container_of(&inside), Some(id.clone()));
        let host = format!("36 35 254:1 /{id}/x /data rw - ext4 /dev/vda1 rw\n22 21 0:20 / /etc/hosts rw - x y z\n");
        assert_eq!(container_of(&host), None);
    }
}
