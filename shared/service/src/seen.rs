//! Remembers the newest roster that this host has seen, outside the repository.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use holdfast_format::{Digest, RepositoryId};
use holdfast_repository::{Repository, RepositoryError};

/// The file's name in the state folder.
const FILE: &str = "roster-seen";

/// The newest roster of a repository, as one line of three words.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    repository: RepositoryId,
    number: u64,
    sha256: Digest,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} {}", self.repository, self.number, self.sha256)
    }
}

impl Seen {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        Some(Self {
            repository: words.next()?.parse().ok()?,
            number: words.next()?.parse().ok()?,
            sha256: words.next()?.parse().ok()?,
        })
    }
}

/// Refuses a repository whose roster is older than one that this host has seen, or another one of the same number, and
/// remembers a newer one. A state folder that cannot be read or written remembers nothing.
///
/// # Errors
/// [`RepositoryError::RosterWentBack`].
pub fn check_roster_seen(state_dir: &Path, repository: &Repository) -> Result<(), RepositoryError> {
    let path = state_dir.join(FILE);
    let (roster, sha256) = repository.roster();
    let found = Seen {
        repository: repository.id(),
        number: roster.number,
        sha256,
    };
    let known = std::fs::read_to_string(&path).ok();
    let known = known.and_then(|text| Seen::parse(&text));
    if let Some(known) = known.filter(|known| known.repository == found.repository) {
        if known == found {
            return Ok(());
        }
        if known.number >= found.number {
            return Err(RepositoryError::RosterWentBack {
                place: repository.place().name().clone(),
                found: found.number,
                seen: known.number,
            });
        }
    }
    if let Err(error) = remember(&path, &found) {
        tracing::debug!(path = %path.display(), %error, "the roster that was seen is not remembered");
    }
    Ok(())
}

/// Writes the line beside its place first, so that a process that ends in the middle leaves the old one.
fn remember(path: &Path, seen: &Seen) -> std::io::Result<()> {
    let beside = path.with_extension(std::process::id().to_string());
    let mut file = File::create(&beside)?;
    file.write_all(seen.to_string().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}
