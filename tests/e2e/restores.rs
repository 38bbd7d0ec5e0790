//! Restores that are refused, and things that a restore leaves alone.

use std::fs;

use holdfast_tests::output::code;
use holdfast_tests::postgres::Cluster;
use holdfast_tests::tree::{self, Scratch};
use holdfast_tests::{Result, Sandbox, db, ensure};

#[test]
fn a_directory_with_something_in_it_is_refused_unless_asked_for() -> Result<()> {
    let uploads = Scratch::few(10)?;
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
    // Restores under another name, beside the original.
    let beside = source.url_with_password("shop beside");
    sandbox
        .run(&["restore", "database", &what, "--create", "--to", &beside])?
        .good()?;
    db::compare((&source, db::MAIN), (&source, "shop beside"))
}

/// A database of another encoding and locale, with everything that can be set for a database as a whole.
const LEGACY: &str = r#"
    CREATE ROLE legacy_owner;
    CREATE ROLE legacy_app LOGIN;
    COMMENT ON ROLE legacy_app IS U&'Gr\00f6\00dfe';
    CREATE DATABASE "Old shop" TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'
        LOCALE_PROVIDER icu ICU_LOCALE 'de' OWNER legacy_owner CONNECTION LIMIT 7;
    COMMENT ON DATABASE "Old shop" IS 'it''s \ old';
    ALTER DATABASE "Old shop" SET search_path = "Odd, one", public;
    ALTER DATABASE "Old shop" SET work_mem = '9MB';
    ALTER ROLE legacy_app IN DATABASE "Old shop" SET statement_timeout = '5min';
    REVOKE ALL ON DATABASE "Old shop" FROM PUBLIC;
    GRANT CONNECT ON DATABASE "Old shop" TO legacy_app WITH GRANT OPTION;
    CREATE DATABASE house_template TEMPLATE template0 IS_TEMPLATE true;
"#;

#[test]
fn a_database_is_made_as_it_was() -> Result<()> {
    let source = Cluster::start()?;
    let other = Cluster::start()?;
    source.psql("postgres", LEGACY)?;
    let content = r#"CREATE SCHEMA "Odd, one"; CREATE TABLE public.word AS SELECT U&'Gr\00f6\00dfe' AS word"#;
    source.psql("Old shop", content)?;
    // A setting that every session of the dumping user gets, unless the session overrides it.
    source.psql("postgres", "ALTER ROLE postgres SET client_encoding = 'LATIN1'")?;
    let sandbox = Sandbox::builder().postgres("main", &source).build()?;
    sandbox.run(&["run"])?.good()?;
    let restore = |database: &str, options: &[&str]| {
        let to = other.url_with_password(database);
        let fixed = ["restore", "database", "main/Old shop", "--to", to.as_str()];
        sandbox.run(&[&fixed, options].concat())
    };
    let word = "SELECT encode(convert_to(word, 'LATIN1'), 'hex') FROM public.word";

    // Refused before anything is made, in a dry run, too.
    other.create_database("in UTF8")?;
    for options in [&[][..], &["--dry-run"]] {
        restore("in UTF8", options)?.expect(code::REFUSED)?.says("LATIN1")?;
        restore("nowhere", options)?.expect(code::REFUSED)?;
    }
    restore(&"n".repeat(64), &["--create"])?.says("63 bytes")?;

    // Without the roles, the other properties are applied, and the rest is named.
    restore("no roles", &["--create"])?.good()?.says("legacy_owner")?;
    let properties = db::properties(&other, "no roles")?;
    ensure!(properties.contains("LATIN1|C|C|i|de|postgres|7|"), "{properties}");
    ensure!(
        !properties.contains("privilege|-|"),
        "everybody may connect: {properties}"
    );

    sandbox
        .run(&[
            "restore",
            "globals",
            "main",
            "--to",
            &other.url_with_password("postgres"),
        ])?
        .good()?;
    let comment = "SELECT encode(convert_to(shobj_description(oid, 'pg_authid'), 'UTF8'), 'hex') FROM pg_roles
        WHERE rolname = 'legacy_app'";
    assert_eq!(other.psql("postgres", comment)?.trim(), "4772c3b6c39f65");
    restore("Old shop", &["--create", "--dry-run"])?.good()?;
    restore("Old shop", &["--create"])?.good()?;
    assert_eq!(
        db::properties(&other, "Old shop")?,
        db::properties(&source, "Old shop")?
    );
    assert_eq!(other.psql("Old shop", word)?.trim(), "4772f6df65");
    restore("Old shop", &["--dry-run"])?.expect(code::REFUSED)?;

    restore("mine", &["--create", "--no-owner"])?.good()?;
    let properties = db::properties(&other, "mine")?;
    ensure!(properties.contains("LATIN1|C|C|i|de|postgres|7|"), "{properties}");

    let to = other.url_with_password("house_template");
    sandbox
        .run(&["restore", "database", "main/house_template", "--create", "--to", &to])?
        .good()?;
    assert_eq!(
        db::properties(&other, "house_template")?,
        db::properties(&source, "house_template")?
    );
    Ok(())
}

#[test]
fn a_dry_run_changes_nothing_and_tells_what_it_would_do() -> Result<()> {
    let uploads = Scratch::few(10)?;
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
    let uploads = Scratch::few(5)?;
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
    let uploads = Scratch::few(5)?;
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
