//! `[repository]`: the place that backups are written to first.

use serde::Serialize;

use super::s3::S3Options;
use crate::table::Table;
use crate::values::place::PlaceUrl;

/// `[repository]`: the repository's own place. Its name is always `local`.
#[derive(Clone, Debug, Serialize)]
pub struct Repository {
    /// A directory, `file:///directory` or `s3://bucket/prefix`. Required.
    pub url: PlaceUrl,
    /// The connection to the bucket, if the place is one.
    #[serde(flatten, skip_serializing_if = "S3Options::is_unset")]
    pub s3: S3Options,
}

impl Repository {
    pub(crate) fn read(mut table: Table<'_>) -> Option<Self> {
        let url = table.required("url");
        let s3 = S3Options::read(&mut table, url.as_ref());
        table.finish();
        Some(Self { url: url?, s3 })
    }
}
