//! The common beginning and end of most fault tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use holdfast_tests::output::Output;
use holdfast_tests::postgres::Cluster;
use holdfast_tests::tree::{self, Shape};
use holdfast_tests::{Background, Context, Result, Sandbox, db, ensure, nats, wait_until};

/// The longest time for a run that was disturbed. A message that its worker did not acknowledge comes again after a
/// minute.
pub(crate) const DISTURBED: Duration = Duration::from_secs(240);

/// A directory and a database, a NATS server of their own, and an off-site target.
pub(crate) struct Setup {
    // The fields are dropped in this order, since dropping the sandbox checks that nothing is left over.
    pub(crate) sandbox: Sandbox,
    pub(crate) nats: nats::Server,
    /// The other nodes of the NATS cluster, if there is one.
    pub(crate) nodes: Vec<nats::Server>,
    pub(crate) source: Cluster,
    files: tempfile::TempDir,
}

impl Setup {
    pub(crate) fn new() -> Result<Self> {
        Self::on(nats::Server::start()?, Vec::new())
    }

    /// Makes a setup with a cluster of three NATS servers, each of which keeps everything.
    pub(crate) fn clustered() -> Result<Self> {
        let mut nodes = nats::Server::cluster(3)?;
        Self::on(nodes.remove(0), nodes)
    }

    fn on(nats: nats::Server, nodes: Vec<nats::Server>) -> Result<Self> {
        let source = Cluster::start()?;
        source.pgbench("bench", 2)?;
        let files = tempfile::tempdir()?;
        let uploads = files.path().join("uploads");
        tree::generate(
            &uploads,
            1,
            Shape {
                files: 120,
                ..Shape::default()
            },
        )?;
        let mut builder = Sandbox::builder()
            .postgres("main", &source)
            .directory("uploads", &uploads)
            .nats(&nats)
            .target_directory("offsite");
        if !nodes.is_empty() {
            let servers: Vec<String> = nodes.iter().map(nats::Server::url).collect();
            builder = builder.section("nats", &format!("servers = {servers:?}\nreplicas = 3"))?;
        }
        let sandbox = builder.build()?;
        Ok(Self {
            sandbox,
            nats,
            nodes,
            source,
            files,
        })
    }

    pub(crate) fn uploads(&self) -> PathBuf {
        self.files.path().join("uploads")
    }

    /// Asks for a complete run, as soon as a scheduler is there, and does not wait for it.
    pub(crate) fn trigger(&self) -> Result<()> {
        let command = [
            "run",
            "--verify",
            "--sync-offsite",
            "--cleanup",
            "--timeout",
            "10m",
            "--detach",
        ];
        // Where many servers start side by side, they may need longer than the command waits for them.
        wait_until("a scheduler answers", DISTURBED, || {
            let output = self.sandbox.run(&command)?;
            let is_early = |told| output.stderr.contains(told);
            if is_early("no scheduler is connected") || is_early("set up the stream") {
                return Ok(false);
            }
            output.good().map(|_| true)
        })
    }

    pub(crate) fn start_services(&self) -> Result<Background> {
        self.sandbox.start(&["up"])
    }

    /// Starts services that do `action` at a fail point (`name`, or `name@N` for its N-th occurrence).
    pub(crate) fn start_with(&mut self, point: &str, action: &str) -> Result<Background> {
        let (name, nth) = point.split_once('@').unwrap_or((point, "1"));
        self.sandbox
            .set_env("HOLDFAST_FAILPOINTS", &format!("{name}={action}@{nth}"));
        let services = self.start_services();
        self.sandbox.remove_env("HOLDFAST_FAILPOINTS");
        services
    }

    /// Starts services and a run. Returns when a service has reached this fail point, and waits there.
    pub(crate) fn run_up_to(&mut self, point: &str) -> Result<(Background, Gate)> {
        let gate = Gate {
            file: self.sandbox.path("gate"),
        };
        let mut services = self.start_with(point, &format!("pause:{}", gate.file.display()))?;
        self.trigger()?;
        let reached = self.sandbox.path("gate.reached");
        wait_until(&format!("{point} is reached"), DISTURBED, || {
            ensure!(services.is_running()?, "`holdfast up` has ended");
            Ok(reached.exists())
        })
        .with_context(|| services.log().unwrap_or_default())?;
        Ok((services, gate))
    }

    /// Counts the objects of the local place whose key ends with `end`.
    pub(crate) fn count(&self, end: &str) -> Result<usize> {
        count(&self.sandbox, &self.sandbox.repository(), end)
    }

    /// Waits until `runs` runs have ended.
    pub(crate) fn wait_for_end(&self, services: &mut Background, runs: usize) -> Result<()> {
        let ended = wait_until("the run ends", DISTURBED, || {
            ensure!(services.is_running()?, "`holdfast up` has ended");
            Ok(self.count("/finished")? >= runs)
        });
        ended.with_context(|| services.log().unwrap_or_default())
    }

    /// Checks that the newest run is complete and good, at both places.
    pub(crate) fn check(&self) -> Result<()> {
        let run = self.sandbox.artefact("uploads", "uploads")?.run;
        let shown = self.sandbox.run(&["show", &run, "--json"])?.good()?.json()?;
        let complete = shown["state"] == "complete";
        ensure!(complete, "the run is not complete: {shown}");
        for place in ["local", "offsite"] {
            self.sandbox
                .run(&["verify", "--all", "--level", "decrypt", "--place", place])?
                .good()?;
            let to = self.sandbox.path(&format!("restored from {place}"));
            let to_text = to.display().to_string();
            self.sandbox
                .run(&["restore", "volume", "uploads", "--to", &to_text, "--place", place])?
                .good()?;
            tree::compare(&self.uploads(), &to)?;
            let name = format!("restored {place}");
            let to = self.source.url_with_password(&name);
            self.sandbox
                .run(&[
                    "restore",
                    "database",
                    "main/bench",
                    "--create",
                    "--to",
                    &to,
                    "--place",
                    place,
                ])?
                .good()?;
            db::compare((&self.source, "bench"), (&self.source, &name))?;
        }
        Ok(())
    }
}

pub(crate) fn count(sandbox: &Sandbox, place: &Path, end: &str) -> Result<usize> {
    Ok(sandbox.objects(place)?.keys().filter(|key| key.ends_with(end)).count())
}

/// Runs `holdfast` in a mount namespace of its own, which `script` has prepared: a shell script that finds `words` in
/// `$1` and so on. Needs root, or the right to mount.
pub(crate) fn with_mounts(sandbox: &Sandbox, script: &str, words: &[&Path], arguments: &[&str]) -> Result<Output> {
    let script = format!("set -e\n{script}\nshift {}\nexec \"$@\"", words.len());
    let inner = sandbox.command(arguments);
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"])
        .args(words)
        .arg(inner.get_program())
        .args(arguments)
        .current_dir(sandbox.dir())
        .env_clear()
        .envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    sandbox.run_command(command)
}

/// Checks what `run --json` says of a run whose only failures are refused copies to one target.
pub(crate) fn sync_failed(output: &Output, target: &str, says: &[&str]) -> Result<()> {
    let report = output.json()?;
    let list = |key: &str| report[key].as_array().cloned().unwrap_or_default();
    ensure!(report["outcome"] == "partial", "the run is not partial: {report}");
    ensure!(!list("failures").is_empty(), "no failure is told: {report}");
    for failure in list("failures") {
        let subject = failure["subject"].as_str();
        let reason = failure["reason"].as_str();
        ensure!(
            failure["stage"] == "sync" && subject.is_some_and(|subject| subject.contains(target)),
            "a failure that is not that of {target}: {report}"
        );
        let says_all = says
            .iter()
            .all(|text| reason.is_some_and(|reason| reason.contains(text)));
        ensure!(says_all, "a reason does not say {says:?}: {report}");
    }
    for artefact in list("artefacts") {
        ensure!(artefact["stage"] == "not everywhere", "{artefact}");
    }
    Ok(())
}

/// A service that waits at a fail point.
pub(crate) struct Gate {
    file: PathBuf,
}

impl Gate {
    /// Lets the service go on.
    pub(crate) fn open(self) -> Result<()> {
        std::fs::write(&self.file, "").context("open the gate")
    }
}
