//! What a restore refuses, and what it leaves alone.

use std::fs;

use holdfast_tests::output::code;
use holdfast_tests::postgres::Cluster;
use holdfast_tests::tree::{self, Shape};
use holdfast_tests::{Result, Sandbox, db, ensure};

#[test]
fn a_directory_with_something_in_it_is_refused_unless_asked_for() -> Result<()> {
    let files = tempfile::tempdir()?;
    let uploads = files.path().join("uploads");
    tree::generate(
        &uploads,
        1,
        Shape {
            files: 10,
            ..Shape::default()
        },
    )?;
    let sandbox = Sandbox::builder().directory("uploads", &uploads).build()?;
    sandbox.run(&["run"])?.good()?;
    let to = sandbox.path("restored");
    fs::create_dir(&to)?;
    fs::write(to.join("mine"), "precious")?;
    let to_text = to.display().to_string();
    sandbox
        .run(&["restore", "volume", "uploads", "--to", &to_text])?
        .expect(code::REFUSED)?;
    assert_eq!(fs::read_dir(&to)?.count(), 1);
    sandbox
        .run(&["restore", "volume", "uploads", "--to", &to_text, "--overwrite"])?
        .good()?;
    tree::compare_except(&uploads, &to, |path| {
        path == std::path::Path::new("") || path.ends_with("mine")
    })
}

#[test]
fn a_database_with_something_in_it_is_refused_unless_asked_for() -> Result<()> {
    let source = Cluster::start()?;
    db::fill(&source)?;
    let sandbox = Sandbox::builder().postgres("main", &source).build()?;
    sandbox.run(&["run"])?.good()?;
    let before = db::fingerprint(&source, db::MAIN)?;
    let to = source.url_with_password(db::MAIN);
    let what = format!("main/{}", db::MAIN);
    sandbox
        .run(&["restore", "database", &what, "--to", &to])?
        .expect(code::REFUSED)?;
    assert_eq!(db::fingerprint(&source, db::MAIN)?, before);

    source.psql(db::MAIN, "DROP SCHEMA sales CASCADE; DELETE FROM event;")?;
    sandbox
        .run(&["restore", "database", &what, "--to", &to, "--overwrite"])?
        .good()?;
    assert_eq!(db::fingerprint(&source, db::MAIN)?, before);
    // Under another name, beside it.
    let beside = source.url_with_password("shop beside");
    sandbox
        .run(&["restore", "database", &what, "--create", "--to", &beside])?
        .good()?;
    db::compare((&source, db::MAIN), (&source, "shop beside"))
}

#[test]
fn a_dry_run_changes_nothing_and_tells_what_it_would_do() -> Result<()> {
    let files = tempfile::tempdir()?;
    let uploads = files.path().join("uploads");
    tree::generate(
        &uploads,
        1,
        Shape {
            files: 10,
            ..Shape::default()
        },
    )?;
    let sandbox = Sandbox::builder().directory("uploads", &uploads).build()?;
    sandbox.run(&["run"])?.good()?;
    let to = sandbox.path("restored");
    let to_text = to.display().to_string();
    sandbox
        .run(&["restore", "volume", "uploads", "--to", &to_text, "--dry-run"])?
        .good()?
        .says("uploads")?;
    ensure!(!to.exists(), "a dry run made {}", to.display());
    Ok(())
}

#[test]
fn what_is_not_there_is_said() -> Result<()> {
    let files = tempfile::tempdir()?;
    let uploads = files.path().join("uploads");
    tree::generate(
        &uploads,
        1,
        Shape {
            files: 5,
            ..Shape::default()
        },
    )?;
    let sandbox = Sandbox::builder().directory("uploads", &uploads).build()?;
    sandbox.run(&["run"])?.good()?;
    let to = sandbox.path("restored").display().to_string();
    for what in [
        "nothing",
        "uploads@2001-01-01T00:00:00Z",
        "00000000000000000000000000000000",
    ] {
        let output = sandbox.run(&["restore", "volume", what, "--to", &to])?.says(what)?;
        ensure!(output.status.code() != Some(code::GOOD), "{what} was restored");
    }
    Ok(())
}

#[test]
fn retention_keeps_the_last_and_tells_in_a_dry_run() -> Result<()> {
    let files = tempfile::tempdir()?;
    let uploads = files.path().join("uploads");
    tree::generate(
        &uploads,
        1,
        Shape {
            files: 5,
            ..Shape::default()
        },
    )?;
    let sandbox = Sandbox::builder()
        .directory("uploads", &uploads)
        .section("retention", "local = { daily = \"7d\" }")?
        .build()?;
    sandbox.run(&["run", "--class", "daily"])?.good()?;
    sandbox.run(&["run", "--class", "daily", "--cleanup"])?.good()?;
    let before = sandbox.objects(&sandbox.repository())?;
    sandbox.run(&["cleanup", "--dry-run"])?.good()?;
    assert_eq!(sandbox.objects(&sandbox.repository())?, before);
    assert_eq!(sandbox.artefacts()?.len(), 2);
    Ok(())
}
