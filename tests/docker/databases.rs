//! Databases in containers, found by their labels.

use holdfast_tests::docker::Network;
use holdfast_tests::output::code;
use holdfast_tests::postgres::Cluster;
use holdfast_tests::{Result, ensure, tools};

use crate::setup::{OBEDIENT, Setup};

const PASSWORD: &str = "only the container's own environment says so: 4711";

/// Starts a PostgreSQL server in a container of a service in a stack, with a volume of the stack for its data.
pub(crate) fn server(setup: &Setup, stack: &str, name: &str, options: &[&str]) -> Result<()> {
    let labels = Setup::labels(stack, name);
    let labels: Vec<&str> = labels.iter().flat_map(|label| ["--label", label.as_str()]).collect();
    let options = [&["--label", "holdfast.postgres=true"], &labels[..], options].concat();
    let container = format!("{stack}-{name}-1");
    let volume = format!("{stack}_{name}");
    setup.engine.start_postgres(&container, &volume, PASSWORD, &options)
}

/// Returns the address of a container in the first of its networks.
fn address(setup: &Setup, container: &str) -> Result<String> {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
    let all = setup.inspect(container, format)?;
    Ok(all.split(' ').next().unwrap_or_default().to_owned())
}

pub(crate) fn psql(setup: &Setup, container: &str, database: &str, sql: &str) -> Result<String> {
    let mut command = std::process::Command::new(tools::postgres_bin()?.join("psql"));
    command
        .env("PGPASSWORD", PASSWORD)
        .args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-U",
            "postgres",
            "-h",
            &address(setup, container)?,
        ])
        .args(["-d", database, "-c", sql]);
    tools::text_of(&mut command)
}

#[test]
fn databases_are_dumped_without_a_url_in_any_file() -> Result<()> {
    let setup = Setup::with("", Network::Host)?;
    setup.docker(&["network", "create", "shop"])?;
    server(&setup, "shop", "db", &["--network", "shop"])?;
    setup.start("web", &["-v", "files:/files", "--network", "shop"], OBEDIENT)?;
    psql(&setup, "shop-db-1", "postgres", "CREATE DATABASE \"shop/old\"")?;
    psql(
        &setup,
        "shop-db-1",
        "shop/old",
        "CREATE TABLE orders AS SELECT n, md5(n::text) FROM generate_series(1, 5000) n",
    )?;
    setup.sandbox.run(&["doctor"])?.says("databases in 1 container")?;
    let run = setup.sandbox.run(&["run", "--verify"])?.good()?;
    let run = run.keeps_quiet_about(PASSWORD)?;
    let run = run.says("shop_db is left out")?;
    drop(run);
    assert_eq!(
        setup.names("docker-postgres")?,
        ["shop-db-1", "shop-db-1/postgres", "shop-db-1/shop/old"]
    );
    assert_eq!(setup.names("docker")?, ["files"]);

    let target = Cluster::start()?;
    let to = target.url_with_password("again");
    let restore = [
        "restore",
        "database",
        "docker-postgres/shop-db-1/shop/old",
        "--create",
        "--to",
        &to,
    ];
    setup.sandbox.run(&restore)?.good()?;
    assert_eq!(target.psql("again", "SELECT count(*) FROM orders")?.trim(), "5000");
    let globals = target.url_with_password("postgres");
    let restore = ["restore", "globals", "docker-postgres/shop-db-1", "--to", &globals];
    setup.sandbox.run(&restore)?.good()?;
    Ok(())
}

#[test]
fn a_container_whose_databases_cannot_be_reached_is_named_and_the_rest_goes_on() -> Result<()> {
    let setup = Setup::with("", Network::Host)?;
    setup.docker(&["network", "create", "shop"])?;
    server(&setup, "shop", "db", &["--network", "shop"])?;
    // A container that is marked as PostgreSQL, and is none.
    setup.service(
        "shop",
        "liar",
        &["--network", "shop", "--label", "holdfast.postgres=true"],
        OBEDIENT,
    )?;
    setup.service(
        "shop",
        "asleep",
        &["--network", "shop", "--label", "holdfast.postgres=true"],
        "exit 0",
    )?;
    setup.docker(&["wait", "shop-asleep-1"])?;
    let run = setup.sandbox.run(&["run", "--source", "docker-postgres"])?;
    let run = run
        .expect(code::FAILURES)?
        .says("shop-liar-1")?
        .says("it does not run")?;
    ensure!(run.stdout.contains("shop-db-1/postgres"), "{}", run.stdout);
    assert_eq!(setup.names("docker-postgres")?, ["shop-db-1", "shop-db-1/postgres"]);
    Ok(())
}
