//! A source that fails is named, and does not hold up the others.

use std::fs;

use holdfast_tests::output::code;
use holdfast_tests::postgres::Cluster;
use holdfast_tests::tree::{self, Scratch, Shape};
use holdfast_tests::{Result, Sandbox, db, ensure, process};

#[test]
fn an_unreachable_server_is_named_and_the_others_go_on() -> Result<()> {
    let source = Cluster::start()?;
    source.pgbench("bench", 1)?;
    let uploads = Scratch::few(10)?;
    let sandbox = Sandbox::builder()
        .postgres("main", &source)
        .postgres_at("gone", process::free_port()?)
        .directory("uploads", &uploads)
        .target_directory("offsite")
        .build()?;
    let output = sandbox
        .run(&["run", "--verify", "--sync-offsite", "--timeout", "90s"])?
        .expect(code::FAILURES)?;
    output
        .says("gone")?
        .keeps_quiet_about(holdfast_tests::postgres::PASSWORD)?;
    sandbox.artefact("main", "bench")?;
    sandbox.artefact("uploads", "uploads")?;
    let to = sandbox.path("restored").display().to_string();
    sandbox
        .run(&["restore", "volume", "uploads", "--to", &to, "--place", "offsite"])?
        .good()?;
    Ok(())
}

#[test]
fn a_wrong_password_is_named_at_once_and_not_printed() -> Result<()> {
    let source = Cluster::start()?;
    let sandbox = Sandbox::builder().postgres("main", &source).build()?;
    fs::write(sandbox.path("postgres.password"), "not the password")?;
    let output = sandbox.run(&["run"])?.expect(code::FAILURES)?.says("main")?;
    output.keeps_quiet_about("not the password")?;
    Ok(())
}

#[test]
fn a_database_that_refuses_connections_is_left_out_and_an_unreadable_one_is_named() -> Result<()> {
    let source = Cluster::start()?;
    source.psql("postgres", "CREATE DATABASE closed ALLOW_CONNECTIONS false;")?;
    source.pgbench("bench", 1)?;
    let sandbox = Sandbox::builder().postgres("main", &source).build()?;
    sandbox.run(&["run"])?.good()?;
    sandbox.artefact("main", "bench")?;
    ensure!(
        sandbox.artefact("main", "closed").is_err(),
        "a database without connections was listed"
    );
    Ok(())
}

#[test]
fn a_table_that_is_locked_fails_in_its_time_and_alone() -> Result<()> {
    let source = Cluster::start()?;
    db::fill(&source)?;
    let sandbox = Sandbox::builder().postgres("main", &source).build()?;
    sandbox.edit_config(|table| {
        if let Some(server) = table
            .get_mut("postgres")
            .and_then(|list| list.get_mut(0))
            .and_then(toml::Value::as_table_mut)
        {
            server.insert("lock_timeout".into(), "1s".into());
        }
    })?;
    let mut lock = source
        .client("psql", "bench")
        .args(["-c", "BEGIN; LOCK TABLE pgbench_accounts; SELECT pg_sleep(600)"])
        .stdout(std::process::Stdio::null())
        .spawn()?;
    holdfast_tests::wait_until("the table is locked", std::time::Duration::from_secs(20), || {
        let sql = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'pgbench_accounts'::regclass";
        Ok(source.psql("bench", sql)?.trim() == "1")
    })?;
    let output = sandbox
        .run(&["run", "--timeout", "60s"])?
        .expect(code::FAILURES)?
        .says("bench")?;
    lock.kill()?;
    lock.wait()?;
    drop(output);
    sandbox.artefact("main", db::MAIN)?;
    ensure!(
        sandbox.artefact("main", "bench").is_err(),
        "a failed dump has a manifest"
    );
    assert_eq!(source.sessions("pg_dump")?, 0);
    Ok(())
}

#[test]
fn a_missing_directory_is_named() -> Result<()> {
    let files = tempfile::tempdir()?;
    let there = files.path().join("there");
    let gone = files.path().join("gone");
    tree::generate(
        &there,
        1,
        Shape {
            files: 5,
            ..Shape::default()
        },
    )?;
    let sandbox = Sandbox::builder()
        .directory("there", &there)
        .directory("gone", &gone)
        .build()?;
    sandbox.run(&["run"])?.expect(code::FAILURES)?.says("gone")?;
    sandbox.artefact("there", "there")?;
    Ok(())
}

#[test]
fn a_directory_that_is_a_file_is_named_and_not_tried_again() -> Result<()> {
    let files = tempfile::tempdir()?;
    let file = files.path().join("file");
    fs::write(&file, "one file")?;
    let sandbox = Sandbox::builder().directory("single", &file).build()?;
    sandbox.run(&["run"])?.expect(code::FAILURES)?.says("is no directory")?;
    ensure!(
        sandbox.artefact("single", "single").is_err(),
        "a file became the artefact of a directory"
    );
    Ok(())
}
