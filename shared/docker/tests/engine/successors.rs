//! Workers that are killed, and the workers that come after them.

use std::process::{Command, Stdio};
use std::time::Duration;

use holdfast_docker::engine::{Engine, Limits};
use holdfast_docker::facts::State;
use holdfast_docker::helper::{Access, Helper};
use holdfast_docker::labels::Mode;
use holdfast_docker::network::Joined;
use holdfast_docker::perform::Quiet;
use holdfast_fault::chain;
use holdfast_telemetry::failpoint;
use holdfast_tests::process::Process;
use holdfast_tests::wait_until;

use crate::support::{DEADLINE, Docker, OBEDIENT, SHORT, begin, until};

/// Variables of a worker: the engine's address, and the state folder.
const ENGINE: &str = "HOLDFAST_TEST_ENGINE";
const STATE: &str = "HOLDFAST_TEST_STATE";

/// Set in a worker that does not wait long for answers.
const HASTY: &str = "HOLDFAST_TEST_HASTY";

/// Not a test of its own: the worker that the tests in this file start and kill. Without its variables it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn worker() {
    let (Ok(host), Ok(state)) = (std::env::var(ENGINE), std::env::var(STATE)) else {
        return;
    };
    let limits = if std::env::var_os(HASTY).is_some() {
        SHORT
    } else {
        Limits::default()
    };
    let client = Engine::connect(&host, limits).await.unwrap();
    let state = std::path::Path::new(&state);
    let helper = Helper::create(&client, state, "data", Access::Read).await.unwrap();
    let time = match begin(&client, &Quiet::new(client.clone(), state), &[("data", Mode::Stop)]).await {
        Ok(time) => time,
        Err(refused) => {
            let text = format!("{}\n{:?}", chain(&refused), refused.brought_back.failures);
            std::fs::write(state.join("refused"), text).unwrap();
            return helper.remove().await.unwrap();
        }
    };
    std::fs::write(state.join("quiet-now"), "").unwrap();
    // Ends with the test, if the worker is not killed before.
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().lines().next());
    let _ = ended.await;
    helper.remove().await.unwrap();
    time.bring_back().await;
}

/// Starts a worker that begins a quiet time and keeps it until it is told to end, or meets one of `failpoints`.
fn start_worker(docker: &Docker, failpoints: &str) -> Process {
    spawn_worker(docker, failpoints, false)
}

fn spawn_worker(docker: &Docker, failpoints: &str, hasty: bool) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "successors::worker", "--nocapture"]);
    command.env(ENGINE, docker.engine.host()).env(STATE, docker.state_dir());
    command.env(failpoint::VARIABLE, failpoints);
    if hasty {
        command.env(HASTY, "");
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Process::spawn("the worker", &mut command).unwrap()
}

fn quiet_now(docker: &Docker) {
    let file = docker.state_dir().join("quiet-now");
    wait_until("the worker's quiet time", DEADLINE, || Ok(file.exists())).unwrap();
    std::fs::remove_file(file).unwrap();
}

fn helpers(docker: &Docker) -> String {
    docker.docker(&["ps", "--all", "--quiet", "--filter", "label=holdfast.helper"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_containers_are_brought_back_by_another() {
    let docker = Docker::start().await;
    docker.shop();
    let mut worker = start_worker(&docker, "");
    quiet_now(&docker);
    assert_eq!(docker.logged(3), ["stop proxy", "stop app", "stop db"]);
    assert!(docker.quiet().recover().await.unwrap().ended.is_empty(), "it lives");
    assert!(!helpers(&docker).is_empty());
    worker.kill();
    let recovery = docker.quiet().recover().await.unwrap();
    assert!(recovery.failures.is_empty(), "{:?}", recovery.failures);
    let [recovered] = recovery.ended.as_slice() else {
        panic!("{recovery:?}")
    };
    assert_eq!(
        (recovered.run.as_str(), recovered.covers.as_str()),
        ("0190-run", "group test")
    );
    assert_eq!(recovered.brought_back.back, ["db", "app", "proxy"]);
    assert_eq!(docker.logged(6)[3..], ["start db", "start app", "start proxy"]);
    assert_eq!(helpers(&docker), "");
    assert_eq!(docker.intents(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_runs_the_hooks_of_the_labels_and_none_of_a_file() {
    let docker = Docker::start().await;
    let log = docker.log();
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    std::fs::write(&log, "").unwrap();
    let mount = format!("{}:/log", log.parent().unwrap().display());
    let label = "holdfast.exec.after=echo labelled >>/log/log";
    docker.service(
        "app",
        "",
        &["-v", &mount, "-v", "data:/data", "--label", label],
        OBEDIENT,
    );
    let mut worker = start_worker(&docker, "");
    quiet_now(&docker);
    worker.kill();
    let written = std::fs::read_dir(docker.state_dir().join("quiet")).unwrap();
    let mut written = written.map(|entry| entry.unwrap().path());
    let file = written
        .find(|path| path.extension().is_some_and(|kind| kind == "json"))
        .unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("labelled"), "{text}");
    let mut forged: serde_json::Value = serde_json::from_str(&text).unwrap();
    forged["containers"][0]["hooks"] = serde_json::json!({"after": "echo forged >>/log/log"});
    std::fs::write(&file, forged.to_string()).unwrap();
    let recovery = docker.quiet().recover().await.unwrap();
    assert!(recovery.failures.is_empty(), "{:?}", recovery.failures);
    assert_eq!(docker.state("app").await, State::Running);
    assert_eq!(docker.logged(1), ["labelled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_a_worker_dies_its_successor_leaves_all_running() {
    let docker = Docker::start().await;
    docker.shop();
    docker.docker(&["exec", "db", "true"]);
    // Each step on the way into the quiet time, and the way back.
    let deaths = [
        "docker.after_intent=abort",
        "docker.before_quiet=abort@1",
        "docker.after_quiet=abort@1",
        "docker.before_quiet=abort@2",
        "docker.after_quiet=abort@3",
        "docker.before_back=abort@1",
        "docker.before_back=abort@3",
    ];
    for death in deaths {
        let mut worker = start_worker(&docker, death);
        if death.contains("before_back") {
            quiet_now(&docker);
            // The end of the worker's standard input ends its quiet time.
            drop(worker.take_stdin());
        }
        let ended = worker.wait(DEADLINE).unwrap();
        assert!(!ended.success(), "{death}");
        assert_eq!(docker.intents(), 1, "{death}");
        let recovery = docker.quiet().recover().await.unwrap();
        assert_eq!(recovery.ended.len(), 1, "{death}");
        assert!(
            recovery.ended[0].brought_back.failures.is_empty(),
            "{death}: {recovery:?}"
        );
        assert_eq!(
            docker.states(&["proxy", "app", "cache", "db"]).await,
            [State::Running; 4],
            "{death}"
        );
        assert_eq!((docker.intents(), helpers(&docker)), (0, String::new()), "{death}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_the_engine_is_still_about_is_waited_for() {
    let docker = Docker::start().await;
    docker.run(
        "slow",
        &["-v", "data:/data"],
        "trap 'touch /data/told; sleep 3; exit 0' TERM; while :; do sleep 1000 & wait $!; done",
    );
    let mut worker = start_worker(&docker, "");
    let told = docker.engine.volume_folder("data").join("told");
    wait_until("it is told to stop", DEADLINE, || Ok(told.exists())).unwrap();
    worker.kill();
    assert_eq!(docker.state("slow").await, State::Running, "for now");
    let started_at = docker.client.container("slow").await.unwrap().started_at;
    let recovery = docker.quiet().recover().await.unwrap();
    assert_eq!(recovery.ended[0].brought_back.back, ["slow"]);
    let now = docker.client.container("slow").await.unwrap();
    assert_eq!(now.state, State::Running);
    assert_ne!(now.started_at, started_at, "it was stopped, and then started");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_turn_recovers_before_it_plans() {
    let docker = Docker::start().await;
    docker.run("one", &["-v", "data:/data"], OBEDIENT);
    let mut worker = start_worker(&docker, "");
    quiet_now(&docker);
    worker.kill();
    let turn = docker.quiet().turn(DEADLINE).await.unwrap();
    assert_eq!(turn.recovery().ended[0].brought_back.back, ["one"]);
    let plan = docker.plan(&[("data", Mode::Stop)]).await;
    let time = turn.begin("0190-next", "volume data", &plan).await.unwrap();
    assert_eq!(docker.state("one").await, State::Stopped);
    assert_eq!(time.bring_back().await.back, ["one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_waits_for_an_engine_that_is_away() {
    let mut docker = Docker::start().await;
    docker.run("one", &["-v", "data:/data"], OBEDIENT);
    let mut worker = start_worker(&docker, "");
    quiet_now(&docker);
    worker.kill();
    docker.engine.kill().unwrap();
    let quiet = docker.quiet().with_patience(Duration::from_millis(300));
    let recovery = quiet.recover().await.unwrap();
    assert_eq!(recovery.ended[0].brought_back.failures.len(), 1);
    assert_eq!(docker.intents(), 1, "left to the next");
    let quiet = docker.quiet();
    let recovering = tokio::spawn(async move { quiet.recover().await });
    docker.engine.restart().unwrap();
    let recovery = recovering.await.unwrap().unwrap();
    assert_eq!(recovery.ended[0].brought_back.back, ["one"]);
    until("it runs", async || docker.state("one").await == State::Running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_an_engine_took_before_it_hung_leaves_nothing_down() {
    let mut docker = Docker::start().await;
    docker.run("one", &["-v", "data:/data"], OBEDIENT);
    docker.run(
        "two",
        &["-v", "data:/data", "--label", "holdfast.stop-timeout=1s"],
        OBEDIENT,
    );
    let impatient = Engine::connect(&docker.engine.host(), SHORT).await.unwrap();
    let go = docker.state_dir().join("go");
    let back = docker.state_dir().join("back");
    let points = format!(
        "docker.before_quiet=pause:{}@2; docker.before_back=pause:{}@1",
        go.display(),
        back.display()
    );
    let mut worker = spawn_worker(&docker, &points, true);
    let reached = |file: &std::path::Path| {
        let mark = file.with_extension("reached");
        wait_until("the worker is there", DEADLINE, || Ok(mark.exists())).unwrap();
    };
    reached(&go);
    assert_eq!(docker.states(&["one", "two"]).await, [State::Stopped, State::Running]);
    docker.engine.pause().unwrap();
    until("it hangs", async || impatient.version().await.is_err()).await;
    // The stop is asked for, and is done only when nobody waits for it any more.
    std::fs::write(&go, "").unwrap();
    reached(&back);
    std::fs::write(&back, "").unwrap();
    docker.engine.resume().unwrap();
    assert!(worker.wait(DEADLINE).unwrap().success());
    let refused = std::fs::read_to_string(docker.state_dir().join("refused")).unwrap();
    let expected = "make containers quiet: make container two quiet: stop container";
    assert!(
        refused.starts_with(expected) && refused.contains("did not answer within 1.5s"),
        "{refused}"
    );
    assert!(refused.ends_with("\n[]"), "{refused}");
    assert_eq!(docker.states(&["one", "two"]).await, [State::Running; 2]);
    assert_eq!(docker.intents(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_was_joined_is_left_by_its_owner_or_by_a_successor() {
    let docker = Docker::start().await;
    docker.docker(&["network", "create", "shop"]);
    docker.run("dumper", &[], OBEDIENT);
    let id = |kind: &[&str]| docker.docker(&[kind, &["--format", "{{.Id}}"]].concat());
    let network = id(&["network", "inspect", "shop"]);
    let dumper = id(&["inspect", "dumper"]);
    let networks = || {
        docker.docker(&[
            "inspect",
            "--format",
            "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}",
            "dumper",
        ])
    };
    let before = networks();
    let join = || Joined::join(&docker.client, docker.state_dir(), &network, &dumper);
    let joined = join().await.unwrap();
    assert!(networks().contains("shop"), "{}", networks());
    joined.leave().await.unwrap();
    assert_eq!(networks(), before);

    // Nobody takes the container out of the network while the owner lives.
    let quiet = Quiet::new(docker.client.clone(), docker.state_dir());
    let joined = join().await.unwrap();
    quiet.recover().await.unwrap();
    assert!(networks().contains("shop"), "{}", networks());
    drop(joined);
    let recovery = quiet.recover().await.unwrap();
    assert!(recovery.failures.is_empty(), "{:?}", recovery.failures);
    assert_eq!(networks(), before);
}
