//! Two hosts: each with an engine; with one NATS and one repository.

use std::process::Command;
use std::time::Duration;

use holdfast_tests::docker::{Engine, Network};
use holdfast_tests::output::code;
use holdfast_tests::{Background, Context, Result, Sandbox, ensure, nats, wait_until};

use crate::setup::DEADLINE;

const OTHER: &str = "docker-host-b";

/// The sandbox is the first host, whose site is `test`; the other one is `host-b`.
struct Hosts {
    // The fields are dropped in this order, since dropping the sandbox checks that nothing is left over.
    sandbox: Sandbox,
    // Kept as long as the processes that speak over it.
    _nats: nats::Server,
    here: Engine,
    there: Engine,
}

impl Hosts {
    /// Makes both hosts, each with a volume of the same name.
    fn new() -> Result<Self> {
        let here = Engine::start_in(Network::Private)?;
        let there = Engine::start_in(Network::Private)?;
        let nats = nats::Server::start()?;
        let section = format!(
            "host = \"{}\"\nsites = [\"test\", \"host-b\"]\ndatabases = false",
            here.host()
        );
        let sandbox = Sandbox::builder().section("docker", &section)?.nats(&nats).build()?;
        for (engine, text) in [(&here, "here"), (&there, "there")] {
            engine.docker(["volume", "create", "files"])?;
            std::fs::write(engine.volume_folder("files").join("where"), text)?;
        }
        Ok(Self {
            sandbox,
            _nats: nats,
            here,
            there,
        })
    }

    fn start_here(&self) -> Result<Background> {
        let mut up = self.sandbox.start(&["up"])?;
        up.wait_for("up", DEADLINE)?;
        Ok(up)
    }

    /// Returns a command for the other host, with the same configuration except for the host's own settings.
    fn at_other(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command(arguments);
        command
            .env("HOLDFAST__SITE", "host-b")
            .env("HOLDFAST__DOCKER__HOST", self.there.host())
            .env("HOLDFAST__STATE_DIR", self.sandbox.path("state-b"))
            .env("HOLDFAST__STAGING__DIR", self.sandbox.path("staging-b"))
            .env("HOLDFAST__STAGING__ALLOW_DISK", "yes_plaintext_may_touch_the_disk");
        command
    }

    fn start_there(&self) -> Result<Background> {
        self.sandbox.spawn(self.at_other(&["up"]))
    }

    /// Restores a volume's backup, and returns its content.
    fn restored(&self, source: &str) -> Result<String> {
        let what = format!("{source}/files");
        let to = self.sandbox.path(&format!("restored {source}"));
        let to_text = to.display().to_string();
        self.sandbox
            .run(&["restore", "volume", &what, "--to", &to_text])?
            .good()?;
        std::fs::read_to_string(to.join("where")).context("read what was restored")
    }

    fn finished(&self, runs: usize) -> Result<bool> {
        let objects = self.sandbox.objects(&self.sandbox.repository())?;
        Ok(objects.keys().filter(|key| key.ends_with("/finished")).count() >= runs)
    }
}

#[test]
fn one_run_takes_both_and_each_host_seals_its_own() -> Result<()> {
    let hosts = Hosts::new()?;
    let mut here = hosts.start_here()?;
    let mut there = hosts.start_there()?;
    hosts.sandbox.run(&["run", "--verify"])?.good()?;
    assert_eq!(hosts.restored("docker")?, "here");
    assert_eq!(hosts.restored(OTHER)?, "there");
    // Both hosts give the same answer.
    let listed = hosts.sandbox.run_command(hosts.at_other(&["status"]))?.good()?;
    listed.says(OTHER)?;
    here.stop(DEADLINE)?.good()?;
    there.stop(DEADLINE)?.good()?;
    ensure!(hosts.here.docker(["ps", "-aq"])?.is_empty(), "a helper is left over");
    Ok(())
}

#[test]
fn a_host_that_dies_in_a_run_is_named_and_the_next_run_has_it_again() -> Result<()> {
    let hosts = Hosts::new()?;
    let mut here = hosts.start_here()?;
    let gate = hosts.sandbox.path("gate");
    let mut command = hosts.at_other(&["up"]);
    command.env(
        "HOLDFAST_FAILPOINTS",
        format!("capture.before_draft=pause:{}@1", gate.display()),
    );
    let mut there = hosts.sandbox.spawn(command)?;
    let mut run = hosts.sandbox.start(&["run", "--timeout", "20s"])?;
    let reached = hosts.sandbox.path("gate.reached");
    wait_until("the other host is in the middle of it", DEADLINE, || {
        Ok(reached.exists())
    })
    .with_context(|| there.log().unwrap_or_default())?;
    there.kill();
    let output = run.finish(Duration::from_secs(120))?.expect(code::FAILURES)?;
    output.says(&format!("{OTHER}/files"))?.says("by the deadline")?;
    assert_eq!(hosts.restored("docker")?, "here");

    let mut there = hosts.start_there()?;
    hosts.sandbox.run(&["run", "--verify"])?.good()?;
    assert_eq!(hosts.restored(OTHER)?, "there");
    here.stop(DEADLINE)?.good()?;
    there.stop(DEADLINE)?.good()?;
    Ok(())
}

#[test]
fn a_host_that_comes_late_catches_up() -> Result<()> {
    let hosts = Hosts::new()?;
    let mut here = hosts.start_here()?;
    hosts.sandbox.run(&["run", "--timeout", "5m", "--detach"])?.good()?;
    wait_until("the first host has done its part", DEADLINE, || {
        Ok(hosts.sandbox.artefact("docker", "files").is_ok())
    })?;
    ensure!(!hosts.finished(1)?, "the run has ended without the other host");
    let mut there = hosts.start_there()?;
    wait_until("the run ends", DEADLINE, || hosts.finished(1)).with_context(|| there.log().unwrap_or_default())?;
    assert_eq!(hosts.restored(OTHER)?, "there");
    let run = hosts.sandbox.artefact(OTHER, "files")?.run;
    let shown = hosts.sandbox.run(&["show", &run, "--json"])?.good()?.json()?;
    assert_eq!(shown["state"], "complete");
    here.stop(DEADLINE)?.good()?;
    there.stop(DEADLINE)?.good()?;
    Ok(())
}
