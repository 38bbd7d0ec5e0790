//! Databases in containers, found by their labels.

use holdfast_tests::docker::Network;
use holdfast_tests::output::code;
use holdfast_tests::postgres::Cluster;
use holdfast_tests::{Context, Result, ensure, tools, wait_until};

use crate::setup::{DEADLINE, OBEDIENT, Setup};

const PASSWORD: &str = "only the container's own environment says so: 4711";

/// A user that runs nothing but the server, in the image, too.
const NOBODY: &str = "65534:65534";

/// Starts a PostgreSQL server, with the programs of this machine, in a container with a volume for its data.
pub(crate) fn server(setup: &Setup, stack: &str, name: &str, options: &[&str]) -> Result<()> {
    let bin = tools::postgres_bin()?;
    let bin = bin.display();
    let volume_name = format!("{stack}_{name}");
    let volume = format!("{volume_name}:/var/lib/postgresql/data");
    let script = format!(
        "exec 2>&1; if [ ! -e /var/lib/postgresql/data/pgdata ]; then \
             echo \"$POSTGRES_PASSWORD\" >/tmp/password && \
             {bin}/initdb --pgdata=/var/lib/postgresql/data/pgdata --username=postgres --pwfile=/tmp/password --auth=scram-sha-256 --encoding=UTF8 --locale=C >/dev/null && \
             echo 'host all all all scram-sha-256' >>/var/lib/postgresql/data/pgdata/pg_hba.conf; fi; \
         exec {bin}/postgres -D /var/lib/postgresql/data/pgdata -k /tmp -c listen_addresses='*' -c dynamic_shared_memory_type=mmap"
    );
    setup.docker(&["volume", "create", &volume_name])?;
    // The volume's folder belongs to the user that runs the server.
    let folder = setup.engine.volume_folder(&volume_name);
    tools::text_of(std::process::Command::new("chown").arg(NOBODY).arg(&folder))?;
    let password = format!("POSTGRES_PASSWORD={PASSWORD}");
    let machine = ["-v", "/usr:/usr:ro", "-v", "/lib:/lib:ro", "-v", "/lib64:/lib64:ro"];
    let fixed = [
        "--user",
        NOBODY,
        "--env",
        &password,
        "--env",
        "PGDATA=/var/lib/postgresql/data/pgdata",
        "-v",
        &volume,
    ];
    let fixed: Vec<&str> = [
        &fixed[..],
        &machine[..],
        &["--label", "holdfast.postgres=true"],
        options,
    ]
    .concat();
    setup.service(stack, name, &fixed, &script)?;
    let container = format!("{stack}-{name}-1");
    let ready = wait_until("PostgreSQL answers", DEADLINE, || {
        Ok(setup
            .docker(&["exec", &container, "sh", "-c", &format!("{bin}/pg_isready -h /tmp")])
            .is_ok())
    });
    ready.with_context(|| setup.docker(&["logs", &container]).unwrap_or_default())?;
    Ok(())
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
