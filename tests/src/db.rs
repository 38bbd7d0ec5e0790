//! Databases with everything that is easily lost, and the comparison of a restored one with its source.

use std::fmt::Write as _;

use anyhow::{Result, bail};

use crate::postgres::{Cluster, literal, quoted};

/// Database names that careless code takes for options, connection strings, shell or SQL. A backup has to hold them
/// all.
pub const ODD_NAMES: &[&str] = &[
    "dbname=x host=evil",
    "-Fc",
    "with space and \"quotes\"",
    "semi;colon 'and' $(touch nothing)",
    "slash/dot.. and %41?x=y#z",
    "Größe",
    "new\nline",
];

/// The name of the database that [`fill`] puts most objects into.
pub const MAIN: &str = "shop";

/// Names of the roles that [`fill`] makes.
pub const ROLES: &[&str] = &["holdfast_owner", "holdfast_reader", "Odd \"role\" name"];

/// Fills a cluster: roles with passwords and settings, one database with objects of all kinds, one with pgbench's
/// tables, and one for each of [`ODD_NAMES`] with a table of one row.
///
/// # Errors
/// If the server refuses something.
pub fn fill(cluster: &Cluster) -> Result<()> {
    cluster.psql("postgres", ROLES_SQL)?;
    cluster.create_database(MAIN)?;
    cluster.psql(MAIN, MAIN_SQL)?;
    cluster.psql(
        "postgres",
        &format!("ALTER DATABASE {} SET work_mem = '8MB';", quoted(MAIN)),
    )?;
    cluster.pgbench("bench", 1)?;
    for name in ODD_NAMES {
        cluster.create_database(name)?;
        let sql = format!(
            "CREATE TABLE who (name text); INSERT INTO who VALUES ({});",
            literal(name)
        );
        cluster.psql(name, &sql)?;
    }
    Ok(())
}

const ROLES_SQL: &str = r#"
    CREATE ROLE holdfast_owner LOGIN PASSWORD 'owner''s password';
    CREATE ROLE holdfast_reader LOGIN PASSWORD 'reader' CONNECTION LIMIT 3 VALID UNTIL '2099-01-01';
    CREATE ROLE "Odd ""role"" name" NOLOGIN;
    GRANT "Odd ""role"" name" TO holdfast_reader;
    ALTER ROLE holdfast_reader SET statement_timeout = '5min';
"#;

const MAIN_SQL: &str = r#"
    CREATE SCHEMA sales AUTHORIZATION holdfast_owner;
    CREATE SCHEMA "Odd schema";
    CREATE TYPE sales.state AS ENUM ('open', 'paid', 'sent');
    CREATE DOMAIN sales.amount AS numeric(12, 2) CHECK (VALUE >= 0);

    CREATE TABLE sales.customer (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL,
        details jsonb NOT NULL DEFAULT '{}',
        tags text[],
        since timestamptz NOT NULL DEFAULT '2026-11-24 02:00:00+01'
    );
    INSERT INTO sales.customer (name, details, tags)
        SELECT 'customer ' || i, jsonb_build_object('number', i, 'text', repeat(md5(i::text), 10)), ARRAY['a', NULL, i::text]
        FROM generate_series(1, 5000) AS i;
    INSERT INTO sales.customer (name) VALUES (E'tab\t, newline\n, backslash \\, quote '' and ü 漢字 🦀'), ('\.');

    CREATE TABLE sales.purchase (
        id serial PRIMARY KEY,
        customer bigint NOT NULL REFERENCES sales.customer,
        state sales.state NOT NULL DEFAULT 'open',
        amount sales.amount NOT NULL,
        doubled numeric GENERATED ALWAYS AS (amount * 2) STORED,
        ratio double precision,
        picture bytea
    );
    INSERT INTO sales.purchase (customer, state, amount, ratio, picture)
        SELECT 1 + i % 5000, (ARRAY['open', 'paid', 'sent']::sales.state[])[1 + i % 3], i, 1.0 / (i + 1), decode(md5(i::text), 'hex')
        FROM generate_series(0, 9999) AS i;
    INSERT INTO sales.purchase (customer, amount, ratio) VALUES (1, 0, 'NaN'), (1, 0, '-Infinity');
    CREATE INDEX purchase_open ON sales.purchase (customer) WHERE state = 'open';

    CREATE TABLE "Odd schema"."Odd ""table""" ("a column" int, "SELECT" text, holdfast_row int);
    INSERT INTO "Odd schema"."Odd ""table""" VALUES (1, NULL, 2), (1, NULL, 2), (NULL, '', NULL);
    CREATE TABLE nothing ();
    INSERT INTO nothing DEFAULT VALUES;
    CREATE TABLE empty (id int);

    CREATE TABLE event (at date NOT NULL, what text) PARTITION BY RANGE (at);
    CREATE TABLE event_2025 PARTITION OF event FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE event_2026 PARTITION OF event FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    INSERT INTO event SELECT date '2025-07-01' + i, 'event ' || i FROM generate_series(1, 300) AS i;

    CREATE SEQUENCE ticket START 1000 INCREMENT 7;
    SELECT nextval('ticket'), nextval('ticket');

    CREATE VIEW sales.unpaid AS SELECT * FROM sales.purchase WHERE state = 'open';
    CREATE MATERIALIZED VIEW sales.by_state AS SELECT state, sum(amount) AS total FROM sales.purchase GROUP BY state;
    CREATE FUNCTION sales.count_customers() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM sales.customer';
    CREATE FUNCTION sales.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.since = now(); RETURN NEW; END';
    CREATE TRIGGER touched BEFORE UPDATE ON sales.customer FOR EACH ROW EXECUTE FUNCTION sales.touch();
    COMMENT ON TABLE sales.customer IS 'who buys';
    GRANT USAGE ON SCHEMA sales TO holdfast_reader;
    GRANT SELECT ON ALL TABLES IN SCHEMA sales TO holdfast_reader;
    ALTER TABLE sales.purchase OWNER TO holdfast_owner;

    SELECT lo_from_bytea(70001, decode(repeat('00ff', 100000), 'hex')), lo_from_bytea(70002, 'a small one'), lo_from_bytea(70003, '');
"#;

/// Lists the definition of every object, but no rows.
const DEFINITIONS: &str = r"
    SELECT 'column', table_schema, table_name, column_name, data_type, is_nullable, column_default, generation_expression
        FROM information_schema.columns WHERE table_schema NOT IN ('pg_catalog', 'information_schema');
    SELECT 'index', schemaname, indexname, indexdef FROM pg_indexes
        WHERE schemaname NOT IN ('pg_catalog', 'information_schema');
    SELECT 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace);
    SELECT 'view', schemaname, viewname, definition FROM pg_views
        WHERE schemaname NOT IN ('pg_catalog', 'information_schema');
    SELECT 'function', oid::regprocedure, md5(pg_get_functiondef(oid)) FROM pg_proc
        WHERE pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace);
    SELECT 'trigger', tgrelid::regclass, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal;
    SELECT 'sequence', schemaname, sequencename, start_value, increment_by, last_value FROM pg_sequences;
    SELECT 'owner', oid::regclass, relowner::regrole, relacl FROM pg_class
        WHERE relkind IN ('r', 'p', 'v', 'm', 'S') AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace);
    SELECT 'comment', obj_description(oid, 'pg_class') FROM pg_class WHERE obj_description(oid, 'pg_class') IS NOT NULL
        AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace);
    SELECT 'large object', oid, length(lo_get(oid)), md5(lo_get(oid)) FROM pg_largeobject_metadata;
";

/// Makes one query for each table, which counts the rows and makes a digest of them that does not depend on their
/// order. The alias is a name that no column has, since `alias::text` would otherwise be that column.
const TABLES: &str = r"
    SELECT format(
        'SELECT ''rows'', %L, count(*), md5(coalesce(string_agg(md5(holdfast_whole_row::text), '''' ORDER BY md5(holdfast_whole_row::text)), '''')) FROM %s AS holdfast_whole_row',
        oid::regclass, oid::regclass)
    FROM pg_class WHERE relkind IN ('r', 'm') AND relpersistence = 'p'
        AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
    ORDER BY oid::regclass::text
    \gexec
";

/// Describes the content of a database, one fact per line: number and digest of every table's rows, and every
/// definition.
///
/// # Errors
/// If the server does not answer.
pub fn fingerprint(cluster: &Cluster, database: &str) -> Result<String> {
    let facts = cluster.psql(database, &format!("SET search_path = '';\n{DEFINITIONS}\n{TABLES}"))?;
    // Sorted here, since some facts come in the order of object ids, which a restore changes.
    let mut lines: Vec<&str> = facts.lines().collect();
    lines.sort_unstable();
    Ok(lines.join("\n"))
}

/// Describes the properties of a database: encoding, locale, owner, limit, comment, privileges, settings.
///
/// # Errors
/// If the server does not answer.
pub fn properties(cluster: &Cluster, database: &str) -> Result<String> {
    let name = literal(database);
    cluster.psql(
        "postgres",
        &format!(
            "SELECT 'database', pg_encoding_to_char(encoding), datcollate, datctype, to_jsonb(d) ->> 'datlocprovider',
                 coalesce(to_jsonb(d) ->> 'daticulocale', to_jsonb(d) ->> 'datlocale'), datdba::regrole, datconnlimit,
                 datistemplate, shobj_description(oid, 'pg_database') FROM pg_database d WHERE datname = {name};
             SELECT 'privilege', grantee::regrole, privilege_type, is_grantable FROM pg_database, aclexplode(datacl)
                 WHERE datname = {name} ORDER BY grantee::regrole::text, 3;
             SELECT 'setting', setrole::regrole, setting FROM pg_db_role_setting, unnest(setconfig) AS setting
                 WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = {name}) ORDER BY setrole::regrole::text, 3;"
        ),
    )
}

/// Describes the objects of a cluster outside of its databases: roles with the hashes of their passwords, memberships,
/// settings.
///
/// # Errors
/// If the server does not answer.
pub fn globals_fingerprint(cluster: &Cluster) -> Result<String> {
    cluster.psql(
        "postgres",
        r"SELECT 'role', rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,
                 rolconnlimit, rolpassword, rolvaliduntil FROM pg_authid WHERE rolname !~ '^pg_';
          SELECT 'member', roleid::regrole, member::regrole, admin_option FROM pg_auth_members
              WHERE roleid::regrole::text !~ '^pg_';
          SELECT 'setting', setrole::regrole, setconfig FROM pg_db_role_setting WHERE setdatabase = 0;",
    )
}

/// Compares a database with a restored one, which may have another name and be in another cluster.
///
/// # Errors
/// The lines that differ.
pub fn compare(source: (&Cluster, &str), restored: (&Cluster, &str)) -> Result<()> {
    let left = fingerprint(source.0, source.1)?;
    let right = fingerprint(restored.0, restored.1)?;
    differences(&left, &right)
        .map_err(|error| error.context(format!("{:?} was restored as {:?}", source.1, restored.1)))
}

/// Compares the roles of two clusters.
///
/// # Errors
/// The lines that differ.
pub fn compare_globals(source: &Cluster, restored: &Cluster) -> Result<()> {
    differences(&globals_fingerprint(source)?, &globals_fingerprint(restored)?)
}

fn differences(left: &str, right: &str) -> Result<()> {
    // Tables are compared as sets of rows, since a restored one may have another order.
    let sorted = |text: &'_ str| -> Vec<String> {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let a = sorted(left);
    let b = sorted(right);
    if a == b {
        return Ok(());
    }
    let mut text = String::new();
    for line in a.iter().filter(|line| !b.contains(line)) {
        let _ = writeln!(text, "- {line}");
    }
    for line in b.iter().filter(|line| !a.contains(line)) {
        let _ = writeln!(text, "+ {line}");
    }
    bail!("they differ:\n{text}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::process::Stdio;

    use super::*;

    #[test]
    fn what_pg_dump_brings_back_is_equal_and_a_changed_row_is_seen() {
        let cluster = Cluster::start().unwrap();
        fill(&cluster).unwrap();
        let names = cluster.databases().unwrap();
        for name in ODD_NAMES {
            assert!(names.iter().any(|found| found == name), "{name:?} is not in {names:?}");
        }
        for (index, name) in names.iter().enumerate() {
            let copy = format!("copy {index}");
            cluster.create_database(&copy).unwrap();
            let mut dump = cluster
                .client("pg_dump", name)
                .arg("-Fc")
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let restored = cluster
                .client("pg_restore", "")
                .args(["--exit-on-error", "-d", &copy])
                .stdin(dump.stdout.take().unwrap())
                .status()
                .unwrap();
            assert!(dump.wait().unwrap().success() && restored.success(), "{name:?}");
            compare((&cluster, name), (&cluster, &copy)).unwrap();
        }
        let copy = format!("copy {}", names.iter().position(|name| name == MAIN).unwrap());
        cluster
            .psql(&copy, "UPDATE sales.purchase SET ratio = 0 WHERE id = 77")
            .unwrap();
        let difference = format!("{:?}", compare((&cluster, MAIN), (&cluster, &copy)).unwrap_err());
        assert!(difference.contains("sales.purchase"), "{difference}");
    }
}
