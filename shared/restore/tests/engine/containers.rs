//! PostgreSQL servers in containers.

use std::sync::Arc;

use holdfast_docker::reach::ReachProblem;
use holdfast_fault::Retryable as _;
use holdfast_format::{ArtefactId, ArtefactKind};
use holdfast_restore::{ContainerError, ContainerOptions, ContainerReport, ContainerServer, JoinedNetworks, Progress};
use holdfast_tests::docker::Network;

use crate::common::cluster::Cluster;
use crate::common::{Draft, Repo};
use crate::support::{Setup, said};

const PASSWORD: &str = "only the container's own environment says so: 4711";

/// Starts a PostgreSQL server in a container of this name.
pub(crate) fn server(setup: &Setup, container: &str, options: &[&str]) {
    setup.docker(&["network", "create", container]);
    let options = [&["--label", "holdfast.postgres=true", "--network", container], options].concat();
    let volume = format!("{container}-data");
    setup
        .engine
        .start_postgres(container, &volume, PASSWORD, &options)
        .unwrap();
}

/// Runs SQL in a container's server, and returns the output.
pub(crate) fn psql(setup: &Setup, container: &str, database: &str, sql: &str) -> String {
    let psql = holdfast_tests::tools::postgres_bin().unwrap().join("psql");
    let fixed = ["exec", "--env", "PGUSER=postgres", "--env"];
    let password = format!("PGPASSWORD={PASSWORD}");
    let run = [
        &password,
        container,
        psql.to_str().unwrap(),
        "-XqAt",
        "-h",
        "/tmp",
        "-d",
        database,
        "-c",
        sql,
    ];
    setup.docker(&[&fixed[..], &run].concat())
}

/// Stores a dump of a database with 500 rows.
pub(crate) fn database(repo: &Repo, name: &str) -> ArtefactId {
    let cluster = Cluster::start();
    cluster.sql("postgres", "CREATE DATABASE shop");
    cluster.sql("shop", "CREATE TABLE orders AS SELECT generate_series(1, 500) n");
    let mut draft = Draft::new(repo, 200_000, 20_000);
    draft.tools.insert("pg_dump".to_owned(), "15.1".to_owned());
    draft.dump(&cluster.dump("shop"));
    draft.store(ArtefactKind::Database, name, Vec::new())
}

/// Stores globals with one role.
pub(crate) fn globals(repo: &Repo, name: &str) -> ArtefactId {
    let cluster = Cluster::start();
    cluster.sql("postgres", "CREATE ROLE clerk LOGIN");
    let mut draft = Draft::new(repo, 200_000, 20_000);
    draft.dump(&cluster.globals());
    draft.store(ArtefactKind::Globals, name, Vec::new())
}

fn look(setup: &Setup, container: &str, database: Option<&str>) -> Result<ContainerServer, ContainerError> {
    let mut networks = JoinedNetworks::default();
    let looked = ContainerServer::look(&setup.host, container, database, &mut networks);
    let looked = setup.repo.runtime.block_on(looked);
    assert!(setup.repo.runtime.block_on(networks.leave()).is_empty());
    looked
}

fn restore(
    setup: &Setup,
    server: &ContainerServer,
    artefact: ArtefactId,
    replace: bool,
) -> Result<ContainerReport, ContainerError> {
    let options = ContainerOptions {
        replace,
        ..ContainerOptions::default()
    };
    let restoring = server.restore(setup.repo.open(artefact), &options, Arc::<Progress>::default());
    setup.repo.runtime.block_on(restoring)
}

#[test]
fn a_database_is_made_refused_and_replaced() {
    let setup = Setup::within(Network::Host);
    let artefact = database(&setup.repo, "shop-db-1/shop");
    server(&setup, "shop-db-1", &[]);
    psql(&setup, "shop-db-1", "postgres", "CREATE ROLE admin");
    let target = look(&setup, "shop-db-1", Some("shop")).unwrap();
    let report = restore(&setup, &target, artefact, false).unwrap();
    let ContainerReport::Database(report) = report else {
        panic!("{report:?}")
    };
    assert!(report.created && report.warnings.is_empty(), "{:?}", report.warnings);
    assert_eq!(psql(&setup, "shop-db-1", "shop", "SELECT count(*) FROM orders"), "500");

    psql(&setup, "shop-db-1", "shop", "CREATE TABLE newer (); DELETE FROM orders");
    let error = restore(&setup, &target, artefact, false).unwrap_err();
    assert!(said(&error).contains("is not empty"), "{}", said(&error));
    assert!(!error.retry().is_later());
    assert_eq!(psql(&setup, "shop-db-1", "shop", "SELECT count(*) FROM newer"), "0");

    for _ in 0..2 {
        restore(&setup, &target, artefact, true).unwrap();
        assert_eq!(psql(&setup, "shop-db-1", "shop", "SELECT count(*) FROM orders"), "500");
        let newer = "SELECT count(*) FROM pg_class WHERE relname = 'newer'";
        assert_eq!(psql(&setup, "shop-db-1", "shop", newer), "0");
    }
}

#[test]
fn roles_come_back_and_a_second_time_does_no_harm() {
    let setup = Setup::within(Network::Host);
    let artefact = globals(&setup.repo, "shop-db-1");
    server(&setup, "shop-db-1", &[]);
    let target = look(&setup, "shop-db-1", None).unwrap();
    for replace in [false, false, true] {
        let report = restore(&setup, &target, artefact, replace).unwrap();
        let ContainerReport::Globals(report) = report else {
            panic!("{report:?}")
        };
        // The dumped cluster had another superuser than this server has.
        let of_clerk = report
            .failed
            .iter()
            .filter(|(statement, _)| statement.contains("clerk"));
        assert_eq!(of_clerk.count(), 0, "{report:?}");
        let clerk = "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'clerk'";
        assert_eq!(psql(&setup, "shop-db-1", "postgres", clerk), "t");
    }
}

#[test]
fn a_container_that_cannot_be_reached_is_named_with_the_reason() {
    let mut setup = Setup::within(Network::Host);
    setup.start("web", &[]);
    for name in ["web", "nobody"] {
        let error = look(&setup, name, None).unwrap_err();
        let ContainerError::Reach(reach) = &error else {
            panic!("{error:?}")
        };
        assert!(matches!(reach.problem, ReachProblem::Missing), "{error:?}");
        assert!(
            said(&error).contains(&format!("container {name}: ")),
            "{}",
            said(&error)
        );
    }
    setup.start("asleep", &["--label", "holdfast.postgres=true"]);
    setup.docker(&["stop", "asleep"]);
    let error = look(&setup, "asleep", None).unwrap_err();
    assert_eq!(said(&error), "reach the databases of container asleep: it does not run");
    // It runs, and no PostgreSQL is in it.
    setup.docker(&["network", "create", "shop"]);
    setup.start("liar", &["--label", "holdfast.postgres=true", "--network", "shop"]);
    let error = look(&setup, "liar", None).unwrap_err();
    assert!(matches!(error, ContainerError::Server { .. }), "{error:?}");
    assert!(said(&error).contains("container liar"), "{}", said(&error));
    setup.engine.kill().unwrap();
    let error = look(&setup, "liar", None).unwrap_err();
    assert!(error.retry().is_later(), "{}", said(&error));
}
