//! PostgreSQL's client programs: missing, too old, killed during a dump, and cut off without a message.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use holdfast_tests::output::{Output, code};
use holdfast_tests::postgres::Cluster;
use holdfast_tests::{Context, Result, Sandbox, ensure};
use toml::Value;

use crate::support::with_mounts;

/// The longest time for a run that repeats a job in vain.
const GIVEN_UP: Duration = Duration::from_secs(150);

struct Setup {
    sandbox: Sandbox,
    source: Cluster,
}

/// Starts a server, makes a good backup of it, and puts an empty folder into `client_dirs`.
fn setup() -> Result<Setup> {
    let source = Cluster::start()?;
    source.pgbench("bench", 1)?;
    let sandbox = Sandbox::builder().postgres("main", &source).build()?;
    sandbox.run(&["run", "--verify"])?.good()?;
    let setup = Setup { sandbox, source };
    fs::create_dir(setup.clients())?;
    fs::create_dir(setup.sandbox.path("nothing"))?;
    let clients = setup.clients().display().to_string();
    setup.sandbox.edit_config(|table| {
        if let Some(Value::Array(servers)) = table.get_mut("postgres") {
            for server in servers.iter_mut().filter_map(Value::as_table_mut) {
                server.insert("client_dirs".into(), Value::Array(vec![clients.clone().into()]));
            }
        }
    })?;
    Ok(setup)
}

impl Setup {
    fn clients(&self) -> PathBuf {
        self.sandbox.path("clients")
    }

    /// Puts a program into `client_dirs`: a shell script in which `$real` is this machine's own program.
    fn client(&self, name: &str, script: &str) -> Result<PathBuf> {
        let path = self.clients().join(name);
        let real = self.source.client(name, "").get_program().to_owned();
        let real = real.to_str().context("the path of a client program is no text")?;
        fs::write(&path, format!("#!/bin/sh\nreal='{real}'\n{script}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// Puts a program into `client_dirs` that answers for its version like the real one, and runs the script instead of
    /// a dump.
    fn dumping_client(&self, name: &str, script: &str) -> Result<PathBuf> {
        self.client(
            name,
            &format!("[ \"$1\" != --version ] || exec \"$real\" --version\n{script}"),
        )
    }

    /// Runs `holdfast` in an environment where client programs exist only in `client_dirs`.
    fn without_clients(&self, arguments: &[&str]) -> Result<Output> {
        const HIDE: &str = r#"
            for dir in /usr/lib/postgresql /usr/pgsql-*; do
                [ ! -d "$dir" ] || mount -t tmpfs tmpfs "$dir"
            done
            PATH=$1
            export PATH
        "#;
        with_mounts(&self.sandbox, HIDE, &[&self.sandbox.path("nothing")], arguments)
    }

    fn major(&self) -> Result<u32> {
        let number: u32 = self
            .source
            .psql("postgres", "SHOW server_version_num")?
            .trim()
            .parse()?;
        Ok(number / 10_000)
    }

    /// Starts a run that fails for this artefact alone, quickly and with a reason.
    fn fails(&self, name: &str, says: &[&str]) -> Result<()> {
        let start = Instant::now();
        let output = self.sandbox.run(&["run", "--json"])?.expect(code::FAILURES)?;
        ensure!(start.elapsed() < GIVEN_UP, "it took {:?} to give up", start.elapsed());
        let report = output.json()?;
        let failures = report["failures"].as_array().cloned().unwrap_or_default();
        ensure!(failures.len() == 1, "not one failure alone: {report}");
        let subject = failures[0]["subject"].as_str();
        let reason = failures[0]["reason"].as_str();
        ensure!(
            subject.is_some_and(|subject| subject.contains(name)) && failures[0]["stage"] == "capture",
            "the failure is not that of {name}: {report}"
        );
        for text in says {
            let said = reason.is_some_and(|reason| reason.contains(text));
            ensure!(said, "the reason does not say {text:?}: {report}");
        }
        output.keeps_quiet_about(holdfast_tests::postgres::PASSWORD)?;
        Ok(())
    }

    /// Checks that the artefact has only its earlier backup, that this one is complete, and that the next run is good
    /// with this machine's own programs.
    fn check(&self, name: &str) -> Result<()> {
        let came = self.sandbox.artefacts()?;
        let of_it = came.iter().filter(|artefact| artefact.name == name).count();
        ensure!(of_it == 1, "a dump that failed was believed: {came:?}");
        ensure!(self.source.sessions("pg_dump")? == 0, "a dump is left running");
        self.sandbox.run(&["verify", "--all", "--level", "decrypt"])?.good()?;
        fs::remove_dir_all(self.clients())?;
        self.sandbox.run(&["run", "--verify"])?.good()?;
        Ok(())
    }
}

#[test]
fn without_client_programs_it_is_said_what_to_install() -> Result<()> {
    let setup = setup()?;
    let major = setup.major()?;
    let install = format!("install postgresql-client-{major}, or name its folder in postgres.client_dirs");
    for command in ["doctor", "run"] {
        for text in ["pg_dump", "pg_dumpall"] {
            setup
                .without_clients(&[command])?
                .expect(code::FAILURES)?
                .says(&format!("no {text} of version {major} or newer"))?
                .says("(found: none)")?
                .says(&install)?;
        }
    }
    setup.check("bench")
}

#[test]
fn a_pg_dump_older_than_the_server_is_named_and_not_used() -> Result<()> {
    let setup = setup()?;
    let marker = setup.sandbox.path("used");
    let script = format!(
        "[ \"$1\" != --version ] || {{ echo 'pg_dump (PostgreSQL) 9.6.24'; exit; }}\ntouch '{}'",
        marker.display()
    );
    let old = setup.client("pg_dump", &script)?;
    let found = format!("(found: {} 9.6.24)", old.display());
    for command in ["doctor", "run"] {
        setup
            .without_clients(&[command])?
            .expect(code::FAILURES)?
            .says(&format!("no pg_dump of version {} or newer", setup.major()?))?
            .says(&found)?;
    }
    // A newer `pg_dump` is installed elsewhere, and is used instead.
    setup.sandbox.run(&["doctor"])?.good()?;
    setup.sandbox.run(&["run", "--verify"])?.good()?;
    ensure!(!marker.exists(), "the old program was used");
    Ok(())
}

#[test]
fn a_pg_dump_that_is_killed_in_a_dump_is_named() -> Result<()> {
    let setup = setup()?;
    // The small databases are backed up completely.
    let program = setup.dumping_client(
        "pg_dump",
        "\"$real\" \"$@\" | { head -c 4194304; [ \"$(head -c 1 | wc -c)\" -eq 0 ] || kill -9 $$; }",
    )?;
    let program = program.display().to_string();
    setup.fails("bench", &[&program, "signal: 9", "lack of memory"])?;
    setup.check("bench")
}

#[test]
fn a_dump_that_is_cut_off_is_not_believed_though_its_program_says_that_all_is_well() -> Result<()> {
    let setup = setup()?;
    let program = setup.dumping_client("pg_dump", "\"$real\" \"$@\" | head -c 4194304\nexit 0")?;
    let program = program.display().to_string();
    setup.fails("bench", &[&program, "not whole", "4194304 bytes", "client_dirs"])?;
    setup.check("bench")
}

#[test]
fn globals_that_are_cut_off_are_not_believed_either() -> Result<()> {
    let setup = setup()?;
    let program = setup.dumping_client("pg_dumpall", "\"$real\" \"$@\" | head -c 200\nexit 0")?;
    let program = program.display().to_string();
    setup.fails("globals", &[&program, "not whole", "client_dirs"])?;
    setup.check("globals")
}

#[test]
fn a_program_that_answers_like_pg_dump_and_writes_something_else_is_not_believed() -> Result<()> {
    let setup = setup()?;
    let program = setup.dumping_client("pg_dump", "exec \"$real\" --no-password")?;
    let output = setup.sandbox.run(&["run"])?.expect(code::FAILURES)?;
    output
        .says("no dump in the custom format")?
        .says(&program.display().to_string())?;
    setup.check("bench")
}
