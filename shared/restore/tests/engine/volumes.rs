//! Volumes: empty ones, ones with content, ones in use; and engines that go away.

use std::sync::Arc;
use std::time::Duration;

use holdfast_docker::facts::Labels;
use holdfast_fault::Retryable as _;
use holdfast_format::{ArtefactId, ArtefactKind};
use holdfast_restore::{ExistingFiles, FilesOptions, FilesReport, Progress, Selection, VolumeError, VolumeTarget};
use holdfast_tests::wait_until;
use tokio::task::JoinHandle;

use crate::common::{Draft, noise};
use crate::support::{Setup, files, large, said, volume};

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn an_empty_volume_is_filled_and_a_missing_one_is_made() {
    let setup = Setup::new();
    let artefact = volume(&setup.repo, "files", &files());
    setup.docker(&["volume", "create", "empty"]);
    let target = setup.look("empty", ExistingFiles::Refuse).unwrap();
    let report = setup.restore(target, artefact).unwrap();
    assert_eq!((report.lost, report.selected.files), (0, 2));
    setup.assert_whole("empty");

    let target = setup.look("new", ExistingFiles::Refuse).unwrap();
    let labels = Labels::from([("team".to_owned(), "web".to_owned())]);
    let target = target.with_labels(labels);
    assert!(
        setup.engine.docker(["volume", "inspect", "new"]).is_err(),
        "a look made a volume"
    );
    setup.restore(target, artefact).unwrap();
    setup.assert_whole("new");
    let labels = setup.docker(&["volume", "inspect", "--format", "{{.Labels}}", "new"]);
    assert_eq!(labels, "map[team:web]");
}

#[test]
fn a_volume_with_content_is_refused_completed_or_replaced_again_and_again() {
    let setup = Setup::new();
    let artefact = volume(&setup.repo, "files", &files());
    setup.docker(&["volume", "create", "full"]);
    let folder = setup.engine.volume_folder("full");
    std::fs::write(folder.join("mine"), "mine").unwrap();
    std::fs::write(folder.join("one"), "another one").unwrap();

    let error = setup.look("full", ExistingFiles::Refuse).unwrap_err();
    assert!(matches!(error, VolumeError::NotEmpty { .. }), "{error}");
    assert!(!error.retry().is_later());
    assert_eq!(setup.content("full", "one").unwrap(), b"another one");

    for _ in 0..2 {
        let target = setup.look("full", ExistingFiles::Overwrite).unwrap();
        setup.restore(target, artefact).unwrap();
        assert_eq!(setup.content("full", "mine").unwrap(), b"mine");
        assert_eq!(setup.content("full", "one").unwrap(), b"one");
    }
    for _ in 0..2 {
        let target = setup.look("full", ExistingFiles::Replace).unwrap();
        setup.restore(target, artefact).unwrap();
        setup.assert_whole("full");
    }
}

#[test]
fn a_volume_stays_as_it_was_if_not_all_of_the_backup_can_be_read() {
    let setup = Setup::new();
    let artefact = volume(&setup.repo, "files", &files());
    setup.docker(&["volume", "create", "full"]);
    std::fs::write(setup.engine.volume_folder("full").join("mine"), "mine").unwrap();
    let last = setup.repo.open(artefact).manifest().packs.len() - 1;
    let key = crate::common::pack_key(&setup.repo.open(artefact), last);
    setup.repo.flip(&key);
    let target = setup.look("full", ExistingFiles::Replace).unwrap();
    let report = setup.restore(target, artefact).unwrap();
    assert!(report.lost > 0);
    assert_eq!(setup.content("full", "mine").unwrap(), b"mine");
    assert_eq!(setup.content("full", "folder/large"), None);
}

#[test]
fn a_volume_that_a_container_uses_is_refused_until_the_container_stops() {
    let setup = Setup::new();
    let artefact = volume(&setup.repo, "files", &files());
    setup.start("web", &["-v", "files:/files"]);
    for existing in [ExistingFiles::Refuse, ExistingFiles::Overwrite, ExistingFiles::Replace] {
        let error = setup.look("files", existing).unwrap_err();
        assert_eq!(said(&error), "volume files is mounted in web");
        assert!(error.retry().is_later());
    }
    setup.docker(&["pause", "web"]);
    setup.look("files", ExistingFiles::Refuse).unwrap_err();
    setup.docker(&["unpause", "web"]);
    setup.docker(&["stop", "web"]);
    let target = setup.look("files", ExistingFiles::Refuse).unwrap();
    setup.restore(target, artefact).unwrap();
    setup.assert_whole("files");
}

#[test]
fn the_engine_writes_what_no_path_leads_to_but_replaces_nothing() {
    let setup = Setup::new().without_paths();
    let artefact = volume(&setup.repo, "files", &files());
    setup.docker(&["volume", "create", "files"]);
    let target = setup.look("files", ExistingFiles::Replace).unwrap();
    setup.restore(target, artefact).unwrap();
    setup.assert_whole("files");
    let error = setup.look("files", ExistingFiles::Replace).unwrap_err();
    assert!(matches!(error, VolumeError::OutOfReach { .. }), "{error}");
    let error = setup.look("files", ExistingFiles::Refuse).unwrap_err();
    assert!(matches!(error, VolumeError::NotEmpty { .. }), "{error}");
    assert_eq!(setup.docker(&["ps", "--all", "--quiet"]), "", "a helper was left");
    assert_eq!(setup.left_behind(), [""; 0]);
}

#[test]
fn an_engine_that_is_away_is_named_and_the_next_attempt_restores_all() {
    let mut setup = Setup::new();
    let artefact = volume(&setup.repo, "files", &files());
    let target = setup.look("files", ExistingFiles::Refuse).unwrap();
    setup.engine.kill().unwrap();
    let error = setup.restore(target, artefact).unwrap_err();
    assert!(matches!(error, VolumeError::Engine(_)), "{error}");
    assert!(error.retry().is_later(), "{}", said(&error));
    let error = setup.look("files", ExistingFiles::Refuse).unwrap_err();
    assert!(error.retry().is_later(), "{}", said(&error));
    setup.engine.restart().unwrap();
    let target = setup.look("files", ExistingFiles::Refuse).unwrap();
    setup.restore(target, artefact).unwrap();
    setup.assert_whole("files");
}

/// Captures a volume `large` that takes the engine a while to unpack.
fn large_volume(setup: &Setup) -> ArtefactId {
    let mut draft = Draft::new(&setup.repo, 8 << 20, 1 << 20);
    for spec in large() {
        draft.add(&spec);
    }
    draft.close_tar(ArtefactKind::Volume, "large")
}

/// Begins to restore the volume `large`, and returns when the engine unpacks it.
fn restore_half(
    setup: &Setup,
    target: VolumeTarget,
    artefact: ArtefactId,
    progress: Arc<Progress>,
) -> JoinHandle<Result<FilesReport, VolumeError>> {
    let opened = setup.repo.open(artefact);
    let restoring = target.restore(opened, Selection::all(), FilesOptions::default(), progress);
    let restoring = setup.repo.runtime.spawn(restoring);
    let folder = setup.engine.volume_folder("large");
    let unpacks = || Ok(restoring.is_finished() || folder.join("00").exists());
    wait_until("the engine unpacks", DEADLINE, unpacks).unwrap();
    if restoring.is_finished() {
        panic!(
            "the restore ended too early: {:?}",
            setup.repo.runtime.block_on(restoring)
        );
    }
    restoring
}

#[test]
fn an_engine_that_goes_away_in_the_middle_ends_the_restore_and_the_next_one_completes_it() {
    let mut setup = Setup::new().without_paths();
    let artefact = large_volume(&setup);
    setup.docker(&["volume", "create", "large"]);
    let target = setup.look("large", ExistingFiles::Refuse).unwrap();
    let restoring = restore_half(&setup, target, artefact, Arc::default());
    setup.engine.kill().unwrap();
    let error = setup.repo.runtime.block_on(restoring).unwrap().unwrap_err();
    assert!(error.retry().is_later(), "{}", said(&error));

    setup.engine.restart().unwrap();
    let error = setup.look("large", ExistingFiles::Refuse).unwrap_err();
    assert!(matches!(error, VolumeError::NotEmpty { .. }), "{error}");
    let target = setup.look("large", ExistingFiles::Overwrite).unwrap();
    setup.restore(target, artefact).unwrap();
    for number in [0, 47, 95] {
        assert!(setup.content("large", &format!("{number:02}")).unwrap() == noise(1 << 20, number));
    }
}

#[test]
fn a_restore_that_is_told_to_stop_says_that_the_volume_holds_a_part() {
    let setup = Setup::new().without_paths();
    let artefact = large_volume(&setup);
    let target = setup.look("large", ExistingFiles::Refuse).unwrap();
    let progress = Arc::<Progress>::default();
    let restoring = restore_half(&setup, target, artefact, progress.clone());
    progress.stop();
    let error = setup.repo.runtime.block_on(restoring).unwrap().unwrap_err();
    assert!(matches!(error, VolumeError::Stopped { .. }), "{}", said(&error));
    assert_eq!(setup.docker(&["ps", "--all", "--quiet"]), "", "a helper was left");
}
