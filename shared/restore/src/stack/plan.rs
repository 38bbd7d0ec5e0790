//! The plan of a stack's restore: what goes where, in which order. Pure: made of a restore point, and printed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use holdfast_fault::{Retry, Retryable};
use holdfast_format::{ArtefactId, ArtefactKind, ImageInUse, PointArtefact, PointStatus, RestorePoint, RunId};

/// A part of a stack that can be restored alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackPart {
    /// The volumes.
    Volumes,
    /// The databases of the containers, and their roles.
    Databases,
    /// The images that the containers ran.
    Images,
}

impl StackPart {
    /// All parts.
    pub const ALL: [Self; 3] = [Self::Volumes, Self::Databases, Self::Images];
}

/// A stack cannot be restored from a restore point. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The restore point has nothing of the stack, or of the parts that are wanted.
    #[error("run {run} holds nothing of stack {stack}")]
    Nothing { run: RunId, stack: String },
    /// Two things would get the same name in the other stack, and the later would be mixed into the earlier.
    #[error("{one} and {other} would both be restored into {into}: restore one of them alone, under a name of its own")]
    SameName {
        /// The thing that is restored first.
        one: String,
        other: String,
        /// The name that both would get.
        into: String,
    },
}

impl Retryable for PlanError {
    fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// One thing that the restore of a stack does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StackStep {
    /// Writes a Compose file with the images that the services ran.
    Images {
        /// The images, one for each container.
        images: Vec<ImageInUse>,
        /// The file to write.
        file: PathBuf,
    },
    /// Restores a volume.
    Volume {
        artefact: ArtefactId,
        /// The captured volume.
        volume: String,
        /// The volume to restore into.
        into: String,
    },
    /// Restores the roles and tablespaces of a container's server.
    Globals {
        artefact: ArtefactId,
        /// The captured container.
        container: String,
        /// The container to restore into.
        into: String,
    },
    /// Restores a database of a container's server.
    Database {
        artefact: ArtefactId,
        /// The captured container.
        container: String,
        database: String,
        /// The container to restore into.
        into: String,
    },
}

impl StackStep {
    /// Returns the word for what is restored: `images`, `volume`, `globals` or `database`.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self {
            Self::Images { .. } => "images",
            Self::Volume { .. } => ArtefactKind::Volume.as_str(),
            Self::Globals { .. } => ArtefactKind::Globals.as_str(),
            Self::Database { .. } => ArtefactKind::Database.as_str(),
        }
    }

    /// Returns the artefact that is restored, if the step restores one.
    #[must_use]
    pub fn artefact(&self) -> Option<ArtefactId> {
        match self {
            Self::Images { .. } => None,
            Self::Volume { artefact, .. } | Self::Globals { artefact, .. } | Self::Database { artefact, .. } => {
                Some(*artefact)
            }
        }
    }

    /// Returns the name of the captured thing.
    #[must_use]
    pub fn captured_name(&self) -> String {
        match self {
            Self::Images { images, .. } => match images.len() {
                1 => "1 container".to_owned(),
                several => format!("{several} containers"),
            },
            Self::Volume { volume, .. } => volume.clone(),
            Self::Globals { container, .. } => container.clone(),
            Self::Database {
                container, database, ..
            } => format!("{container}/{database}"),
        }
    }

    /// Returns the name of the thing that is restored into.
    #[must_use]
    pub fn target_name(&self) -> String {
        match self {
            Self::Images { file, .. } => file.display().to_string(),
            Self::Volume { into, .. } | Self::Globals { into, .. } => into.clone(),
            Self::Database { into, database, .. } => format!("{into}/{database}"),
        }
    }

    /// True if the step needs the Docker engine.
    #[must_use]
    pub fn needs_engine(&self) -> bool {
        !matches!(self, Self::Images { .. })
    }
}

impl fmt::Display for StackStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} into {}",
            self.what(),
            self.captured_name(),
            self.target_name()
        )
    }
}

/// The steps of a stack's restore, in order: images, volumes, roles, databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackPlan {
    pub run: RunId,
    /// The captured stack.
    pub stack: String,
    /// The name of the stack to restore into.
    pub into: String,
    /// Names of artefacts and sources that the restore point lacks.
    pub missing: Vec<String>,
    /// True if the restore point has all that it should have.
    pub complete: bool,
    pub steps: Vec<StackStep>,
}

impl StackPlan {
    /// Makes the plan.
    ///
    /// `volumes` says of which stack each volume of the restore point is, as its manifest says: see
    /// [`super::volume_stacks`]. A volume without an entry has no manifest any more, and counts as missing. `images` is the
    /// file to write the images to.
    ///
    /// # Errors
    /// [`PlanError`] if there is nothing to restore, or two things would become one.
    pub fn make(
        point: &RestorePoint,
        stack: &str,
        into: &str,
        parts: &[StackPart],
        volumes: &BTreeMap<ArtefactId, Option<String>>,
        images: &Path,
    ) -> Result<Self, PlanError> {
        let mut plan = Self {
            run: point.run,
            stack: stack.to_owned(),
            into: into.to_owned(),
            missing: names_of_failed(point),
            complete: point.complete,
            steps: Vec::new(),
        };
        if parts.contains(&StackPart::Images) {
            plan.add_images(point, images);
        }
        if parts.contains(&StackPart::Volumes) {
            plan.add_volumes(point, volumes);
        }
        if parts.contains(&StackPart::Databases) {
            plan.add_databases(point);
        }
        if plan.steps.is_empty() {
            return Err(PlanError::Nothing {
                run: point.run,
                stack: stack.to_owned(),
            });
        }
        plan.refuse_same_names()?;
        Ok(plan)
    }

    /// True if any step needs the Docker engine.
    #[must_use]
    pub fn needs_engine(&self) -> bool {
        self.steps.iter().any(StackStep::needs_engine)
    }

    fn add_images(&mut self, point: &RestorePoint, file: &Path) {
        let images: Vec<ImageInUse> = images_of(point, &self.stack).cloned().collect();
        if !images.is_empty() {
            self.steps.push(StackStep::Images {
                images,
                file: file.to_owned(),
            });
        }
    }

    fn add_volumes(&mut self, point: &RestorePoint, stacks: &BTreeMap<ArtefactId, Option<String>>) {
        for PointArtefact { artefact, .. } in point.good() {
            if artefact.kind != ArtefactKind::Volume {
                continue;
            }
            match stacks.get(&artefact.id) {
                Some(stack) if stack.as_deref() == Some(&self.stack) => self.steps.push(StackStep::Volume {
                    artefact: artefact.id,
                    volume: artefact.name.clone(),
                    into: self.renamed(&artefact.name),
                }),
                Some(_) => {}
                None => {
                    self.missing.push(artefact.name.clone());
                    self.complete = false;
                }
            }
        }
    }

    /// Adds the roles of all servers before any database.
    fn add_databases(&mut self, point: &RestorePoint) {
        let mut databases = Vec::new();
        for PointArtefact { artefact, .. } in point.good() {
            let (container, database) = match artefact.name.split_once('/') {
                Some((container, database)) => (container, Some(database)),
                None => (artefact.name.as_str(), None),
            };
            if !images_of(point, &self.stack).any(|image| image.container == container) {
                continue;
            }
            let container = container.to_owned();
            let into = self.renamed(&container);
            match (artefact.kind, database) {
                (ArtefactKind::Globals, None) => self.steps.push(StackStep::Globals {
                    artefact: artefact.id,
                    container,
                    into,
                }),
                (ArtefactKind::Database, Some(database)) => databases.push(StackStep::Database {
                    artefact: artefact.id,
                    container,
                    database: database.to_owned(),
                    into,
                }),
                _ => {}
            }
        }
        self.steps.append(&mut databases);
    }

    /// Renames a volume or container: a name that begins with the stack's begins with the other's; any other name is put
    /// behind it.
    fn renamed(&self, name: &str) -> String {
        if self.stack == self.into {
            return name.to_owned();
        }
        let rest = name.strip_prefix(&self.stack);
        match rest.filter(|rest| rest.starts_with(['_', '-'])) {
            Some(rest) => format!("{}{rest}", self.into),
            None => format!("{}_{name}", self.into),
        }
    }

    fn refuse_same_names(&self) -> Result<(), PlanError> {
        let mut known = BTreeMap::new();
        for step in &self.steps {
            let into = step.target_name();
            if let Some(one) = known.insert((step.what(), into.clone()), step.captured_name()) {
                return Err(PlanError::SameName {
                    one: format!("{} {one}", step.what()),
                    other: format!("{} {}", step.what(), step.captured_name()),
                    into,
                });
            }
        }
        Ok(())
    }
}

impl fmt::Display for StackPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        if !self.missing.is_empty() {
            writeln!(f, "missing: {}", self.missing.join(", "))?;
        }
        Ok(())
    }
}

/// Returns the names of artefacts that failed, and of sources of which nobody knows what they hold.
fn names_of_failed(point: &RestorePoint) -> Vec<String> {
    let failed = point
        .artefacts
        .iter()
        .filter(|one| matches!(one.status, PointStatus::Failed { .. }));
    let names = failed.map(|one| one.artefact.name.clone());
    let sources = point.failed_sources.keys();
    names
        .chain(sources.map(|source| format!("all of source {source}")))
        .collect()
}

fn images_of<'a>(point: &'a RestorePoint, stack: &'a str) -> impl Iterator<Item = &'a ImageInUse> {
    point
        .images
        .iter()
        .filter(move |image| image.stack.as_deref() == Some(stack))
}

/// Tells whether a restore point is of this stack, or of a host on which the stack ran.
#[must_use]
pub fn holds_stack(point: &RestorePoint, stack: &str) -> bool {
    match &point.stack {
        Some(own) => own == stack,
        None => images_of(point, stack).next().is_some(),
    }
}

/// Returns the only stack that a restore point is of. None if it is of several, or of none.
#[must_use]
pub fn only_stack(point: &RestorePoint) -> Option<String> {
    if let Some(own) = &point.stack {
        return Some(own.clone());
    }
    let mut stacks: Vec<&String> = point.images.iter().filter_map(|image| image.stack.as_ref()).collect();
    stacks.sort();
    stacks.dedup();
    match stacks[..] {
        [one] => Some(one.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
