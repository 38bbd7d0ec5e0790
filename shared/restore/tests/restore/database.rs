use std::sync::Arc;

use holdfast_config::Secret;
use holdfast_fault::Retryable as _;
use holdfast_format::{ArtefactId, ArtefactKind, Content, Level};
use holdfast_postgres::Server;
use holdfast_restore::{
    CheckOptions, DatabaseError, DatabaseOptions, GlobalsOptions, Progress, check, replace_database, restore_database,
    restore_globals,
};

use crate::common::cluster::{Cluster, PASSWORD};
use crate::common::{Draft, Repo, pack_key};

fn server(cluster: &Cluster, database: &str) -> Server {
    Server::from_url(&cluster.url(database), Some(Secret::new(PASSWORD))).unwrap()
}

/// A database with some of everything that a dump has.
fn fill(cluster: &Cluster) {
    cluster.sql("postgres", "CREATE DATABASE shop");
    cluster.sql(
        "shop",
        "CREATE SCHEMA \"Odd.Schema\"; CREATE TABLE item (id int PRIMARY KEY, text text);
         INSERT INTO item SELECT n, md5(n::text) FROM generate_series(1, 20000) n;
         CREATE TABLE \"Odd.Schema\".\"T \"\"1\" (x int); INSERT INTO \"Odd.Schema\".\"T \"\"1\" VALUES (1), (2);
         CREATE TABLE part (n int) PARTITION BY RANGE (n); CREATE TABLE part_a PARTITION OF part FOR VALUES FROM (0) TO (10);
         INSERT INTO part SELECT generate_series(0, 9);
         CREATE INDEX ON item (text); SELECT lo_from_bytea(0, 'large');",
    );
}

fn store(repo: &Repo, dump: &[u8], adjust: fn(&mut holdfast_format::Manifest)) -> ArtefactId {
    let mut draft = Draft::new(repo, 200_000, 20_000);
    for (name, rows) in [
        ("\"Odd.Schema\".\"T \"\"1\"", 2),
        ("public.item", 20_000),
        ("public.part_a", 10),
    ] {
        draft.line(Content::Table(name.to_owned(), rows));
    }
    draft.adjust = adjust;
    draft.tools.insert("pg_dump".to_owned(), "15.1".to_owned());
    draft.dump(dump);
    draft.store(ArtefactKind::Database, "shop", Vec::new())
}

fn run(repo: &Repo, id: ArtefactId, server: &Server, options: &DatabaseOptions) -> Result<(), DatabaseError> {
    let progress = Arc::new(Progress::default());
    repo.runtime
        .block_on(restore_database(repo.open(id), server, options, progress))
        .map(|_| ())
}

fn create() -> DatabaseOptions {
    DatabaseOptions {
        create: true,
        ..DatabaseOptions::default()
    }
}

fn replace(repo: &Repo, id: ArtefactId, server: &Server) -> Result<(), DatabaseError> {
    let options = DatabaseOptions::default();
    let progress = Arc::new(Progress::default());
    repo.runtime
        .block_on(replace_database(repo.open(id), server, &options, progress))
        .map(|_| ())
}

#[test]
fn a_database_is_replaced_as_a_whole_under_its_sessions() {
    let repo = Repo::new();
    let cluster = Cluster::start();
    fill(&cluster);
    let id = store(&repo, &cluster.dump("shop"), |_| {});
    let shop = server(&cluster, "shop");
    let names = || {
        cluster.sql(
            "postgres",
            "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database",
        )
    };
    let before = names();
    cluster.sql("shop", "DELETE FROM item; CREATE TABLE newer ()");
    // A session that would not end by itself, and what a call before this one left.
    let session = repo.runtime.block_on(shop.connect()).unwrap();
    replace(&repo, id, &shop).unwrap();
    assert!(repo.runtime.block_on(session.simple_query("SELECT 1")).is_err());
    assert_eq!(cluster.sql("shop", "SELECT count(*) FROM item"), "20000");
    assert_eq!(cluster.sql("shop", "SELECT to_regclass('newer') IS NULL"), "t");
    assert_eq!(names(), before);
    let [a, b, c, d, ..] = openssl::sha::sha256(b"shop");
    let mark = hex::encode([a, b, c, d]);
    for left in ["new", "old"] {
        cluster.sql("postgres", &format!("CREATE DATABASE holdfast_{left}_{mark}"));
    }
    replace(&repo, id, &shop).unwrap();
    assert_eq!(names(), before);

    // While one is at it, another is refused.
    let other = repo.runtime.block_on(server(&cluster, "postgres").connect()).unwrap();
    let key = i64::from(u32::from_be_bytes([a, b, c, d])) | i64::from(u32::from_be_bytes(*b"hold")) << 32;
    let lock = format!("SELECT pg_advisory_lock({key})");
    repo.runtime.block_on(other.simple_query(&lock)).unwrap();
    let refused = replace(&repo, id, &shop).unwrap_err();
    assert!(
        refused.retry().is_later() && refused.to_string().contains("another restore"),
        "{refused}"
    );
    drop(other);

    // What cannot be restored leaves what is there.
    let wrong = store(&repo, b"no dump", |_| {});
    replace(&repo, wrong, &shop).unwrap_err();
    assert_eq!(cluster.sql("shop", "SELECT count(*) FROM item"), "20000");
    assert_eq!(names(), before);
}

#[test]
fn a_dump_comes_back_with_all_rows_or_not_at_all() {
    let repo = Repo::new();
    let cluster = Cluster::start();
    fill(&cluster);
    let dump = cluster.dump("shop");
    let id = store(&repo, &dump, |_| {});
    // A name that pg_restore would take for a connection string, if it saw it.
    let odd = server(&cluster, "dbname=shop host=/nowhere \"x\"");
    let refused = run(&repo, id, &odd, &DatabaseOptions::default()).unwrap_err();
    assert!(refused.is_refusal(), "{refused}");
    run(&repo, id, &odd, &create()).unwrap();
    let rows = "SELECT (SELECT count(*) FROM item), (SELECT count(*) FROM part), (SELECT count(*) FROM \"Odd.Schema\".\"T \"\"1\")";
    assert_eq!(cluster.sql(odd.database(), rows), "20000|10|2");

    // A database in use is left alone, unless it is asked for.
    cluster.sql(
        odd.database(),
        "DELETE FROM item WHERE id > 5; DROP TABLE \"Odd.Schema\".\"T \"\"1\"",
    );
    let refused = run(&repo, id, &odd, &DatabaseOptions::default()).unwrap_err();
    assert!(
        refused.is_refusal() && refused.to_string().contains("item"),
        "{refused}"
    );

    // A stream that is not what was captured: the last bytes never come, and all is rolled back.
    let overwrite = DatabaseOptions {
        overwrite: true,
        ..DatabaseOptions::default()
    };
    let wrong = store(&repo, &dump, |manifest| {
        manifest.captured.stream.digest = holdfast_format::Digest::from_bytes([7; 32]);
    });
    let error = run(&repo, wrong, &odd, &overwrite).unwrap_err();
    assert!(matches!(error, DatabaseError::Stream { .. }), "{error:?}");
    assert_eq!(cluster.sql(odd.database(), "SELECT count(*) FROM item"), "5");
    run(&repo, id, &odd, &overwrite).unwrap();
    assert_eq!(cluster.sql(odd.database(), "SELECT count(*) FROM item"), "20000");

    // And a database made for a dump that cannot be restored goes again.
    let new = server(&cluster, "new");
    run(&repo, wrong, &new, &create()).unwrap_err();
    assert_eq!(
        cluster.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'new'"),
        "0"
    );
}

#[test]
fn a_dump_that_the_server_refuses_says_why_and_changes_nothing() {
    let repo = Repo::new();
    let cluster = Cluster::start();
    fill(&cluster);
    cluster.sql("shop", "CREATE ROLE app; ALTER TABLE item OWNER TO app");
    let id = store(&repo, &cluster.dump("shop"), |_| {});
    let other = Cluster::start();
    let to = server(&other, "shop");
    let error = run(&repo, id, &to, &create()).unwrap_err();
    assert!(error.to_string().contains("role \"app\" does not exist"), "{error}");
    assert_eq!(
        other.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'shop'"),
        "0"
    );
    let no_owner = DatabaseOptions {
        no_owner: true,
        ..create()
    };
    run(&repo, id, &to, &no_owner).unwrap();
    assert_eq!(other.sql("shop", "SELECT count(*) FROM item"), "20000");
}

#[test]
fn checking_a_dump_reads_all_of_it() {
    let repo = Repo::new();
    let cluster = Cluster::start();
    fill(&cluster);
    let dump = cluster.dump("shop");
    let look = |id| {
        check(
            repo.open(id).origin(),
            Level::Decrypt,
            CheckOptions::default(),
            &Progress::default(),
        )
        .unwrap()
    };
    let good = store(&repo, &dump, |_| {});
    let report = look(good);
    assert_eq!(report.findings, []);
    let sealed: u64 = repo.open(good).manifest().packs.iter().map(|p| p.size).sum();
    assert_eq!(report.bytes_read, sealed, "each pack is read once");
    // Half a dump, truly captured: every hash is right, and it is worthless. Its table of contents is whole.
    let half = look(store(&repo, &dump[..dump.len() / 2], |_| {}));
    assert_eq!(half.total, 1);
    assert!(half.findings[0].problem.contains("cannot read the dump"), "{half:?}");
    let text = look(store(&repo, b"no dump at all", |_| {}));
    assert!(text.findings[0].problem.contains("cannot read the dump"), "{text:?}");
    // Several damaged packs are all named, although the stream ends at the first.
    let artefact = repo.open(good);
    let keys = [1, 3].map(|index| pack_key(&artefact, index));
    keys.iter().for_each(|key| repo.flip(key));
    let mut found: Vec<_> = look(good).findings.into_iter().map(|f| f.object).collect();
    let mut expected = keys.to_vec();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn roles_come_back_and_those_that_exist_stay() {
    let repo = Repo::new();
    let cluster = Cluster::start();
    let other = Cluster::start();
    cluster.sql(
        "postgres",
        "CREATE ROLE app LOGIN PASSWORD 'a;b'; CREATE ROLE \"O'Brien; --\" NOLOGIN; GRANT app TO \"O'Brien; --\";
         COMMENT ON ROLE app IS 'it''s; fine'; ALTER ROLE admin CONNECTION LIMIT 7",
    );
    let mut draft = Draft::new(&repo, 200_000, 20_000);
    let globals = [&cluster.globals()[..], b"\\! touch /tmp/holdfast-evil\nSELECT 1/0;\n"].concat();
    draft.dump(&globals);
    let id = draft.store(ArtefactKind::Globals, "globals", Vec::new());
    let restore = |overwrite| {
        let to = server(&other, "postgres");
        let options = GlobalsOptions { overwrite };
        repo.runtime
            .block_on(restore_globals(repo.open(id), &to, options))
            .unwrap()
    };
    let limit = "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'admin'";
    let report = restore(false);
    assert_eq!(report.existing, ["admin"]);
    let failed: Vec<&str> = report.failed.iter().map(|(_, why)| why.as_str()).collect();
    assert_eq!(failed, ["a command for psql, which is not run", "division by zero"]);
    assert_eq!(other.sql("postgres", limit), "-1");
    let member =
        "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member WHERE rolname = 'O''Brien; --'";
    assert_eq!(other.sql("postgres", member), "1");
    let report = restore(true);
    assert_eq!(report.existing.len(), 3);
    assert_eq!(other.sql("postgres", limit), "7");
    assert!(!std::path::Path::new("/tmp/holdfast-evil").exists());
}
