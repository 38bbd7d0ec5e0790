//! Reads the rosters of a place, and what the owner vouches for.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_format::{Digest, ObjectKey, RepositoryId, Roster, Vouched};
use holdfast_storage::Place;

use crate::authority::Authority;
use crate::error::At;
use crate::names::Names;
use crate::records::{Trust, read_record, sha256};
use crate::{RepositoryError, RepositoryKeys};

/// Bytes of the largest issue: of thousands of keys. A word for a million records takes as much.
const ISSUE_MAX: u64 = 128 << 20;

/// Reads all issues of the roster at a place, and checks that they are one chain of the owner's, for one repository, which
/// may be known.
///
/// # Errors
/// [`RepositoryError::Roster`]; that an issue is damaged, or not signed by the owner.
pub(crate) async fn read_authority(
    place: &Place,
    keys: &Arc<RepositoryKeys>,
    known: Option<RepositoryId>,
) -> Result<(RepositoryId, Authority), RepositoryError> {
    let mut known = known;
    let names = Names::at(place).await?;
    let mut issues = Vec::with_capacity(names.numbers().count());
    let mut unopened = None;
    let mut not_owners: Option<RepositoryError> = None;
    for number in names.numbers() {
        let key = ObjectKey::Roster(number);
        match read_record::<Roster>(place, keys, &Trust::Owner, known, &key).await {
            Ok(Some(read)) => {
                // A genuine issue follows it, so a link of the chain was damaged.
                if let Some(error) = not_owners {
                    return Err(error);
                }
                known = Some(read.id);
                issues.push((read.record, sha256(&read.sealed)));
            }
            // One that went between listing and reading leaves a gap, which is found below.
            Ok(None) => {}
            // A backup key that was made later opens the later issues only.
            Err(error @ RepositoryError::NoKey { .. }) if issues.is_empty() => {
                // The newest opens to whoever may read at all.
                if names.numbers().max() == Some(number) {
                    return Err(error);
                }
                unopened = Some((number, sha256(&place.get(&key, ISSUE_MAX).await?)));
            }
            // Whoever may write to the place could put such an object there, and must not shut everybody out by it. It hides no
            // more than its deletion would: hosts remember the newest number that they have seen.
            Err(error) if error.is_damage() && !issues.is_empty() => {
                tracing::error!(object = %key, place = %place.name(), reason = %holdfast_fault::chain(&error), "an object among the rosters is not the owner's: it is passed over; find out who put it there, and remove it");
                not_owners.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    let (roster, sha256) = Roster::newest(unopened, issues).map_err(|source| RepositoryError::Roster {
        place: place.name().clone(),
        source,
    })?;
    let at = At {
        place: place.name().clone(),
        key: ObjectKey::Roster(roster.number),
    };
    // Without an issue that was opened there is no newest one.
    let id = known.ok_or_else(|| at.missing())?;
    let vouched = read_vouched(place, keys, id, &names).await?;
    Ok((id, Authority::new(&at, names, (roster, sha256), vouched)?))
}

/// Reads the SHA-256 of all records that the owner vouches for. A word that no key at hand opens says nothing.
async fn read_vouched(
    place: &Place,
    keys: &Arc<RepositoryKeys>,
    id: RepositoryId,
    names: &Names,
) -> Result<BTreeSet<Digest>, RepositoryError> {
    let mut vouched = BTreeSet::new();
    for word in names.vouched() {
        let key = ObjectKey::Vouched(word);
        match read_record::<Vouched>(place, keys, &Trust::Owner, Some(id), &key).await {
            Ok(Some(read)) => vouched.extend(read.record.records),
            Ok(None) => {}
            Err(error @ RepositoryError::Storage(_)) => return Err(error),
            Err(error) => {
                tracing::warn!(object = %key, reason = %holdfast_fault::chain(&error), "a word of the owner cannot be used; the records that it stands for do not count");
            }
        }
    }
    Ok(vouched)
}

/// Returns the sealed issues of the roster at a place and the sealed words of the owner: what a copy of the repository
/// needs of them.
pub(crate) async fn sealed_issues(place: &Place) -> Result<Vec<(ObjectKey, Bytes)>, RepositoryError> {
    let mut issues = Vec::new();
    // Issues in order, so that a copy that ends in the middle has a chain.
    for key in Names::at(place).await?.keys() {
        let sealed = place.get(&key, ISSUE_MAX).await?;
        issues.push((key, sealed));
    }
    Ok(issues)
}
