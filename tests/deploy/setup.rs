//! An engine with the images of the deployment, and a folder with the deployment's files.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use holdfast_tests::docker::{Engine, Network};
use holdfast_tests::process::free_port;
use holdfast_tests::{Context, Result, ensure, tools, wait_until};

/// The longest time that any wait takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// The image of NATS, PostgreSQL, the web server and Prometheus.
pub(crate) const STAND_IN: &str = "holdfast-test:stand-in";

/// The name of the deployment's stack.
pub(crate) const PROJECT: &str = "own";

pub(crate) struct Deployment {
    pub(crate) engine: Engine,
    /// The port at which the sample's web server is published.
    pub(crate) web: u16,
    /// The port at which Prometheus is published.
    pub(crate) prometheus: u16,
    folder: tempfile::TempDir,
}

impl Deployment {
    /// Starts an engine with all images, and no containers.
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("hf-compose-").tempdir()?;
        let deployment = Self {
            engine: Engine::start_in(Network::Host)?,
            web: free_port()?,
            prometheus: free_port()?,
            folder,
        };
        deployment.images()?;
        deployment.files()?;
        Ok(deployment)
    }

    /// Returns the path of a file of the deployment.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn images(&self) -> Result<()> {
        let base = base()?;
        self.import(&base, "debian:bookworm-slim")?;
        // The program that was built for the tests, without its debug information.
        let out = self.path("program/out");
        std::fs::create_dir_all(&out)?;
        tools::text_of(
            Command::new("strip")
                .arg("-o")
                .arg(out.join("holdfast"))
                .arg(tools::holdfast()?),
        )?;
        let tar = self.path("program.tar");
        tools::text_of(
            Command::new("tar")
                .arg("-cf")
                .arg(&tar)
                .arg("-C")
                .arg(self.path("program"))
                .arg("out"),
        )?;
        self.import(&tar, "holdfast-test:program")?;
        let root = tools::root();
        let arguments = [
            "--build-arg",
            "BINARIES=holdfast-test:program",
            "--build-arg",
            "BUILDER=debian:bookworm-slim",
            "--file",
            "deploy/Dockerfile",
        ];
        self.build("holdfast:latest", &arguments, &root)?;

        let image = self.path("image");
        copy(&root.join("tests/deploy/image"), &image)?;
        std::fs::copy(tools::nats_server()?, image.join("nats-server"))?;
        std::fs::copy("/bin/busybox", image.join("busybox"))
            .context("copy busybox (Debian's package busybox-static)")?;
        self.build(STAND_IN, &[], &image)
    }

    fn import(&self, tar: &Path, name: &str) -> Result<()> {
        let tar = tar.display().to_string();
        self.engine.docker(["import", &tar, name]).map(drop)
    }

    /// Builds an image.
    pub(crate) fn build(&self, name: &str, arguments: &[&str], context: &Path) -> Result<()> {
        let mut command = self
            .engine
            .command(["build", "--quiet", "--network", "host", "--tag", name]);
        command.args(arguments).arg(".").current_dir(context);
        // Classic and new builder can both build it. The classic one is part of every engine and needs no further
        // program.
        command.env("DOCKER_BUILDKIT", "0");
        tools::text_of(&mut command)
            .map(drop)
            .with_context(|| format!("build {name}"))
    }

    fn files(&self) -> Result<()> {
        let root = tools::root();
        copy(&root.join("deploy"), &self.path("deploy"))?;
        std::fs::copy(root.join("compose.yaml"), self.path("compose.yaml"))?;
        std::fs::copy(root.join("tests/deploy/shop.yaml"), self.path("shop.yaml"))?;
        // The gate's file, changed as its comments tell the reader: with the upgraded service below the gate.
        let gate = std::fs::read_to_string(self.path("deploy/gate/compose.gate.yaml"))?;
        let commented = "  # web:\n  #   depends_on:\n  #     holdfast-gate";
        ensure!(gate.contains(commented), "the gate's example has changed");
        let used = gate.replace(commented, "  web:\n    depends_on:\n      holdfast-gate");
        Ok(std::fs::write(self.path("gate.yaml"), used)?)
    }

    /// Returns a command of the deployment, which runs in the folder of its files.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let settings = [
            ("COMPOSE_PROJECT_NAME", PROJECT.to_owned()),
            ("DOCKER_HOST", self.engine.host()),
            ("DOCKER_SOCKET", self.engine.socket().display().to_string()),
            ("DOCKER_VOLUMES", self.volumes().display().to_string()),
            ("HOLDFAST_CONFIG", "./deploy/compose/sample.toml".to_owned()),
            ("NATS_IMAGE", STAND_IN.to_owned()),
            ("JAEGER_IMAGE", STAND_IN.to_owned()),
            ("PROMETHEUS_IMAGE", STAND_IN.to_owned()),
            ("PROMETHEUS_PORT", self.prometheus.to_string()),
            ("SAMPLE_POSTGRES_IMAGE", STAND_IN.to_owned()),
            ("SAMPLE_WEB_IMAGE", STAND_IN.to_owned()),
            ("SAMPLE_PORT", self.web.to_string()),
            ("STAND_IN", STAND_IN.to_owned()),
            ("SHOP_IMAGE", STAND_IN.to_owned()),
        ];
        command.current_dir(self.folder.path()).envs(settings);
        command.stdin(std::process::Stdio::null());
        command
    }

    fn volumes(&self) -> PathBuf {
        let folder = self.engine.volume_folder("any");
        folder.ancestors().nth(2).unwrap_or(&folder).to_owned()
    }

    /// Runs Compose on the deployment.
    pub(crate) fn compose(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command("docker-compose");
        tools::text_of(command.args(arguments)).with_context(|| format!("docker-compose {arguments:?}"))
    }

    /// Runs deploy/compose/setup.
    pub(crate) fn set_up(&self) -> Result<String> {
        tools::text_of(&mut self.command(self.path("deploy/compose/setup")))
    }

    /// Runs one of the deployment's commands in a container of its own.
    pub(crate) fn run(&self, service: &str, arguments: &[&str]) -> Result<String> {
        self.compose(&[&["run", "--rm", "-T", service][..], arguments].concat())
    }

    /// Runs Compose on the other stack.
    pub(crate) fn shop(&self, image: &str, files: &[&str], arguments: &[&str]) -> Result<String> {
        let mut command = self.command("docker-compose");
        command
            .env("COMPOSE_PROJECT_NAME", "shop")
            .env("SHOP_IMAGE", image)
            .env("HOLDFAST_SECRETS", self.path("secrets"))
            .env("HOLDFAST_CONFIG", self.path("deploy/compose/sample.toml"))
            .env("HOLDFAST_NETWORK", format!("{PROJECT}_bus"))
            .env("HOLDFAST_REPOSITORY", format!("{PROJECT}_repository"));
        command
            .args(files.iter().flat_map(|file| ["--file", file]))
            .args(arguments);
        tools::text_of(&mut command).with_context(|| format!("docker-compose {arguments:?} of the shop"))
    }

    /// Runs SQL in a container, and returns the output.
    pub(crate) fn sql(&self, container: &str, database: &str, sql: &str) -> Result<String> {
        let psql = [
            "psql",
            "-U",
            "postgres",
            "-d",
            database,
            "-qAtX",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
        ];
        self.engine
            .docker([&["exec", "-u", "postgres", container][..], &psql].concat())
    }

    /// Waits until a database takes connections.
    pub(crate) fn wait_for_database(&self, container: &str, database: &str) -> Result<()> {
        wait_until(&format!("{container} answers"), DEADLINE, || {
            Ok(self.sql(container, database, "SELECT 1").is_ok())
        })
    }

    /// Waits until all of the deployment's containers that have a health check are healthy.
    pub(crate) fn wait_for_health(&self) -> Result<()> {
        let filter = format!("label=com.docker.compose.project={PROJECT}");
        let list = ["ps", "--all", "--filter", &filter, "--format", "{{.Names}} {{.Status}}"];
        let bad = || -> Result<Vec<String>> {
            let all = self.engine.docker(list)?;
            let good =
                |line: &&str| !line.contains("unhealthy") && (line.contains("(healthy)") || is_without_check(line));
            Ok(all.lines().filter(|line| !good(line)).map(str::to_owned).collect())
        };
        let healthy = wait_until("all are healthy", DEADLINE, || Ok(bad()?.is_empty()));
        healthy.with_context(|| format!("{:?}", bad()))
    }

    /// Returns the number of jobs of a stage that a service's container has done.
    pub(crate) fn jobs(&self, container: &str, stage: &str) -> Result<u64> {
        let ask = "exec 3<>/dev/tcp/127.0.0.1/9464; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
        let metrics = self.engine.docker(["exec", container, "bash", "-c", ask])?;
        let name = format!("holdfast_work_duration_seconds_count{{stage=\"{stage}\"}} ");
        let count = metrics.lines().find_map(|line| line.strip_prefix(&name));
        Ok(count.map_or(0, |count| count.trim().parse().unwrap_or(0)))
    }
}

fn is_without_check(line: &str) -> bool {
    (line.contains("sample-web") || line.contains("_prometheus_")) && line.contains("Up")
}

/// Gives a root file system of Debian as a tar, made once in a clone.
fn base() -> Result<PathBuf> {
    let made = tools::text_of(&mut Command::new(tools::root().join("tests/tools/debian-tar")))
        .context("make a root file system (Debian's package debootstrap)")?;
    Ok(made.trim_end().into())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    tools::text_of(Command::new("cp").arg("-a").arg(from).arg(to)).map(drop)
}
