//! Servers and databases that disappear while they are dumped, and servers that refuse connections.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use holdfast_tests::output::code;
use holdfast_tests::postgres::{self, Cluster};
use holdfast_tests::proxy::{Fault, Proxy, Rule, Way};
use holdfast_tests::{Background, Context, Result, Sandbox, ensure, wait_until};

struct Setup {
    sandbox: Sandbox,
    proxy: Proxy,
    source: Cluster,
}

/// Starts two databases behind a proxy.
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
    /// Starts a run that is slow enough to be disturbed in the middle of the large dump.
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

    /// Checks that half a dump does not count, and that the next run is good.
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

/// The servers that refuse connections, each with the words that name its fault and the remedy.
const CLOSED: [(&str, &[&str]); 3] = [
    ("away", &["does not answer", "check host, port", "refused"]),
    ("denied", &["refused user or password", "password_file", "pg_hba.conf"]),
    ("mute", &["accepts connections and does not answer", "overloaded"]),
];

#[test]
fn servers_that_let_nobody_in_are_each_named_with_what_to_do() -> Result<()> {
    let source = Cluster::start()?;
    source.pgbench("bench", 1)?;
    let sandbox = Sandbox::builder().postgres("main", &source).build()?;
    sandbox.run(&["run", "--verify"])?.good()?;
    // The kernel accepts connections to this port, and nothing ever answers them.
    let mute = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let wrong = sandbox.path("wrong.password");
    fs::write(&wrong, "not the password")?;
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600))?;
    let server = |name: &str, port: u16, password: &str| {
        let mut server = toml::Table::new();
        server.insert("name".into(), name.into());
        server.insert("url".into(), postgres::url(port, "postgres", None).into());
        server.insert("password_file".into(), password.into());
        toml::Value::Table(server)
    };
    let servers = [
        // Nothing listens on this port.
        server("away", 1, "postgres.password"),
        server("denied", source.port(), "wrong.password"),
        server("mute", mute.local_addr()?.port(), "postgres.password"),
    ];
    sandbox.edit_config(|table| {
        if let Some(toml::Value::Array(list)) = table.get_mut("postgres") {
            list.extend(servers);
        }
    })?;

    let start = Instant::now();
    let doctor = sandbox.run(&["doctor"])?.expect(code::FAILURES)?;
    ensure!(
        start.elapsed() < Duration::from_secs(60),
        "doctor took {:?}",
        start.elapsed()
    );
    for (name, says) in CLOSED {
        let text = &doctor.stdout;
        let line = text
            .lines()
            .find(|line| line.starts_with("FAIL") && line.contains(&format!("postgres {name} ")));
        let line = line.with_context(|| format!("doctor does not fail {name}: {text}"))?;
        ensure!(
            says.iter().all(|word| line.contains(word)),
            "doctor says of {name}: {line}"
        );
    }

    // The run ends soon, although it has twelve hours until its deadline.
    let start = Instant::now();
    let output = sandbox.run(&["run", "--json"])?.expect(code::FAILURES)?;
    ensure!(
        start.elapsed() < Duration::from_secs(200),
        "the run took {:?}",
        start.elapsed()
    );
    let report = output.json()?;
    let failures = report["failures"].as_array().cloned().unwrap_or_default();
    ensure!(failures.len() == CLOSED.len(), "not these failures alone: {report}");
    for (name, says) in CLOSED {
        let of_it = failures
            .iter()
            .find(|failure| failure["subject"].as_str().is_some_and(|s| s.contains(name)));
        let reason = of_it.and_then(|failure| failure["reason"].as_str()).unwrap_or_default();
        ensure!(
            says.iter().all(|word| reason.contains(word)),
            "the run says of {name}: {report}"
        );
    }
    output
        .keeps_quiet_about("not the password")?
        .keeps_quiet_about(postgres::PASSWORD)?;

    // The databases of the other server are backed up, and earlier backups are complete.
    let came = sandbox
        .artefacts()?
        .iter()
        .filter(|artefact| artefact.name == "bench")
        .count();
    ensure!(came == 2, "bench came {came} times");
    sandbox.run(&["verify", "--all", "--level", "decrypt"])?.good()?;
    Ok(())
}

#[test]
fn a_restore_into_a_server_that_lets_nobody_in_ends_in_good_time_with_its_code() -> Result<()> {
    let source = Cluster::start()?;
    source.create_database("small")?;
    let sandbox = Sandbox::builder().postgres("main", &source).build()?;
    sandbox.run(&["run"])?.good()?;
    let mute = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let cases = [
        (postgres::url(1, "again", Some("x")), code::NO_ANSWER, "127.0.0.1:1"),
        (
            postgres::url(mute.local_addr()?.port(), "again", Some("x")),
            code::NO_ANSWER,
            "does not answer",
        ),
        (
            postgres::url(source.port(), "again", Some("not the password")),
            code::USAGE,
            "check the user and the password",
        ),
    ];
    for (to, code, says) in cases {
        for what in [&["database", "main/small", "--create"][..], &["globals", "main"]] {
            let start = Instant::now();
            let command = [&["restore"], what, &["--to", &to]].concat();
            let output = sandbox.run(&command)?.expect(code)?.says(says)?;
            ensure!(
                start.elapsed() < Duration::from_secs(40),
                "it took {:?}",
                start.elapsed()
            );
            output.keeps_quiet_about("not the password")?;
        }
    }
    sandbox.run(&["verify", "--all", "--level", "decrypt"])?.good()?;
    Ok(())
}
