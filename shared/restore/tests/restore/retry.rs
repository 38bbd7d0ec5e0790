//! Failures of a restore that are worth another attempt, and those that are not.

use std::io;

use holdfast_fault::{Retry, Retryable as _};
use holdfast_format::{ObjectKey, PackId};
use holdfast_restore::{CheckError, DatabaseError, FilesError, PackError, PackFault, StreamError};

fn pack(fault: PackFault) -> PackError {
    PackError {
        object: ObjectKey::Pack(PackId::from_bytes([7; 32])),
        fault,
        source: None,
    }
}

fn away() -> PackError {
    pack(PackFault::Unavailable { retry: Retry::Later })
}

#[test]
fn a_place_that_is_away_is_asked_again_whatever_is_restored() {
    assert_eq!(StreamError::Pack(away()).retry(), Retry::Later);
    assert_eq!(CheckError::Pack(away()).retry(), Retry::Later);
    assert_eq!(FilesError::Stream(away().into()).retry(), Retry::Later);
    let database = DatabaseError::Stream {
        database: "shop".to_owned(),
        source: Box::new(away().into()),
    };
    assert_eq!(database.retry(), Retry::Later);
}

#[test]
fn a_damaged_pack_and_a_missing_key_stay_so() {
    let needed = vec!["0123456789ABCDEF".to_owned()];
    let damaged = PackFault::Damaged("its SHA-256 is another".to_owned());
    for fault in [PackFault::Missing, damaged, PackFault::NoKey { needed }] {
        assert_eq!(
            StreamError::Pack(pack(fault.clone())).retry(),
            Retry::Never,
            "{fault:?}"
        );
    }
}

#[test]
fn a_full_disk_stays_full_and_an_interrupted_write_is_repeated() {
    let files = |kind: io::ErrorKind| FilesError::Write {
        path: "etc/hosts".to_owned(),
        source: kind.into(),
    };
    for (kind, retry) in [
        (io::ErrorKind::StorageFull, Retry::Never),
        (io::ErrorKind::PermissionDenied, Retry::Never),
        (io::ErrorKind::Interrupted, Retry::Later),
    ] {
        assert_eq!(files(kind).retry(), retry, "{kind}");
        assert_eq!(StreamError::Write(kind.into()).retry(), retry, "{kind}");
    }
}
