//! Lists the objects of a place.

use std::pin::pin;

use futures::StreamExt;
use holdfast_format::{ArtefactId, ObjectKey, RunId};
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{ListResult, ObjectMeta, ObjectStore};

use crate::classify::Class;
use crate::error::{Operation, StorageError};
use crate::object::Meta;
use crate::place::Place;

/// A set of objects to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// Every object of the format.
    All,
    /// All issues of the roster.
    Rosters,
    /// The owner's words for records of revoked keys.
    Vouched,
    /// All packs.
    Packs,
    /// All objects of all artefacts.
    Artefacts,
    /// All objects of one artefact.
    Artefact(ArtefactId),
    /// All records of all runs.
    Runs,
    /// All records of one run.
    Run(RunId),
    /// All holds of runs.
    Holds,
    /// All tombstones of runs.
    Tombstones,
    /// All marks of condemned packs.
    Condemned,
    /// All marks of damaged packs.
    Damaged,
}

/// The folders of the format. Only these are listed: a directory may hold more, such as `lost+found`, which nobody but
/// root may enter.
const FOLDERS: [Prefix; 9] = [
    Prefix::Rosters,
    Prefix::Vouched,
    Prefix::Packs,
    Prefix::Artefacts,
    Prefix::Runs,
    Prefix::Holds,
    Prefix::Tombstones,
    Prefix::Condemned,
    Prefix::Damaged,
];

/// Tells whether a name directly below the place's root is that of a folder of the format.
pub(crate) fn is_folder(name: &std::ffi::OsStr) -> bool {
    FOLDERS.iter().any(|folder| name == folder.path().as_ref())
}

impl Prefix {
    fn path(self) -> Path {
        Path::from(match self {
            Self::All => String::new(),
            Self::Rosters => "roster".to_owned(),
            Self::Vouched => "vouched".to_owned(),
            Self::Packs => "packs".to_owned(),
            Self::Artefacts => "artefacts".to_owned(),
            Self::Artefact(id) => format!("artefacts/{id}"),
            Self::Runs => "runs".to_owned(),
            Self::Run(id) => format!("runs/{id}"),
            Self::Holds => "holds".to_owned(),
            Self::Tombstones => "tombstones".to_owned(),
            Self::Condemned => "condemned".to_owned(),
            Self::Damaged => "damaged".to_owned(),
        })
    }
}

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Key of the object.
    pub key: ObjectKey,
    /// Size in bytes.
    pub size: u64,
    /// The time of the write, by the store's clock.
    pub modified: Timestamp,
}

/// The objects of a place below a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The objects, sorted by key.
    pub objects: Vec<Listed>,
    /// Number of things below the prefix that are no objects of this format. They are left alone.
    pub foreign: u64,
}

impl Listing {
    fn take(&mut self, meta: &ObjectMeta) {
        match ObjectKey::parse(meta.location.as_ref()) {
            Some(key) => {
                let Meta { size, modified } = Meta::of(meta);
                self.objects.push(Listed { key, size, modified });
            }
            None => self.foreign += 1,
        }
    }
}

impl Place {
    /// Lists the objects below a prefix: all of them, or an error. A listing that was cut short is never taken for whole.
    ///
    /// # Errors
    /// [`StorageError`] if the place does not tell all of it.
    pub async fn list(&self, prefix: Prefix) -> Result<Listing, StorageError> {
        let mut listing = Listing::default();
        if prefix == Prefix::All {
            let top = self.list_level(&Path::default()).await?;
            top.objects.iter().for_each(|meta| listing.take(meta));
            let known = |path: &Path| FOLDERS.iter().any(|folder| folder.path() == *path);
            listing.foreign += top.common_prefixes.iter().filter(|path| !known(path)).count() as u64;
            for folder in FOLDERS {
                self.list_folder(&folder.path(), &mut listing).await?;
            }
        } else {
            self.list_folder(&prefix.path(), &mut listing).await?;
        }
        listing.objects.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(listing)
    }

    async fn list_folder(&self, folder: &Path, listing: &mut Listing) -> Result<(), StorageError> {
        let refused = |error: &object_store::Error| self.error(Operation::List, folder.as_ref(), error);
        // A page is one request, which may be repeated for a while.
        let silence = self.inner.timeout + self.inner.retry_for;
        let mut stream = pin!(self.inner.store.list(Some(folder)));
        loop {
            match tokio::time::timeout(silence, stream.next()).await {
                Ok(Some(Ok(meta))) => listing.take(&meta),
                Ok(Some(Err(error))) => return Err(refused(&error)),
                Ok(None) => return Ok(()),
                Err(late) => return Err(self.failed(Class::Unreachable, Operation::List, folder.as_ref(), &late)),
            }
        }
    }

    async fn list_level(&self, folder: &Path) -> Result<ListResult, StorageError> {
        let prefix = Some(folder).filter(|path| !path.as_ref().is_empty());
        let level = self.inner.store.list_with_delimiter(prefix).await;
        level.map_err(|error| self.error(Operation::List, folder.as_ref(), &error))
    }

    /// Returns the runs of which this place holds anything, oldest first. Cheap: it does not list their objects.
    ///
    /// # Errors
    /// As [`Place::list`].
    pub async fn runs(&self) -> Result<Vec<RunId>, StorageError> {
        let level = self.list_level(&Prefix::Runs.path()).await?;
        let names = level.common_prefixes.iter().filter_map(Path::filename);
        let mut runs: Vec<RunId> = names.filter_map(|name| name.parse().ok()).collect();
        runs.sort_unstable();
        Ok(runs)
    }
}
