//! Containers: list, stop, start, freeze, make, remove.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    StopContainerOptionsBuilder,
};
use tokio::time::Instant;

use super::{Engine, EngineError, Kind, convert};
use crate::facts::{Container, State};

/// The interval between questions whether a container has reached a state.
const POLL: Duration = Duration::from_millis(50);

/// The time that the engine gives a container to stop by default.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The exit code of a process that was ended by SIGKILL.
const KILLED: i64 = 137;

/// The result of stopping a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// True if the engine killed the container because it did not end in time.
    pub killed: bool,
}

/// The result of starting a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// The container runs.
    Running,
    /// The container started, and ended at once.
    Ended { exit_code: i64 },
}

/// A container to make that is never started, and exists only to have a volume mounted.
#[derive(Clone, Debug)]
pub struct HelperSpec<'a> {
    pub name: &'a str,
    /// The id of an image that the engine has. Nothing in the image is ever run.
    pub image: &'a str,
    pub volume: &'a str,
    /// The absolute path in the container to mount the volume at.
    pub mounted_at: &'a str,
    /// True if the volume is mounted for writing.
    pub writable: bool,
    /// Labels for the container, as names and values.
    pub labels: &'a [(&'a str, &'a str)],
}

impl Engine {
    /// Lists all containers, running or not, sorted by name. A container that is removed while the list is made is left
    /// out.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn containers(&self) -> Result<Vec<Container>, EngineError> {
        let mut containers = Vec::new();
        for id in self.container_ids().await? {
            match self.container(&id).await {
                Ok(container) => containers.push(container),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        containers.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(containers)
    }

    pub(super) async fn container_ids(&self) -> Result<Vec<String>, EngineError> {
        let all = ListContainersOptionsBuilder::default().all(true).build();
        let found = self
            .ask("list", "containers", self.client.list_containers(Some(all)))
            .await?;
        Ok(found.into_iter().filter_map(|container| container.id).collect())
    }

    /// Describes a container, by id or name.
    ///
    /// # Errors
    /// If the container is not there, or the engine does not answer.
    pub async fn container(&self, id: &str) -> Result<Container, EngineError> {
        EngineError::check_name("inspect", "container", id)?;
        let question = self.client.inspect_container(id, None);
        let answer = self.ask("inspect", &format!("container {id}"), question).await?;
        Ok(convert::container(answer))
    }

    /// Stops a container, and waits until it has stopped. Succeeds if the container does not run. The engine kills the
    /// container after `timeout`; by default after the container's own time, else after 10 s.
    ///
    /// # Errors
    /// If the container is not there or does not even end when killed, or the engine does not answer.
    pub async fn stop(&self, id: &str, timeout: Option<Duration>) -> Result<Stopped, EngineError> {
        let thing = format!("container {id}");
        let timeout = match timeout {
            Some(timeout) => timeout,
            None => self.container(id).await?.stop_timeout.unwrap_or(STOP_TIMEOUT),
        };
        EngineError::check_name("stop", "container", id)?;
        // Whole seconds, rounded up.
        let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
        let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let limit = timeout.saturating_add(self.limits.act);
        self.call("stop", &thing, limit, self.client.stop_container(id, Some(options)))
            .await?;
        let now = self
            .until("stop", id, |container| container.state == State::Stopped)
            .await?;
        Ok(Stopped {
            killed: now.exit_code == Some(KILLED),
        })
    }

    /// Starts a container. Succeeds if the container runs already.
    ///
    /// # Errors
    /// If the container is not there or cannot be started, or the engine does not answer.
    pub async fn start(&self, id: &str) -> Result<Started, EngineError> {
        EngineError::check_name("start", "container", id)?;
        let thing = format!("container {id}");
        let call = self.client.start_container(id, None);
        self.call("start", &thing, self.limits.act, call).await?;
        let now = self.container(id).await?;
        Ok(match (now.state, now.exit_code) {
            (State::Stopped, exit_code) => Started::Ended {
                exit_code: exit_code.unwrap_or_default(),
            },
            _ => Started::Running,
        })
    }

    /// Freezes a container, and waits until it is frozen. Succeeds if the container is frozen already.
    ///
    /// # Errors
    /// If the container is not there or does not run, or the engine does not answer.
    pub async fn pause(&self, id: &str) -> Result<(), EngineError> {
        EngineError::check_name("pause", "container", id)?;
        let call = self.client.pause_container(id);
        let paused = self
            .call("pause", &format!("container {id}"), self.limits.act, call)
            .await;
        self.unless_so(paused, id, State::Paused).await?;
        self.until("pause", id, |container| container.state == State::Paused)
            .await?;
        Ok(())
    }

    /// Continues a frozen container, and waits until it runs. Succeeds if the container runs already.
    ///
    /// # Errors
    /// If the container is not there or does not run, or the engine does not answer.
    pub async fn unpause(&self, id: &str) -> Result<(), EngineError> {
        EngineError::check_name("unpause", "container", id)?;
        let call = self.client.unpause_container(id);
        let unpaused = self
            .call("unpause", &format!("container {id}"), self.limits.act, call)
            .await;
        self.unless_so(unpaused, id, State::Running).await?;
        self.until("unpause", id, |container| container.state == State::Running)
            .await?;
        Ok(())
    }

    /// Turns a failure into success if the container is in the wanted state already. Engines differ in the status that
    /// they answer then, so the state is asked for.
    async fn unless_so(&self, done: Result<(), EngineError>, id: &str, state: State) -> Result<(), EngineError> {
        match done {
            Err(error) if matches!(error.kind(), Kind::Conflict | Kind::Failed) => {
                let is_so = self.container(id).await.is_ok_and(|container| container.state == state);
                if is_so { Ok(()) } else { Err(error) }
            }
            done => done,
        }
    }

    async fn until(
        &self,
        operation: &'static str,
        id: &str,
        is_so: impl Fn(&Container) -> bool,
    ) -> Result<Container, EngineError> {
        let end = Instant::now() + self.limits.answer;
        loop {
            let container = self.container(id).await?;
            if is_so(&container) {
                return Ok(container);
            }
            if Instant::now() >= end {
                return Err(EngineError::no_answer(
                    operation,
                    format!("container {id}"),
                    self.limits.answer,
                ));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Makes a container that has a volume mounted, and returns its id. The container has no network, and is not
    /// started.
    ///
    /// # Errors
    /// If the image or the volume is not there, the name is taken, or the engine does not answer.
    pub async fn create_helper(&self, spec: &HelperSpec<'_>) -> Result<String, EngineError> {
        EngineError::check_name("create", "container", spec.name)?;
        // The engine would make a volume that is missing; here that is an error.
        self.volume(spec.volume).await?;
        let mount = Mount {
            typ: Some(MountType::VOLUME),
            source: Some(spec.volume.to_owned()),
            target: Some(spec.mounted_at.to_owned()),
            read_only: Some(!spec.writable),
            ..Mount::default()
        };
        let labels = spec
            .labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let body = ContainerCreateBody {
            image: Some(spec.image.to_owned()),
            // An image may come without a command, and the engine wants one.
            entrypoint: Some(vec!["/never-started".to_owned()]),
            labels: Some(labels.collect::<HashMap<_, _>>()),
            host_config: Some(HostConfig {
                mounts: Some(vec![mount]),
                network_mode: Some("none".to_owned()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(spec.name).build();
        let call = self.client.create_container(Some(options), body);
        let created = self
            .call("create", &format!("container {}", spec.name), self.limits.act, call)
            .await?;
        Ok(created.id)
    }

    /// Removes a container that does not run. Succeeds if the container is not there.
    ///
    /// # Errors
    /// If the container runs, or the engine does not answer.
    pub async fn remove_container(&self, id: &str) -> Result<(), EngineError> {
        EngineError::check_name("remove", "container", id)?;
        let options = RemoveContainerOptionsBuilder::default().v(false).force(false).build();
        let call = self.client.remove_container(id, Some(options));
        match self
            .call("remove", &format!("container {id}"), self.limits.act, call)
            .await
        {
            Err(error) if error.is_not_found() => Ok(()),
            done => done,
        }
    }
}
