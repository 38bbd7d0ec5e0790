//! Servers that go away, and databases that go away, while they are dumped.

use std::time::Duration;

use holdfast_tests::output::code;
use holdfast_tests::postgres::Cluster;
use holdfast_tests::proxy::{Fault, Proxy, Rule, Way};
use holdfast_tests::{Background, Result, Sandbox, ensure, wait_until};

struct Setup {
    sandbox: Sandbox,
    proxy: Proxy,
    source: Cluster,
}

/// Two databases behind a proxy.
fn setup() -> Result<Setup> {
    let source = Cluster::start()?;
    source.pgbench("large", 3)?;
    source.create_database("small")?;
    source.psql("small", "CREATE TABLE t AS SELECT generate_series(1, 100) AS n")?;
    let proxy = Proxy::tcp(source.port())?;
    let sandbox = Sandbox::builder().postgres_at("main", proxy.port()).build()?;
    Ok(Setup { sandbox, proxy, source })
}

impl Setup {
    /// Starts a run so slow that it can be caught in the middle of the large dump.
    fn run_slowly(&self) -> Result<Background> {
        self.proxy.set([Rule::new(Fault::Slow(2 << 20))]);
        let command = self.sandbox.start(&["run", "--timeout", "120s"])?;
        wait_until("the large database is being dumped", Duration::from_secs(60), || {
            let sql =
                "SELECT count(*) FROM pg_stat_activity WHERE datname = 'large' AND query LIKE 'COPY%pgbench_accounts%'";
            Ok(self.source.psql("postgres", sql)?.trim() != "0")
        })?;
        Ok(command)
    }

    /// No half dump is believed, and the next run is good.
    fn check(&self) -> Result<()> {
        self.proxy.clear();
        let listed = self.sandbox.artefacts()?;
        for artefact in listed {
            self.sandbox
                .run(&["verify", &artefact.id, "--level", "decrypt"])?
                .good()?;
        }
        wait_until("no dump is left running", Duration::from_secs(20), || {
            Ok(self.source.sessions("pg_dump")? == 0)
        })?;
        self.sandbox.run(&["run", "--verify"])?.good()?;
        Ok(())
    }
}

#[test]
fn a_backend_terminated_in_a_dump_is_tried_again_or_named() -> Result<()> {
    let setup = setup()?;
    let mut command = setup.run_slowly()?;
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'large' AND query LIKE 'COPY%'";
    setup.source.psql("postgres", sql)?;
    setup.proxy.clear();
    let output = command.finish(Duration::from_secs(180))?;
    if output.status.code() != Some(code::GOOD) {
        output.expect(code::FAILURES)?.says("large")?;
    }
    setup.check()
}

#[test]
fn a_database_dropped_while_it_is_dumped_is_named() -> Result<()> {
    let setup = setup()?;
    let mut command = setup.run_slowly()?;
    setup.source.psql("postgres", "DROP DATABASE large WITH (FORCE)")?;
    setup.proxy.clear();
    command
        .finish(Duration::from_secs(180))?
        .expect(code::FAILURES)?
        .says("large")?;
    setup.sandbox.artefact("main", "small")?;
    ensure!(
        setup.sandbox.artefact("main", "large").is_err(),
        "half a dump was believed"
    );
    setup.check()
}

#[test]
fn a_server_stopped_in_a_dump_is_named_and_the_next_run_is_good() -> Result<()> {
    let mut setup = setup()?;
    let mut command = setup.run_slowly()?;
    setup.source.stop()?;
    command
        .finish(Duration::from_secs(180))?
        .expect(code::FAILURES)?
        .says("main")?;
    setup.source.restart()?;
    setup.check()
}

#[test]
fn a_connection_cut_in_a_dump_leaves_no_half_dump() -> Result<()> {
    let setup = setup()?;
    setup.proxy.set([Rule::new(Fault::Cut(Way::Response, 1 << 20))]);
    setup
        .sandbox
        .run(&["run", "--timeout", "30s"])?
        .expect(code::FAILURES)?
        .says("large")?;
    ensure!(
        setup.sandbox.artefact("main", "large").is_err(),
        "half a dump was believed"
    );
    setup.sandbox.artefact("main", "small")?;
    setup.check()
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_given_up() -> Result<()> {
    let setup = setup()?;
    setup.proxy.set([Rule::new(Fault::Silence)]);
    setup
        .sandbox
        .run(&["run", "--timeout", "20s"])?
        .expect(code::FAILURES)?
        .says("main")?;
    setup.check()
}
