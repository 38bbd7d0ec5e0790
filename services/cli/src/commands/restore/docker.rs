//! Docker volumes and the engine, in the words of the command line.

use std::path::{Path, PathBuf};

use holdfast_config::Settings;
use holdfast_docker::engine::{Engine, Limits};
use holdfast_docker::facts::{Labels, is_name};
use holdfast_docker::perform::{Quiet, has_abandoned};
use holdfast_restore::DockerHost;
use holdfast_session::own_container;

use super::Opened;
use super::failures::engine_error;
use crate::{CliError, human};

/// The beginning of a target that is a volume.
const PREFIX: &str = "docker:";

/// The usual address of an engine, for a restore without a configuration.
const HOST: &str = "unix:///var/run/docker.sock";

/// Returns the name of the volume, if the target is one.
pub(crate) fn volume_of(to: &Path) -> Option<Result<&str, CliError>> {
    let name = to.to_str()?.strip_prefix(PREFIX)?;
    Some(if is_name(name) {
        Ok(name)
    } else {
        Err(CliError::Usage(format!(
            "{:?} is no name of a Docker volume: letters, digits, and after the first of them also _ . -",
            human::shown(name)
        )))
    })
}

/// Connects to the engine that is configured, else to the usual one.
pub(crate) async fn host(settings: Option<&Settings>) -> Result<DockerHost, CliError> {
    let section = settings.and_then(|settings| settings.docker.as_ref());
    let address = section.map_or(HOST, |section| section.host.as_str());
    let engine = Engine::connect(address, Limits::default()).await;
    let engine = engine.map_err(engine_error)?;
    let state_dir = state_dir(settings);
    sweep(&engine, &state_dir).await;
    Ok(DockerHost {
        engine,
        volumes_dir: section.and_then(|section| section.volumes_dir.clone()),
        state_dir,
        own_container: own_container(),
    })
}

/// Returns the folder in which restores of this user write down what they make at an engine.
fn state_dir(settings: Option<&Settings>) -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    match settings {
        Some(settings) => settings.state_of(&format!("restore-{user}")),
        None => std::env::temp_dir().join(format!("holdfast-restore-{user}")),
    }
}

/// Removes what a restore left that was killed: helper containers, and memberships in networks.
async fn sweep(engine: &Engine, state_dir: &Path) {
    if !has_abandoned(state_dir) {
        return;
    }
    match Quiet::new(engine.clone(), state_dir).recover().await {
        Ok(recovery) => {
            for failure in &recovery.failures {
                tracing::warn!("{}", holdfast_fault::chain(failure));
            }
        }
        Err(error) => tracing::warn!("{}", holdfast_fault::chain(&error)),
    }
}

/// Returns the labels that a new volume gets: those that it had.
pub(crate) fn labels_of(opened: &Opened) -> Labels {
    let volume = opened.manifest().captured.volume.as_ref();
    volume.map(|volume| volume.labels.clone()).unwrap_or_default()
}
