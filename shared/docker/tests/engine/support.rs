//! An engine for each test, with stacks on it, and short ways to make quiet times.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use holdfast_docker::engine::{Engine, Limits};
use holdfast_docker::facts::State;
use holdfast_docker::labels::Mode;
use holdfast_docker::perform::{NotQuiet, Quiet, QuietTime};
use holdfast_docker::quiet::{self, Covered, QuietPlan};
use holdfast_tests::docker::{self, IMAGE};
use holdfast_tests::wait_until;

/// The longest time that any wait takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Short limits, for calls that are meant to fail.
pub(crate) const SHORT: Limits = Limits {
    answer: Duration::from_millis(500),
    act: Duration::from_millis(500),
    idle: Duration::from_millis(500),
};

/// A shell script that runs until it is told to end, and then ends at once.
pub(crate) const OBEDIENT: &str = "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done";

/// An engine with a client that is connected to it.
pub(crate) struct Docker {
    pub(crate) engine: docker::Engine,
    pub(crate) client: Engine,
    pub(crate) state: tempfile::TempDir,
}

impl Docker {
    pub(crate) async fn start() -> Self {
        let engine = docker::Engine::start().unwrap();
        let client = Engine::connect(&engine.host(), Limits::default()).await.unwrap();
        let state = tempfile::tempdir().unwrap();
        Self { engine, client, state }
    }

    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        self.engine.docker(arguments).unwrap()
    }

    /// Starts a container that runs a shell script.
    pub(crate) fn run(&self, name: &str, options: &[&str], script: &str) {
        let fixed = ["run", "--detach", "--name", name];
        let command = [IMAGE, "sh", "-c", script];
        self.docker(&[&fixed[..], options, &command[..]].concat());
    }

    /// Starts a service of the stack `shop`.
    pub(crate) fn service(&self, name: &str, depends_on: &str, options: &[&str], script: &str) {
        let labels = [
            "--label".to_owned(),
            "com.docker.compose.project=shop".to_owned(),
            "--label".to_owned(),
            format!("com.docker.compose.service={name}"),
            "--label".to_owned(),
            format!("com.docker.compose.depends_on={depends_on}"),
        ];
        let labels: Vec<_> = labels.iter().map(String::as_str).collect();
        self.run(name, &[&labels[..], options].concat(), script);
    }

    /// Starts a stack whose services write their ends and starts to a file of the host. `app` needs `db` and `cache`,
    /// and `proxy` needs `app`. `db` uses the volume `data`.
    pub(crate) fn shop(&self) {
        let log = self.log();
        std::fs::create_dir_all(log.parent().unwrap()).unwrap();
        std::fs::write(&log, "").unwrap();
        let mount = format!("{}:/log", log.parent().unwrap().display());
        let script = |name: &str| {
            format!(
                "echo start {name} >>/log/log; trap 'echo stop {name} >>/log/log; exit 0' TERM; while :; do sleep 1000 & wait $!; done"
            )
        };
        self.service("db", "", &["-v", &mount, "-v", "data:/data"], &script("db"));
        self.service("cache", "", &["-v", &mount], &script("cache"));
        self.service(
            "app",
            "db:service_started:true,cache:service_started:true",
            &["-v", &mount],
            &script("app"),
        );
        self.service("proxy", "app:service_started:true", &["-v", &mount], &script("proxy"));
        self.logged(4);
        std::fs::write(&log, "").unwrap();
    }

    pub(crate) fn log(&self) -> std::path::PathBuf {
        self.state.path().join("log/log")
    }

    /// Waits until the log has at least `lines` lines, and returns it.
    pub(crate) fn logged(&self, lines: usize) -> Vec<String> {
        let read = || std::fs::read_to_string(self.log()).unwrap();
        wait_until("the log is long enough", DEADLINE, || {
            Ok(read().lines().count() >= lines)
        })
        .unwrap_or_else(|error| panic!("{error}: {}", read()));
        read().lines().map(str::to_owned).collect()
    }

    pub(crate) fn quiet(&self) -> Quiet {
        Quiet::new(self.client.clone(), self.state_dir())
    }

    pub(crate) fn state_dir(&self) -> &Path {
        self.state.path()
    }

    pub(crate) async fn plan(&self, volumes: &[(&str, Mode)]) -> QuietPlan {
        plan(&self.client, volumes).await
    }

    pub(crate) async fn begin(&self, volumes: &[(&str, Mode)]) -> Result<QuietTime, NotQuiet> {
        begin(&self.client, &self.quiet(), volumes).await
    }

    pub(crate) async fn state(&self, container: &str) -> State {
        self.client.container(container).await.unwrap().state
    }

    pub(crate) async fn states(&self, containers: &[&str]) -> Vec<State> {
        let mut states = Vec::new();
        for container in containers {
            states.push(self.state(container).await);
        }
        states
    }

    /// Counts the intents in the state folder.
    pub(crate) fn intents(&self) -> usize {
        let entries = std::fs::read_dir(self.state.path().join("quiet")).unwrap();
        entries
            .filter(|entry| entry.as_ref().unwrap().file_name() != "turn.lock")
            .count()
    }
}

pub(crate) async fn plan(client: &Engine, volumes: &[(&str, Mode)]) -> QuietPlan {
    let containers = client.containers().await.unwrap();
    let covered = |(volume, mode): &(&str, Mode)| Covered {
        volume: (*volume).to_owned(),
        mode: *mode,
    };
    let covered: Vec<_> = volumes.iter().map(covered).collect();
    quiet::plan(&containers, &covered, &BTreeSet::new()).unwrap()
}

pub(crate) async fn begin(client: &Engine, quiet: &Quiet, volumes: &[(&str, Mode)]) -> Result<QuietTime, NotQuiet> {
    let turn = quiet.turn(DEADLINE).await.unwrap();
    let plan = plan(client, volumes).await;
    turn.begin("0190-run", "group test", &plan).await
}

/// Waits until `is_so` returns true; fails with `what` after the deadline.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + DEADLINE;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < end, "waited {DEADLINE:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
