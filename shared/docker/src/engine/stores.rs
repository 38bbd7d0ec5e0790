//! Volumes, networks, images, and the engine's full description of all.

use bollard::models::{EndpointSettings, NetworkConnectRequest, NetworkDisconnectRequest, VolumeCreateRequest};
use bollard::query_parameters::{ListImagesOptions, ListNetworksOptions, ListVolumesOptions, RemoveVolumeOptions};
use serde_json::{Value, json};

use super::{Engine, EngineError, Kind, convert};
use crate::facts::{Image, Labels, Network, Volume};

impl Engine {
    /// Lists all volumes, sorted by name.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn volumes(&self) -> Result<Vec<Volume>, EngineError> {
        let question = self.client.list_volumes(None::<ListVolumesOptions>);
        let found = self.ask("list", "volumes", question).await?;
        let mut volumes: Vec<_> = found
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(convert::volume)
            .collect();
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    /// Describes a volume.
    ///
    /// # Errors
    /// If the volume is not there, or the engine does not answer.
    pub async fn volume(&self, name: &str) -> Result<Volume, EngineError> {
        EngineError::check_name("inspect", "volume", name)?;
        let question = self.client.inspect_volume(name);
        Ok(convert::volume(
            self.ask("inspect", &format!("volume {name}"), question).await?,
        ))
    }

    /// Makes a volume of the local driver. Returns the volume as it is if there is one of this name.
    ///
    /// # Errors
    /// If the engine refuses the name, or does not answer.
    pub async fn create_volume(&self, name: &str, labels: &Labels) -> Result<Volume, EngineError> {
        EngineError::check_name("create", "volume", name)?;
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some("local".to_owned()),
            labels: Some(labels.clone().into_iter().collect()),
            ..VolumeCreateRequest::default()
        };
        let call = self.client.create_volume(request);
        Ok(convert::volume(
            self.call("create", &format!("volume {name}"), self.limits.act, call)
                .await?,
        ))
    }

    /// Removes a volume. Succeeds if the volume is not there.
    ///
    /// # Errors
    /// If a container uses the volume, or the engine does not answer.
    pub async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        EngineError::check_name("remove", "volume", name)?;
        let call = self.client.remove_volume(name, None::<RemoveVolumeOptions>);
        match self
            .call("remove", &format!("volume {name}"), self.limits.act, call)
            .await
        {
            Err(error) if error.is_not_found() => Ok(()),
            done => done,
        }
    }

    /// Lists all networks, sorted by name.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn networks(&self) -> Result<Vec<Network>, EngineError> {
        let question = self.client.list_networks(None::<ListNetworksOptions>);
        let found = self.ask("list", "networks", question).await?;
        let mut networks: Vec<_> = found.into_iter().map(convert::network).collect();
        networks.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(networks)
    }

    /// Puts a container into a network. Succeeds if the container is in it already.
    ///
    /// # Errors
    /// If the network or the container is not there, or the engine does not answer.
    pub async fn join_network(&self, network: &str, container: &str) -> Result<(), EngineError> {
        let thing = format!("network {network} to container {container}");
        EngineError::check_name("join", "network", network)?;
        EngineError::check_name("join", "container", container)?;
        if self.is_in(network, container).await? {
            return Ok(());
        }
        let request = NetworkConnectRequest {
            container: container.to_owned(),
            endpoint_config: Some(EndpointSettings::default()),
        };
        let call = self.client.connect_network(network, request);
        self.call("join", &thing, self.limits.act, call).await
    }

    /// Takes a container out of a network. Succeeds if the container is not in it, or if either is gone.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn leave_network(&self, network: &str, container: &str) -> Result<(), EngineError> {
        let thing = format!("network {network} from container {container}");
        EngineError::check_name("part", "network", network)?;
        EngineError::check_name("part", "container", container)?;
        match self.is_in(network, container).await {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        }
        let request = NetworkDisconnectRequest {
            container: container.to_owned(),
            force: Some(true),
        };
        let call = self.client.disconnect_network(network, request);
        match self.call("part", &thing, self.limits.act, call).await {
            Err(error) if error.is_not_found() => Ok(()),
            done => done,
        }
    }

    async fn is_in(&self, network: &str, container: &str) -> Result<bool, EngineError> {
        let container = self.container(container).await?;
        let mut networks = container.networks.iter();
        Ok(networks.any(|(name, endpoint)| name == network || endpoint.network_id == network))
    }

    /// Lists all images, with the digests by which they can be pulled again.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn images(&self) -> Result<Vec<Image>, EngineError> {
        let question = self.client.list_images(None::<ListImagesOptions>);
        let found = self.ask("list", "images", question).await?;
        let mut images: Vec<_> = found.into_iter().map(convert::image).collect();
        images.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(images)
    }

    /// Collects the engine's own descriptions of all containers, volumes, networks and images: enough to make
    /// everything again on another host. They hold the environments of containers, and so secrets.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn metadata(&self) -> Result<Value, EngineError> {
        let mut containers = Vec::new();
        for id in self.container_ids().await? {
            let question = self.client.inspect_container(&id, None);
            match self.ask("inspect", &format!("container {id}"), question).await {
                Ok(container) => containers.push(container),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let volumes = self
            .ask("list", "volumes", self.client.list_volumes(None::<ListVolumesOptions>))
            .await?;
        let networks = self
            .ask(
                "list",
                "networks",
                self.client.list_networks(None::<ListNetworksOptions>),
            )
            .await?;
        let images = self
            .ask("list", "images", self.client.list_images(None::<ListImagesOptions>))
            .await?;
        let version = self
            .ask("ask the version of", "the Docker engine", self.client.version())
            .await?;
        let all = || -> Result<Value, serde_json::Error> {
            Ok(json!({
                "version": serde_json::to_value(&version)?,
                "containers": serde_json::to_value(&containers)?,
                "volumes": serde_json::to_value(volumes.volumes.unwrap_or_default())?,
                "networks": serde_json::to_value(&networks)?,
                "images": serde_json::to_value(&images)?,
            }))
        };
        all().map_err(|source| EngineError::new("keep", "what the engine knows", Kind::Garbled).with_source(source))
    }
}
