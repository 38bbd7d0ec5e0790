//! Places to test with, and a server that answers as the test says.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod fake;
pub mod s3;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use holdfast_format::{ArtefactId, ObjectKey, PackId};
use holdfast_storage::{Place, PlaceOptions};
use url::Url;

/// The place that a directory is.
pub async fn directory(path: &Path) -> Place {
    let options = PlaceOptions::new(Url::from_file_path(path).unwrap());
    Place::open("disk".parse().unwrap(), options).await.unwrap()
}

/// The options for a bucket behind this port of this host.
pub fn bucket_options(port: u16, bucket: &str, prefix: &str) -> PlaceOptions {
    PlaceOptions {
        endpoint: Some(Url::parse(&format!("http://127.0.0.1:{port}")).unwrap()),
        access_key_id: Some("AKIATESTTESTTEST".to_owned().into()),
        secret_access_key: Some("secret-of-the-test".to_owned().into()),
        allow_http: true,
        path_style: true,
        timeout: Duration::from_secs(20),
        retry_for: Duration::from_secs(1),
        ..PlaceOptions::new(Url::parse(&format!("s3://{bucket}/{prefix}")).unwrap())
    }
}

pub fn pack(n: u8) -> ObjectKey {
    ObjectKey::Pack(PackId::from_bytes([n; 32]))
}

pub fn contents(n: u8) -> ObjectKey {
    ObjectKey::Contents(ArtefactId::from_bytes([n; 16]))
}

/// Bytes that are not all alike.
pub fn noise(len: usize) -> Bytes {
    let mut state = 0x9e37_79b9_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(next).collect::<Vec<u8>>().into()
}
