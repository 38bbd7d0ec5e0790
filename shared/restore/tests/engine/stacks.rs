//! Whole stacks: planned, tried, restored, and restored again.

use std::path::Path;
use std::sync::{Arc, Mutex};

use holdfast_format::{Artefact, ArtefactId, ArtefactKind, RestorePoint, RunId};
use holdfast_restore::{
    Progress, StackError, StackOptions, StackPart, StackPlan, StackReport, StackSource, StackStep, StackWatch,
    VolumeError, restore_stack, volume_stacks,
};
use holdfast_tests::docker::Network;

use crate::containers::{database, globals, psql, server};
use crate::support::{Setup, files, said, volume};

/// Notes the steps that begin and end.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl StackWatch for Notes {
    fn begin(&self, step: &StackStep, bytes: Option<u64>) -> Arc<Progress> {
        let size = if bytes.is_some() { "sized" } else { "unsized" };
        self.0.lock().unwrap().push(format!("{step}, {size}"));
        Arc::default()
    }

    fn end(&self) {
        self.0.lock().unwrap().push("end".to_owned());
    }
}

/// Makes the record of a run that captured these artefacts of the stack `shop`.
fn point(artefacts: &[(ArtefactId, ArtefactKind, &str)]) -> RestorePoint {
    let artefact = |(id, kind, name): &(ArtefactId, ArtefactKind, &str)| {
        serde_json::json!({
            "source": "docker",
            "artefact": Artefact { id: *id, kind: *kind, name: (*name).to_owned() },
            "status": { "good": { "manifest": "11".repeat(32), "verified": null } },
        })
    };
    let point = serde_json::json!({
        "run": RunId::new(1_700_000_000_000, [7; 10]),
        "started": "2026-11-24T02:00:00Z",
        "recorded": "2026-11-24T02:10:00Z",
        "complete": true,
        "reason": "manual",
        "backup_type": "full",
        "class": "daily",
        "artefacts": artefacts.iter().map(artefact).collect::<Vec<_>>(),
        "images": [{
            "site": "home",
            "container": "shop-db-1",
            "stack": "shop",
            "service": "db",
            "image": "postgres:15",
            "id": "sha256:11",
            "digests": ["postgres@sha256:22"],
        }],
    });
    serde_json::from_value(point).unwrap()
}

fn restore(setup: &Setup, plan: &StackPlan, options: &StackOptions, notes: &Notes) -> Result<StackReport, StackError> {
    let source = StackSource {
        repository: &setup.repo.repository,
        keys: &setup.repo.secret,
        scratch: setup.repo.scratch.path(),
    };
    let restoring = restore_stack(plan, source, Some(&setup.host), options, notes);
    setup.repo.runtime.block_on(restoring)
}

#[test]
fn a_stack_comes_back_whole_under_another_name_and_again_in_its_place() {
    let setup = Setup::within(Network::Host);
    let point = point(&[
        (
            database(&setup.repo, "shop-db-1/shop"),
            ArtefactKind::Database,
            "shop-db-1/shop",
        ),
        (globals(&setup.repo, "shop-db-1"), ArtefactKind::Globals, "shop-db-1"),
        (
            volume(&setup.repo, "shop_files", &files()),
            ArtefactKind::Volume,
            "shop_files",
        ),
    ]);
    server(&setup, "trial-db-1", &[]);
    let file = setup.repo.scratch.path().join("images.yaml");
    let stacks = volume_stacks(&setup.repo.repository, &point);
    let stacks = setup.repo.runtime.block_on(stacks).unwrap();
    let plan = StackPlan::make(&point, "shop", "trial", &StackPart::ALL, &stacks, &file).unwrap();

    let notes = Notes::default();
    let dry_run = StackOptions {
        dry_run: true,
        ..StackOptions::default()
    };
    assert_eq!(restore(&setup, &plan, &dry_run, &notes).unwrap().done, 0);
    assert!(!file.exists() && setup.engine.docker(["volume", "inspect", "trial_files"]).is_err());
    assert!(notes.0.lock().unwrap().is_empty());

    let report = restore(&setup, &plan, &StackOptions::default(), &notes).unwrap();
    assert_eq!(report.done, 4);
    assert!(report.is_whole());
    let heard = notes.0.lock().unwrap().clone();
    let images = format!("images 1 container into {}, unsized", file.display());
    assert_eq!(
        heard,
        [
            images.as_str(),
            "end",
            "volume shop_files into trial_files, sized",
            "end",
            "globals shop-db-1 into trial-db-1, unsized",
            "end",
            "database shop-db-1/shop into trial-db-1/shop, sized",
            "end",
        ]
    );
    setup.assert_whole("trial_files");
    let labels = [
        "volume",
        "inspect",
        "--format",
        "{{index .Labels \"com.docker.compose.project\"}}",
        "trial_files",
    ];
    assert_eq!(setup.docker(&labels), "trial");
    assert_eq!(psql(&setup, "trial-db-1", "shop", "SELECT count(*) FROM orders"), "500");
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .contains("\"postgres@sha256:22\"")
    );

    // A second time, nothing is touched unless it may be replaced.
    std::fs::write(setup.engine.volume_folder("trial_files").join("mine"), "mine").unwrap();
    std::fs::remove_file(&file).unwrap();
    let error = restore(&setup, &plan, &StackOptions::default(), &notes).unwrap_err();
    assert!(
        matches!(error, StackError::Volume(VolumeError::NotEmpty { .. })),
        "{}",
        said(&error)
    );
    assert!(!file.exists(), "the images were written before all was looked at");
    let replace = StackOptions {
        replace: true,
        ..StackOptions::default()
    };
    for _ in 0..2 {
        assert_eq!(restore(&setup, &plan, &replace, &notes).unwrap().done, 4);
        setup.assert_whole("trial_files");
        assert_eq!(psql(&setup, "trial-db-1", "shop", "SELECT count(*) FROM orders"), "500");
    }
    assert_eq!(setup.left_behind(), [""; 0]);
}

#[test]
fn nothing_is_changed_if_the_last_of_a_stack_cannot_be_reached() {
    let setup = Setup::new();
    let point = point(&[
        (
            volume(&setup.repo, "shop_files", &files()),
            ArtefactKind::Volume,
            "shop_files",
        ),
        (globals(&setup.repo, "shop-db-1"), ArtefactKind::Globals, "shop-db-1"),
    ]);
    let stacks = volume_stacks(&setup.repo.repository, &point);
    let stacks = setup.repo.runtime.block_on(stacks).unwrap();
    let parts = [StackPart::Volumes, StackPart::Databases];
    let plan = StackPlan::make(&point, "shop", "shop", &parts, &stacks, Path::new("unused")).unwrap();
    let notes = Notes::default();
    let error = restore(&setup, &plan, &StackOptions::default(), &notes).unwrap_err();
    assert!(matches!(error, StackError::Container(_)), "{}", said(&error));
    assert!(setup.engine.docker(["volume", "inspect", "shop_files"]).is_err());
    assert!(notes.0.lock().unwrap().is_empty());
}
