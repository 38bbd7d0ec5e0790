//! Databases of different encodings on one server, and the roles that they share: not every text of a server is UTF-8.

use holdfast_tests::output::code;
use holdfast_tests::postgres::{Cluster, literal};
use holdfast_tests::{Result, Sandbox, ensure};

/// Statements for the database `postgres`, which is UTF-8.
const DATABASES: &str = r"
    CREATE DATABASE plain;
    CREATE DATABASE shop TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
    CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C';
    CREATE DATABASE raw TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C';
    COMMENT ON DATABASE plain IS 'Größe';
    CREATE ROLE app LOGIN;
";

/// Statements for the database `latin`, whose sessions write LATIN1, wherever the text is kept.
const FROM_LATIN: &str = r#"
    CREATE ROLE U&"caf\00e9";
    COMMENT ON ROLE U&"caf\00e9" IS E'd\xe9j\xe0';
    ALTER ROLE app SET my.word TO E'caf\xe9';
    COMMENT ON DATABASE shop IS E'caf\xe9';
    COMMENT ON DATABASE latin IS E'caf\xe9';
    ALTER DATABASE shop SET my.word TO E'caf\xe9';
    ALTER DATABASE latin OWNER TO U&"caf\00e9";
    GRANT CREATE ON DATABASE latin TO U&"caf\00e9" WITH GRANT OPTION;
    CREATE TABLE U&"Gr\00f6\00dfe" AS SELECT U&'Gr\00f6\00dfe' AS word;
"#;

/// Statements for the database `raw`: bytes that are no text in any encoding.
const FROM_RAW: &str = r#"
    COMMENT ON DATABASE raw IS E'\xff\xfe a';
    ALTER DATABASE raw SET search_path TO E'caf\xe9', public;
    ALTER ROLE app IN DATABASE raw SET my.word TO E'\xc3\x28';
    CREATE TABLE public.plain AS SELECT E'\xff'::text AS bytes FROM generate_series(1, 7);
    DO $$ BEGIN
        EXECUTE convert_from(decode('435245415445205441424c45207075626c69632e22636166e9222061732053454c4543542031', 'hex'), 'SQL_ASCII');
    END $$;
"#;

/// Returns the bytes that a server keeps for a database and for its roles, in hex. Asks in `raw`, where nothing is
/// converted.
fn kept(cluster: &Cluster, database: &str) -> Result<String> {
    let name = literal(database);
    cluster.psql(
        "raw",
        &format!(
            "SET client_encoding = 'SQL_ASCII';
             SELECT 'database', encode(textsend(shobj_description(d.oid, 'pg_database')), 'hex'),
                 encode(textsend(pg_get_userbyid(datdba)::text), 'hex'),
                 (SELECT string_agg(encode(textsend(a::text), 'hex'), ',' ORDER BY a::text COLLATE \"C\") FROM unnest(datacl) a)
                 FROM pg_database d WHERE datname = {name};
             SELECT 'setting', encode(textsend(pg_get_userbyid(setrole)::text), 'hex'),
                 encode(textsend(array_to_string(setconfig, ';')), 'hex') FROM pg_db_role_setting
                 WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = {name}) ORDER BY setrole;
             SELECT 'role', encode(textsend(rolname::text), 'hex'),
                 encode(textsend(shobj_description(oid, 'pg_authid')), 'hex'), encode(textsend(array_to_string(rolconfig, ';')), 'hex')
                 FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY rolname COLLATE \"C\";"
        ),
    )
}

fn fill(cluster: &Cluster) -> Result<()> {
    cluster.psql("postgres", DATABASES)?;
    cluster.psql("latin", FROM_LATIN)?;
    cluster.psql("raw", FROM_RAW)?;
    cluster.psql("shop", "CREATE TABLE item AS SELECT generate_series(1, 5) AS n")?;
    Ok(())
}

#[test]
fn what_databases_of_different_encodings_share_comes_back_byte_by_byte() -> Result<()> {
    let source = Cluster::start()?;
    let other = Cluster::start()?;
    fill(&source)?;
    let sandbox = Sandbox::builder().postgres("main", &source).build()?;
    sandbox.run(&["run", "--verify"])?.good()?;

    let globals = sandbox.run(&[
        "restore",
        "globals",
        "main",
        "--to",
        &other.url_with_password("postgres"),
        "--json",
    ])?;
    let report = globals.good()?.json()?;
    ensure!(report["failed"].as_array().is_some_and(Vec::is_empty), "{report}");
    for name in ["plain", "shop", "latin", "raw"] {
        let what = format!("main/{name}");
        let to = other.url_with_password(name);
        let restored = sandbox.run(&["restore", "database", &what, "--create", "--to", &to, "--json"])?;
        let report = restored.good()?.json()?;
        ensure!(
            report["warnings"].as_array().is_some_and(Vec::is_empty),
            "{name}: {report}"
        );
    }
    for name in ["plain", "shop", "latin", "raw"] {
        assert_eq!(kept(&other, name)?, kept(&source, name)?, "{name}");
    }
    let left = other.psql(
        "postgres",
        "SELECT datname FROM pg_database WHERE datname LIKE 'holdfast%'",
    )?;
    assert_eq!(left.trim(), "", "what was made for text in other encodings goes again");
    let bytes = "SET client_encoding = 'SQL_ASCII'; SELECT DISTINCT encode(textsend(bytes), 'hex') FROM public.plain";
    assert_eq!(other.psql("raw", bytes)?.trim(), "ff");
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'";
    assert_eq!(other.psql("raw", tables)?.trim(), "2");

    // Tables are counted whatever their names are, and shown under names that people can read.
    let shown = sandbox
        .run(&["show", &sandbox.artefact("main", "raw")?.id, "--json"])?
        .good()?
        .json()?;
    assert_eq!(
        (&shown["counts"]["tables"], &shown["counts"]["rows"]),
        (&2.into(), &8.into()),
        "{shown}"
    );
    assert_eq!(shown["warnings"]["total"], 0, "{shown}");
    assert_eq!(shown["database"]["comment"]["base64"], "//4gYQ==", "{shown}");
    let shown = sandbox
        .run(&["show", &sandbox.artefact("main", "plain")?.id, "--json"])?
        .good()?
        .json()?;
    assert_eq!(shown["database"]["comment"], "Größe", "{shown}");
    Ok(())
}

#[test]
fn a_database_whose_name_is_no_utf8_fails_by_name_and_alone() -> Result<()> {
    let source = Cluster::start()?;
    fill(&source)?;
    source.psql("latin", r#"CREATE DATABASE U&"caf\00e9" TEMPLATE template0"#)?;
    let sandbox = Sandbox::builder().postgres("main", &source).build()?;
    let report = sandbox.run(&["run", "--json"])?.expect(code::FAILURES)?.json()?;
    let failures = report["failures"].as_array().cloned().unwrap_or_default();
    ensure!(failures.len() == 1, "not one failure alone: {report}");
    ensure!(
        failures[0]["subject"]
            .as_str()
            .is_some_and(|subject| subject.contains(r"caf\xe9")),
        "{report}"
    );
    ensure!(
        failures[0]["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("RENAME TO")),
        "{report}"
    );
    for name in ["plain", "shop", "latin", "raw"] {
        sandbox.artefact("main", name)?;
    }
    sandbox.run(&["doctor"])?.expect(code::FAILURES)?.says(r"caf\xe9")?;

    // Excluded by the name that the output shows.
    sandbox.edit_config(|table| {
        if let Some(server) = table
            .get_mut("postgres")
            .and_then(|list| list.get_mut(0))
            .and_then(toml::Value::as_table_mut)
        {
            server.insert("exclude".into(), toml::Value::Array(vec![r"caf\xe9".into()]));
        }
    })?;
    sandbox.run(&["run"])?.good()?;
    Ok(())
}

#[test]
fn globals_of_a_server_that_is_latin1_throughout_come_to_one_that_is_not() -> Result<()> {
    let source = Cluster::start()?;
    let other = Cluster::start()?;
    // A server as `initdb --encoding=LATIN1` makes it.
    source.psql(
        "template1",
        "ALTER DATABASE postgres RENAME TO was; \
         CREATE DATABASE postgres TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
    )?;
    source.psql(
        "postgres",
        r#"CREATE ROLE U&"Gr\00f6\00dfe" LOGIN; COMMENT ON ROLE U&"Gr\00f6\00dfe" IS U&'\00e9';"#,
    )?;
    let sandbox = Sandbox::builder().postgres("main", &source).build()?;
    sandbox.run(&["run"])?.good()?;
    let to = other.url_with_password("postgres");
    sandbox.run(&["restore", "globals", "main", "--to", &to])?.good()?;
    let role = "SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname LIKE 'Gr%'";
    assert_eq!(other.psql("postgres", role)?.trim(), "Größe|é");
    // A second restore recognises the existing roles by their names.
    sandbox
        .run(&["restore", "globals", "main", "--to", &to])?
        .good()?
        .says("Größe")?;
    Ok(())
}
