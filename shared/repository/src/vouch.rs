//! Vouches for the records of keys that are revoked.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use holdfast_format::{Digest, ObjectKey, Vouched};
use holdfast_sealing::open_signed;
use holdfast_storage::{Prefix, StorageError};
use jiff::Timestamp;

use crate::records::{RECORD_MAX, Trust, blocking, seal_record, sha256, write_once};
use crate::{Repository, RepositoryError};

/// Number of records that are read at a time.
const READING: usize = 8;

/// The records of some keys at a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vouching {
    /// Number of records that count on.
    pub vouched: u64,
    /// Number of records that were signed or stored too late, and count no more.
    pub refused: u64,
}

/// A record of one of the keys.
enum Found {
    Before(Digest),
    After,
}

impl Repository {
    /// Writes the owner's word for all records of these keys that were signed before `until` by their own word, and stored
    /// before it by the store's. They count on when the keys are revoked. Every record of the place is read.
    ///
    /// # Errors
    /// [`RepositoryError::NoSigner`] without the owner's secret key; those of the place.
    pub async fn vouch(&self, fingerprints: &BTreeSet<String>, until: Timestamp) -> Result<Vouching, RepositoryError> {
        let mut objects = self.place().list(Prefix::All).await?.objects;
        objects.retain(|object| is_of_a_role(&object.key));
        let judged = objects.into_iter().map(|object| async move {
            let found = self.signed_by(&object.key, fingerprints).await?;
            Ok::<_, RepositoryError>(found.map(|(digest, signed)| {
                let is_before = signed < until && object.modified < until;
                if is_before { Found::Before(digest) } else { Found::After }
            }))
        });
        let found: Vec<Option<Found>> = futures::stream::iter(judged)
            .buffer_unordered(READING)
            .try_collect()
            .await?;
        let mut records = BTreeSet::new();
        let mut vouching = Vouching::default();
        for found in found.into_iter().flatten() {
            match found {
                Found::Before(digest) => drop(records.insert(digest)),
                Found::After => vouching.refused += 1,
            }
        }
        vouching.vouched = records.len() as u64;
        if records.is_empty() {
            return Ok(vouching);
        }
        let word = Vouched {
            id: uuid::Uuid::new_v4(),
            at: Timestamp::now(),
            records: records.into_iter().collect(),
        };
        let key = ObjectKey::Vouched(word.id);
        let sealed = seal_record(&self.inner.keys, &Trust::Owner, self.id(), &key, &word).await?;
        write_once(self.place(), &key, sealed).await?;
        Ok(vouching)
    }

    /// Returns the SHA-256 of a record and the time of its signature, if one of these keys signed it.
    async fn signed_by(
        &self,
        key: &ObjectKey,
        fingerprints: &BTreeSet<String>,
    ) -> Result<Option<(Digest, Timestamp)>, RepositoryError> {
        let sealed = match self.place().get(key, RECORD_MAX).await {
            Ok(sealed) => sealed,
            Err(StorageError::NotFound { .. } | StorageError::TooLarge { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let keys = Arc::clone(&self.inner.keys);
        let authority = self.inner.authority.seen.get();
        let fingerprints = fingerprints.clone();
        blocking(key, move || {
            // One that does not open counts for nobody, with or without a word.
            let opened = open_signed(&keys.secret, authority.trusted(), &sealed, sealed.len()).ok()?;
            let signed = Timestamp::try_from(opened.signed_at).ok()?;
            fingerprints.contains(&opened.signer).then(|| (sha256(&sealed), signed))
        })
        .await
    }
}

/// Tells whether the object is a record that a key of a role signs.
fn is_of_a_role(key: &ObjectKey) -> bool {
    !key.is_plain()
        && !matches!(
            key,
            ObjectKey::Repository
                | ObjectKey::Roster(_)
                | ObjectKey::Vouched(_)
                | ObjectKey::Pack(_)
                | ObjectKey::Contents(_)
        )
}
