//! One command takes databases, files and configuration through the whole pipeline, and others restore them.

use std::fs;

use holdfast_tests::output::{Artefact, artefacts};
use holdfast_tests::postgres::Cluster;
use holdfast_tests::tree::{self, Scratch, Shape};
use holdfast_tests::{Result, Sandbox, db, ensure, s3};

const WHOLE_RUN: &[&str] = &[
    "run",
    "--backup-type",
    "full",
    "--verify",
    "--sync-offsite",
    "--cleanup",
    "--json",
];

#[test]
fn everything_comes_back_from_the_local_place() -> Result<()> {
    let source = Cluster::start()?;
    db::fill(&source)?;
    let files = tempfile::tempdir()?;
    let uploads = files.path().join("uploads");
    let etc = files.path().join("etc");
    tree::generate(&uploads, 1, Shape::default())?;
    tree::generate(
        &etc,
        2,
        Shape {
            files: 20,
            largest: 20_000,
            odd: false,
        },
    )?;
    let sandbox = Sandbox::builder()
        .postgres("main", &source)
        .directory("uploads", &uploads)
        .system(&[&etc])
        .target_directory("offsite")
        .section("retention", "local = { daily = \"7d\" }\noffsite = { daily = \"30d\" }")?
        .build()?;
    sandbox.run(WHOLE_RUN)?.good()?;

    let all = sandbox.artefacts()?;
    let named = |kind: &str| all.iter().filter(|artefact| artefact.kind == kind).collect::<Vec<_>>();
    let mut databases: Vec<&str> = named("database")
        .iter()
        .map(|artefact| artefact.name.as_str())
        .collect();
    databases.sort_unstable();
    let mut expected = source.databases()?;
    expected.sort_unstable();
    assert_eq!(databases, expected);
    assert_eq!(named("globals").len(), 1);
    assert_eq!(named("directory").len(), 1);
    assert_eq!(named("system").len(), 1);

    restore_databases(&sandbox, &source, &[])?;
    restore_files(&sandbox, &uploads, &[])?;
    // Restores from the off-site copy, without the local one.
    fs::remove_dir_all(sandbox.repository())?;
    restore_databases(&sandbox, &source, &["--place", "offsite"])?;
    restore_files(&sandbox, &uploads, &["--place", "offsite"])
}

/// Restores globals and then every database into a new cluster, and compares.
fn restore_databases(sandbox: &Sandbox, source: &Cluster, options: &[&str]) -> Result<()> {
    let target = Cluster::start()?;
    let to = target.url_with_password("postgres");
    sandbox
        .run(&[&["restore", "globals", "main", "--overwrite", "--to", &to], options].concat())?
        .good()?;
    db::compare_globals(source, &target)?;
    for name in source.databases()? {
        let what = format!("main/{name}");
        let to = target.url_with_password(&name);
        let command = ["restore", "database", &what, "--create", "--to", &to];
        sandbox.run(&[&command[..], options].concat())?.good()?;
        db::compare((source, &name), (&target, &name))?;
    }
    Ok(())
}

fn restore_files(sandbox: &Sandbox, uploads: &std::path::Path, options: &[&str]) -> Result<()> {
    let to = sandbox.path(&format!("restored {}", options.len()));
    let to_text = to.display().to_string();
    sandbox
        .run(&[&["restore", "volume", "uploads", "--to", &to_text], options].concat())?
        .good()?;
    tree::compare(uploads, &to)?;

    let part = sandbox.path(&format!("part {}", options.len()));
    let part_text = part.display().to_string();
    let command = ["restore", "files", "uploads", "--path", "odd/links", "--to", &part_text];
    sandbox.run(&[&command[..], options].concat())?.good()?;
    tree::compare(&uploads.join("odd/links"), &part.join("odd/links"))
}

#[test]
fn a_bucket_serves_as_well_as_a_directory() -> Result<()> {
    let server = s3::Server::start()?;
    server.create_bucket("backups")?;
    let uploads = Scratch::new(Shape::default())?;
    let sandbox = Sandbox::builder()
        .directory("uploads", &uploads)
        .target_s3("s3", server.port(), "backups/holdfast")
        .build()?;
    sandbox
        .run(WHOLE_RUN)?
        .good()?
        .keeps_quiet_about(s3::SECRET_ACCESS_KEY)?;

    let keys = server.keys("backups")?;
    for part in ["holdfast/RESTORE.md", "holdfast/restore.py", "holdfast/repository.pgp"] {
        ensure!(
            keys.iter().any(|key| key == part),
            "{part} is not in the bucket: {keys:?}"
        );
    }
    for part in ["/packs/", "/manifest", "/contents", "/restore-point"] {
        ensure!(
            keys.iter().any(|key| key.contains(part)),
            "no {part} in the bucket: {keys:?}"
        );
    }
    fs::remove_dir_all(sandbox.repository())?;
    restore_files(&sandbox, &uploads, &["--place", "s3"])?;
    sandbox
        .run(&["verify", "--all", "--level", "decrypt", "--place", "s3"])?
        .good()?;
    Ok(())
}

#[test]
fn the_repository_itself_may_be_in_a_bucket() -> Result<()> {
    let server = s3::Server::start()?;
    server.create_bucket("local")?;
    let uploads = Scratch::few(20)?;
    let sandbox = Sandbox::builder()
        .directory("uploads", &uploads)
        .repository_s3(server.port(), "local/repository")
        .build()?;
    sandbox.run(&["run", "--verify"])?.good()?;
    restore_files(&sandbox, &uploads, &[])
}

#[test]
fn list_show_and_status_tell_of_a_run_in_json() -> Result<()> {
    let uploads = Scratch::few(5)?;
    let sandbox = Sandbox::builder().directory("uploads", &uploads).build()?;
    let run = sandbox
        .run(&["run", "--verify", "--label", "first", "--json"])?
        .good()?;
    let printed: Vec<Artefact> = artefacts(&run.json()?);
    assert_eq!(printed.len(), 1);
    let listed = sandbox.artefact("uploads", "uploads")?;
    assert_eq!(listed.id, printed[0].id);
    ensure!(
        !listed.run.is_empty(),
        "the list does not say which run brought {listed:?}"
    );

    for what in [&listed.id, &listed.run] {
        let shown = sandbox.run(&["show", what, "--json"])?.good()?;
        let shown = artefacts(&shown.json()?);
        ensure!(
            shown.iter().any(|artefact| artefact.id == listed.id),
            "show {what} does not tell of it"
        );
    }
    sandbox
        .run(&["show", &listed.run])?
        .good()?
        .says("uploads")?
        .says("first")?;
    sandbox.run(&["list"])?.good()?.says("uploads")?;
    sandbox.run(&["status"])?.good()?.says("uploads")?;
    let status = sandbox.run(&["status", "--json"])?.good()?;
    ensure!(
        status.json()?.is_object() || status.json()?.is_array(),
        "status is neither object nor array"
    );
    Ok(())
}
