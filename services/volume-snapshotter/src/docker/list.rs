//! Listing: what an engine has for a run.

use std::collections::BTreeMap;

use holdfast_config::DockerPart;
use holdfast_docker::inventory::{self, Decision, Reason};
use holdfast_docker::labels::HELPER;
use holdfast_events::Work;
use holdfast_format::{Artefact, ArtefactKind, ImageInUse, SourceName};
use holdfast_service::{Context, JobError};
use holdfast_session::Listing;

use super::{Docker, Seen};

impl Docker {
    /// The volumes that are to be taken, what is left out and why, and the images in use.
    pub(crate) async fn list(&self, cx: &Context, work: &Work, source: &SourceName) -> Result<Listing, JobError> {
        let expected = cx.expected(work.run).await?;
        let stack = expected.stack.as_deref();
        let seen = self.look().await?;
        if let Some(stack) = stack.filter(|stack| !seen.inventory.stacks.contains_key(*stack)) {
            let sources = cx.settings.docker_sources();
            let engines = sources
                .iter()
                .filter(|source| source.part == DockerPart::Volumes && expected.source(&source.name).is_some());
            // Of several engines, another one may have it.
            if engines.count() <= 1 {
                return Err(JobError::Fail(no_stack(stack, &seen)));
            }
        }
        let mut listing = Listing {
            artefacts: Vec::new(),
            images: self.images(cx, &seen, stack).await?,
            notes: notes(&seen, stack),
        };
        for (name, entry) in &seen.inventory.volumes {
            let wanted = stack.is_none() || entry.stack.as_deref() == stack;
            if wanted && !matches!(entry.decision, Decision::Leave(_)) {
                let artefact = Artefact::new(work.run, source, ArtefactKind::Volume, name);
                listing.artefacts.push(artefact);
            }
        }
        if expected.backup_type == "full" {
            let artefact = Artefact::new(work.run, source, ArtefactKind::Engine, "engine");
            listing.artefacts.push(artefact);
        }
        Ok(listing)
    }

    async fn images(&self, cx: &Context, seen: &Seen, stack: Option<&str>) -> Result<Vec<ImageInUse>, JobError> {
        let images = self.engine().await?.images().await?;
        let digests: BTreeMap<String, Vec<String>> =
            images.into_iter().map(|image| (image.id, image.digests)).collect();
        let containers = seen.containers.iter().filter(|one| one.label(HELPER).is_none());
        let wanted = containers.filter(|one| stack.is_none() || inventory::project(one) == stack);
        let image = |one: &holdfast_docker::facts::Container| ImageInUse {
            site: cx.site.clone(),
            container: one.name.clone(),
            stack: inventory::project(one).map(str::to_owned),
            service: inventory::service(one).map(str::to_owned),
            image: one.image.clone(),
            id: one.image_id.clone(),
            digests: digests.get(&one.image_id).cloned().unwrap_or_default(),
        };
        Ok(wanted.map(image).collect())
    }
}

fn no_stack(stack: &str, seen: &Seen) -> String {
    let there: Vec<&str> = seen.inventory.stacks.keys().map(String::as_str).collect();
    format!("there is no stack {stack} here; there are: {}", there.join(", "))
}

/// Returns the notes for the operator about things that the configuration does not ask for in so many words.
fn notes(seen: &Seen, stack: Option<&str>) -> Vec<String> {
    let inventory = &seen.inventory;
    let mut notes = Vec::new();
    if let Some(stack) = stack.filter(|stack| !inventory.stacks.contains_key(*stack)) {
        notes.push(no_stack(stack, seen));
    }
    let mut anonymous = 0;
    for (name, entry) in &inventory.volumes {
        if stack.is_some() && entry.stack.as_deref() != stack {
            continue;
        }
        match &entry.decision {
            Decision::Leave(Reason::Anonymous) => anonymous += 1,
            Decision::Leave(reason @ Reason::Database(_)) => notes.push(format!("volume {name} is left out: {reason}")),
            _ => {}
        }
    }
    if anonymous > 0 {
        notes.push(format!(
            "{anonymous} volumes without a name of their own are left out (docker.volumes.anonymous)"
        ));
    }
    if stack.is_none() {
        notes.extend(inventory.warnings.iter().map(ToString::to_string));
    }
    notes
}
