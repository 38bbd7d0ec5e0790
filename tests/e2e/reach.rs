//! Servers that are reached by TLS alone, and of several the right one: backed up and restored by the same address.

use holdfast_tests::certificates::Authority;
use holdfast_tests::output::code;
use holdfast_tests::postgres::{Cluster, PASSWORD, literal, percent_encoded};
use holdfast_tests::{Result, Sandbox, db};
use toml::Value;

/// Puts an address and files of a certificate in the place of the only source's.
fn reach(sandbox: &Sandbox, url: &str) -> Result<()> {
    let url = url.to_owned();
    sandbox.edit_config(|table| {
        let server = table.get_mut("postgres").and_then(|list| list.get_mut(0));
        if let Some(server) = server.and_then(Value::as_table_mut) {
            server.insert("url".into(), url.into());
        }
    })
}

#[test]
fn a_server_that_wants_tls_is_backed_up_and_restored_with_its_certificate_checked() -> Result<()> {
    let authority = Authority::new()?;
    let other = Authority::new()?;
    let hba = "hostssl all backup 127.0.0.1/32 scram-sha-256\nhostssl all certified 127.0.0.1/32 cert\n";
    let source = Cluster::start_with_tls(&authority.certify("localhost")?, &authority.certificate(), hba)?;
    let password = literal(PASSWORD);
    source.psql(
        "postgres",
        &format!("CREATE ROLE backup LOGIN SUPERUSER PASSWORD {password}"),
    )?;
    source.psql("postgres", "CREATE ROLE certified LOGIN SUPERUSER")?;
    source.pgbench("bench", 1)?;
    let url = |user: &str, host: &str, database: &str, authority: &Authority| {
        let roots = authority.certificate().display().to_string();
        let port = source.port();
        format!("postgres://{user}@{host}:{port}/{database}?sslmode=verify-full&sslrootcert={roots}")
    };
    let sandbox = Sandbox::builder().postgres("main", &source).build()?;
    reach(&sandbox, &url("backup", "localhost", "postgres", &authority))?;
    sandbox.run(&["doctor"])?.good()?;
    sandbox.run(&["run", "--verify"])?.good()?;

    let with_password = |url: String| url.replacen('@', &format!(":{}@", percent_encoded(PASSWORD)), 1);
    let to = with_password(url("backup", "localhost", "again", &authority));
    sandbox
        .run(&["restore", "database", "main/bench", "--create", "--to", &to])?
        .good()?;
    db::compare((&source, "bench"), (&source, "again"))?;
    let own = authority.certify("certified")?;
    let to = format!(
        "{}&{}",
        url("certified", "localhost", "certified", &authority),
        own.in_url()
    );
    sandbox
        .run(&["restore", "database", "main/bench", "--create", "--to", &to])?
        .good()?;
    db::compare((&source, "bench"), (&source, "certified"))?;

    // Another name, or another authority, is another server.
    for wrong in [
        url("backup", "127.0.0.1", "no", &authority),
        url("backup", "localhost", "no", &other),
    ] {
        let to = with_password(wrong.clone());
        let output = sandbox.run(&["restore", "database", "main/bench", "--create", "--to", &to])?;
        output.says("sslrootcert")?.keeps_quiet_about(PASSWORD)?;
        reach(&sandbox, &wrong)?;
        sandbox.run(&["run"])?.expect(code::FAILURES)?.says("main")?;
    }
    Ok(())
}

#[test]
fn of_a_primary_and_its_standby_the_one_that_was_asked_for_is_dumped() -> Result<()> {
    let primary = Cluster::start()?;
    primary.pgbench("bench", 1)?;
    let standby = primary.standby()?;
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", standby.port(), primary.port());
    let sandbox = Sandbox::builder().postgres("main", &primary).build()?;
    for wanted in ["any", "primary", "prefer-standby"] {
        reach(
            &sandbox,
            &format!("postgres://postgres@{hosts}/postgres?target_session_attrs={wanted}"),
        )?;
        sandbox.run(&["run", "--verify"])?.good()?;
    }
    let password = percent_encoded(PASSWORD);
    let to = format!("postgres://postgres:{password}@{hosts}/again?target_session_attrs=read-write");
    sandbox
        .run(&["restore", "database", "main/bench", "--create", "--to", &to])?
        .good()?;
    db::compare((&primary, "bench"), (&primary, "again"))
}

#[test]
fn an_address_with_a_mistyped_parameter_is_told_before_anything_is_done() -> Result<()> {
    let source = Cluster::start()?;
    let sandbox = Sandbox::builder().postgres("main", &source).build()?;
    let to = format!("{}?sslmod=require", source.url("again"));
    for what in [&["restore", "globals", "main"][..], &["restore", "database", "main/x"]] {
        let output = sandbox.run(&[what, &["--to", &to]].concat())?.expect(code::USAGE)?;
        output.says("--to")?.says("did you mean `sslmode`?")?;
    }
    reach(&sandbox, &to)?;
    let output = sandbox.run(&["config", "check"])?.expect(code::USAGE)?;
    output.says("postgres[0].url")?.says("did you mean `sslmode`?")?;
    Ok(())
}
