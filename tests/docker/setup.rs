//! An engine with containers, and a sandbox that is configured to back it up.

use std::path::Path;
use std::time::Duration;

use holdfast_tests::docker::{Engine, IMAGE, Network};
use holdfast_tests::output::Artefact;
use holdfast_tests::{Context, Result, Sandbox, wait_until};

/// The longest time that any wait takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A shell script that runs until it is told to end, and then ends at once.
pub(crate) const OBEDIENT: &str = "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done";

/// An engine, and a sandbox whose `holdfast` backs it up.
pub(crate) struct Setup {
    pub(crate) sandbox: Sandbox,
    pub(crate) engine: Engine,
}

impl Setup {
    /// Starts an engine in a network of its own.
    pub(crate) fn new() -> Result<Self> {
        Self::with("", Network::Private)
    }

    /// Starts an engine, with further lines for the section `[docker]`.
    pub(crate) fn with(section: &str, network: Network) -> Result<Self> {
        let engine = Engine::start_in(network)?;
        let section = format!("host = \"{}\"\n{section}", engine.host());
        let sandbox = Sandbox::builder().section("docker", &section)?.build()?;
        Ok(Self { sandbox, engine })
    }

    pub(crate) fn docker(&self, arguments: &[&str]) -> Result<String> {
        self.engine.docker(arguments)
    }

    /// Starts a container that runs a shell script.
    pub(crate) fn start(&self, name: &str, options: &[&str], script: &str) -> Result<()> {
        let fixed = ["run", "--detach", "--name", name];
        let command = [IMAGE, "sh", "-c", script];
        self.docker(&[&fixed[..], options, &command[..]].concat()).map(drop)
    }

    /// Starts a container of a service in a stack.
    pub(crate) fn service(&self, stack: &str, name: &str, options: &[&str], script: &str) -> Result<()> {
        let labels = Self::labels(stack, name);
        let labels: Vec<&str> = labels.iter().flat_map(|label| ["--label", label.as_str()]).collect();
        let container = format!("{stack}-{name}-1");
        self.start(&container, &[&labels[..], options].concat(), script)
    }

    /// Returns the labels that Compose gives a container of a service.
    pub(crate) fn labels(stack: &str, service: &str) -> [String; 2] {
        [
            format!("com.docker.compose.project={stack}"),
            format!("com.docker.compose.service={service}"),
        ]
    }

    /// Returns what `docker inspect` prints for a container in this format.
    pub(crate) fn inspect(&self, container: &str, format: &str) -> Result<String> {
        self.docker(&["inspect", "--format", format, container])
    }

    pub(crate) fn is_running(&self, container: &str) -> Result<bool> {
        Ok(self.inspect(container, "{{.State.Running}} {{.State.Paused}}")? == "true false")
    }

    pub(crate) fn started_at(&self, container: &str) -> Result<String> {
        self.inspect(container, "{{.State.StartedAt}}")
    }

    /// Returns the manifest of the newest artefact of this name.
    pub(crate) fn manifest(&self, source: &str, name: &str) -> Result<serde_json::Value> {
        let what = format!("{source}/{name}");
        self.sandbox.run(&["show", &what, "--json"])?.good()?.json()
    }

    pub(crate) fn names(&self, source: &str) -> Result<Vec<String>> {
        let all: Vec<Artefact> = self.sandbox.artefacts()?;
        let mut names: Vec<String> = all
            .into_iter()
            .filter(|artefact| artefact.source == source)
            .map(|artefact| artefact.name)
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Restores a volume into a folder.
    pub(crate) fn restore(&self, volume: &str, to: &Path) -> Result<()> {
        let what = format!("docker/{volume}");
        let to = to.display().to_string();
        self.sandbox
            .run(&["restore", "volume", &what, "--to", &to])?
            .good()
            .map(drop)
    }

    /// Waits until a volume holds this file.
    pub(crate) fn wait_for_file(&self, volume: &str, name: &str) -> Result<()> {
        let file = self.engine.volume_folder(volume).join(name);
        wait_until(&format!("{name} is in {volume}"), DEADLINE, || Ok(file.exists())).context("start a container")
    }
}
