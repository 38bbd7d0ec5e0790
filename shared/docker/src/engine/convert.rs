//! Conversion of bollard's models into plain facts.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models;

use crate::facts::{Container, Endpoint, Environment, Image, Labels, Mount, MountKind, Network, State, Volume};

pub(super) fn container(from: models::ContainerInspectResponse) -> Container {
    let state = from.state.unwrap_or_default();
    let config = from.config.unwrap_or_default();
    let host = from.host_config.unwrap_or_default();
    let networks = from
        .network_settings
        .and_then(|settings| settings.networks)
        .unwrap_or_default();
    Container {
        id: from.id.unwrap_or_default(),
        name: from.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        image: config.image.unwrap_or_default(),
        image_id: from.image.unwrap_or_default(),
        state: of_state(&state),
        started_at: state.started_at.unwrap_or_default(),
        exit_code: state.exit_code,
        labels: labels(config.labels),
        environment: Environment::from_lines(config.env.unwrap_or_default()),
        mounts: from.mounts.unwrap_or_default().into_iter().map(mount).collect(),
        networks: networks
            .into_iter()
            .map(|(name, settings)| (name, endpoint(settings)))
            .collect(),
        network_mode: host.network_mode.unwrap_or_default(),
        ipc_mode: host.ipc_mode.unwrap_or_default(),
        pid_mode: host.pid_mode.unwrap_or_default(),
        stop_timeout: config
            .stop_timeout
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map(Duration::from_secs),
        auto_remove: host.auto_remove.unwrap_or_default(),
    }
}

fn of_state(state: &models::ContainerState) -> State {
    let is = |flag: Option<bool>| flag.unwrap_or_default();
    // The engine also marks a paused or restarting container as running, so those marks come first.
    if is(state.paused) {
        State::Paused
    } else if is(state.restarting) {
        State::Restarting
    } else if is(state.running) {
        State::Running
    } else {
        State::Stopped
    }
}

fn mount(from: models::MountPoint) -> Mount {
    let kind = match from.typ.as_deref() {
        Some("volume") => MountKind::Volume,
        Some("bind") => MountKind::Bind,
        _ => MountKind::Other,
    };
    Mount {
        kind,
        volume: from.name.filter(|name| kind == MountKind::Volume && !name.is_empty()),
        source: from.source.unwrap_or_default(),
        destination: from.destination.unwrap_or_default(),
        writable: from.rw.unwrap_or(true),
    }
}

fn endpoint(from: models::EndpointSettings) -> Endpoint {
    let address = [from.ip_address, from.global_ipv6_address].into_iter().flatten();
    Endpoint {
        network_id: from.network_id.unwrap_or_default(),
        address: address.into_iter().find(|address| !address.is_empty()),
        aliases: from.aliases.unwrap_or_default(),
    }
}

pub(super) fn volume(from: models::Volume) -> Volume {
    Volume {
        name: from.name,
        driver: from.driver,
        mountpoint: from.mountpoint,
        labels: from.labels.into_iter().collect(),
        options: from.options.into_iter().collect(),
    }
}

pub(super) fn network(from: models::Network) -> Network {
    Network {
        id: from.id.unwrap_or_default(),
        name: from.name.unwrap_or_default(),
        driver: from.driver.unwrap_or_default(),
        labels: labels(from.labels),
    }
}

pub(super) fn image(from: models::ImageSummary) -> Image {
    // The engine gives `<none>` for a missing name or digest.
    let real = |names: Vec<String>| names.into_iter().filter(|name| !name.contains("<none>")).collect();
    Image {
        id: from.id,
        tags: real(from.repo_tags),
        digests: real(from.repo_digests),
    }
}

fn labels(from: Option<HashMap<String, String>>) -> Labels {
    from.unwrap_or_default().into_iter().collect()
}
