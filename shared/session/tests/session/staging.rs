//! The staging folder: on memory, or refused.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use holdfast_config::Settings;
use holdfast_service::is_in_memory;
use holdfast_session::{StagingFolderError, open_staging, staging_dir};

fn settings(dir: &Path, staging: &str) -> Settings {
    let file = dir.join("holdfast.toml");
    for name in ["backup.pub.asc", "owner.pub.asc", "reader.sec.asc"] {
        std::fs::write(dir.join(name), "not read here").unwrap();
    }
    let text = format!(
        "site = \"here\"\nstate_dir = \"state\"\n[repository]\nurl = \"{}\"\n[encryption]\n\
         recipients = [\"backup.pub.asc\"]\nowner = \"owner.pub.asc\"\nreader_key = \"reader.sec.asc\"\n[staging]\n{staging}",
        dir.join("place").display(),
    );
    std::fs::write(&file, text).unwrap();
    Settings::load(&file, &BTreeMap::new()).unwrap()
}

#[test]
fn a_folder_on_a_disk_is_refused_unless_the_words_are_said() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    assert!(!is_in_memory(dir.path()), "this test needs a target folder on a disk");
    let wanted = dir.path().join("staged");
    let line = format!("dir = \"{}\"\n", wanted.display());
    let refused = open_staging(&settings(dir.path(), &line));
    let Err(error @ StagingFolderError::OnDisk(_)) = refused else {
        panic!("it was opened")
    };
    assert!(
        error.to_string().contains("yes_plaintext_may_touch_the_disk"),
        "{error}"
    );
    let allowed = format!("{line}allow_disk = \"yes_plaintext_may_touch_the_disk\"\nmax_bytes = \"70MiB\"\n");
    let staging = open_staging(&settings(dir.path(), &allowed)).unwrap();
    assert_eq!((staging.dir(), staging.max_bytes()), (wanted.as_path(), 70 << 20));
}

#[test]
fn the_folder_is_for_its_owner_alone_and_has_a_name_of_the_deployments_own() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let wanted = dir.path().join("staged");
    let line = format!("dir = \"{}\"\n", wanted.display());
    assert_eq!(staging_dir(&settings(dir.path(), &line)).unwrap(), wanted);
    let mode = std::fs::metadata(&wanted).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    let by_default = [&dir, &other].map(|dir| staging_dir(&settings(dir.path(), "")).unwrap());
    assert!(
        by_default[0].starts_with("/dev/shm") && by_default[0] != by_default[1],
        "{by_default:?}"
    );
    for made in by_default {
        std::fs::remove_dir(made).unwrap();
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let line = format!("dir = \"{}\"\n", dir.path().join("file/staged").display());
    let refused = open_staging(&settings(dir.path(), &line));
    let Err(error @ StagingFolderError::Folder(..)) = refused else {
        panic!("it was made")
    };
    assert!(error.to_string().contains("file/staged"), "{error}");
}
