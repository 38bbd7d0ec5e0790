//! `[[target]]`: off-site places.

use std::collections::BTreeMap;

use holdfast_format::{Class, PlaceName};
use serde::Serialize;

use super::s3::S3Options;
use crate::reader::one_of;
use crate::suggest;
use crate::table::Table;
use crate::values::bytesize::ByteSize;
use crate::values::period::Period;
use crate::values::place::PlaceUrl;

/// `[[target]]`: one off-site place, which holds a full copy of the repository.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// The place's name. Must not be `local`. Required.
    pub name: PlaceName,
    /// A directory, `file:///directory` or `s3://bucket/prefix`. Required.
    pub url: PlaceUrl,
    /// The connection to the bucket, if the place is one.
    #[serde(flatten, skip_serializing_if = "S3Options::is_unset")]
    pub s3: S3Options,
    /// The bucket's storage class for each class of backup: `{ monthly = "GLACIER" }`. Default: the bucket's own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub storage_class: BTreeMap<Class, String>,
    /// The largest amount of data that is sent in a second: `"10MiB"`. Default: no limit.
    pub bandwidth: Option<ByteSize>,
    /// The number of objects that are sent at the same time, 1 to 64. Default: 4.
    pub concurrency: usize,
    /// The time limit of one request. Default: `5m`.
    pub timeout: Period,
}

impl Target {
    pub(crate) fn read(mut table: Table<'_>) -> Option<Self> {
        let name: Option<PlaceName> = table.required("name");
        if name.as_ref().is_some_and(PlaceName::is_local) {
            table.fault("name", "must not be `local`, which is the repository's own place");
        }
        let url: Option<PlaceUrl> = table.required("url");
        if table.has("storage_class") && url.as_ref().is_some_and(|url| !url.is_s3()) {
            table.fault("storage_class", "is only for places with an s3:// url");
        }
        let s3 = S3Options::read(&mut table, url.as_ref());
        let storage_class = storage_classes(table.table("storage_class"));
        let bandwidth = table.optional("bandwidth");
        if bandwidth.is_some_and(|bandwidth: ByteSize| bandwidth.as_u64() < 1024) {
            table.fault("bandwidth", "must be at least 1KiB (per second)");
        }
        let concurrency = table.number("concurrency", 4, 1, 64);
        let timeout = table.or("timeout", Period::seconds(300));
        if timeout == Period::seconds(0) {
            table.fault("timeout", "must not be zero");
        }
        table.finish();
        Some(Self {
            name: name?,
            url: url?,
            s3,
            storage_class,
            bandwidth,
            concurrency,
            timeout,
        })
    }
}

fn storage_classes(mut table: Table<'_>) -> BTreeMap<Class, String> {
    let mut classes = BTreeMap::new();
    for (key, value) in table.rest_as_texts() {
        match key.parse::<Class>() {
            Ok(class) => {
                classes.insert(class, value);
            }
            Err(_) => {
                let words = || Class::ALL.iter().map(|class| class.as_str());
                let hint = suggest::hint(&key, words());
                table.fault(&key, format!("{}{hint}", one_of(words())));
            }
        }
    }
    classes
}
