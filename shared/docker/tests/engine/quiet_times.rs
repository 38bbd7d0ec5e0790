//! Quiet times that succeed, or fail and are undone.

use std::time::Duration;

use holdfast_docker::facts::State;
use holdfast_docker::labels::Mode;
use holdfast_docker::perform::{BroughtBack, NotQuiet};
use holdfast_fault::chain;

use crate::support::{DEADLINE, Docker, OBEDIENT, until};

const SHOP: [&str; 4] = ["proxy", "app", "cache", "db"];

fn is_clean(brought_back: &BroughtBack) -> bool {
    brought_back.failures.is_empty() && brought_back.warnings.is_empty() && brought_back.disturbed.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_stops_in_order_and_comes_back_in_reverse() {
    let docker = Docker::start().await;
    docker.shop();
    docker.run("other", &["-v", "other:/data"], OBEDIENT);
    let time = docker.begin(&[("data", Mode::Stop)]).await.unwrap();
    assert_eq!(docker.logged(3), ["stop proxy", "stop app", "stop db"]);
    assert_eq!(
        docker.states(&SHOP).await,
        [State::Stopped, State::Stopped, State::Running, State::Stopped]
    );
    assert_eq!(docker.intents(), 1);
    assert!(time.warnings().is_empty());
    let back = time.bring_back().await;
    assert!(is_clean(&back), "{back:?}");
    assert_eq!(back.back, ["db", "app", "proxy"]);
    assert!(back.down_time.unwrap() > Duration::ZERO);
    assert_eq!(docker.logged(6)[3..], ["start db", "start app", "start proxy"]);
    assert_eq!(docker.states(&SHOP).await, [State::Running; 4]);
    assert_eq!(docker.intents(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_ran_before_comes_back() {
    let docker = Docker::start().await;
    docker.shop();
    docker.run("frozen", &["-v", "data:/data"], OBEDIENT);
    docker.docker(&["pause", "frozen"]);
    docker.docker(&["stop", "app"]);
    docker.logged(1);
    let time = docker.begin(&[("data", Mode::Stop)]).await.unwrap();
    assert_eq!(time.warnings(), ["container frozen is paused already, and is left so"]);
    // `proxy` does not need `db` while `app` does not run.
    assert_eq!(
        docker.states(&SHOP).await,
        [State::Running, State::Stopped, State::Running, State::Stopped]
    );
    let back = time.bring_back().await;
    assert!(is_clean(&back), "{back:?}");
    assert_eq!(
        docker.states(&SHOP).await,
        [State::Running, State::Stopped, State::Running, State::Running]
    );
    assert_eq!(docker.state("frozen").await, State::Paused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_container_writes_nothing_and_goes_on_where_it_was() {
    let docker = Docker::start().await;
    docker.run(
        "writer",
        &["-v", "data:/data"],
        "n=0; while :; do n=$((n+1)); echo $n >/data/n.new; mv /data/n.new /data/n; done",
    );
    let file = docker.engine.volume_folder("data").join("n");
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    until("it writes", async || !read().is_empty()).await;
    let time = docker.begin(&[("data", Mode::Pause)]).await.unwrap();
    assert_eq!(docker.state("writer").await, State::Paused);
    let before = read();
    let started_at = docker.client.container("writer").await.unwrap().started_at;
    // Long enough for the engine to run a container.
    docker.docker(&["run", "--rm", holdfast_tests::docker::IMAGE, "true"]);
    assert_eq!(read(), before);
    let back = time.bring_back().await;
    assert!(is_clean(&back), "{back:?}");
    assert_eq!(back.back, ["writer"]);
    until("it goes on", async || read() != before).await;
    assert_eq!(docker.client.container("writer").await.unwrap().started_at, started_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_run_around_the_quiet_time_as_their_user() {
    let docker = Docker::start().await;
    let hooks = |name: &str| {
        [
            format!("holdfast.exec.before=echo before {name} $(id -u) >>/log/log"),
            format!("holdfast.exec.after=echo after {name} $(id -u) >>/log/log"),
        ]
    };
    let log = docker.log();
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    std::fs::write(&log, "").unwrap();
    std::fs::set_permissions(&log, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let mount = format!("{}:/log", log.parent().unwrap().display());
    let ([db_before, db_after], [app_before, app_after]) = (hooks("db"), hooks("app"));
    let script = "trap 'echo stop >>/log/log; exit 0' TERM; while :; do sleep 1000 & wait $!; done";
    docker.service(
        "db",
        "",
        &[
            "-v",
            &mount,
            "-v",
            "data:/data",
            "--label",
            &db_before,
            "--label",
            &db_after,
        ],
        script,
    );
    let user = "holdfast.exec.user=nobody";
    docker.service(
        "app",
        "db:service_started:true",
        &[
            "-v",
            &mount,
            "--label",
            &app_before,
            "--label",
            &app_after,
            "--label",
            user,
        ],
        script,
    );
    let time = docker.begin(&[("data", Mode::Stop)]).await.unwrap();
    assert!(time.warnings().is_empty());
    let back = time.bring_back().await;
    assert!(is_clean(&back), "{back:?}");
    assert_eq!(
        docker.logged(6),
        [
            "before db 0",
            "before app 65534",
            "stop",
            "stop",
            "after db 0",
            "after app 65534"
        ]
    );

    std::fs::write(&log, "").unwrap();
    let time = docker.begin(&[("data", Mode::Live)]).await.unwrap();
    assert_eq!(docker.states(&["db", "app"]).await, [State::Running; 2]);
    assert!(is_clean(&time.bring_back().await));
    assert_eq!(docker.logged(2), ["before db 0", "after db 0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_fails_or_hangs_keeps_all_running_or_is_only_a_warning() {
    let docker = Docker::start().await;
    let label = |label: &str| ["--label".to_owned(), label.to_owned()];
    let run = |name: &str, labels: &[&str]| {
        let volume = format!("{name}:/data");
        let labels: Vec<_> = labels.iter().flat_map(|text| label(text)).collect();
        let labels: Vec<_> = labels.iter().map(String::as_str).collect();
        docker.run(name, &[&["-v", &volume], &labels[..]].concat(), OBEDIENT);
    };
    run(
        "failing",
        &[
            "holdfast.exec.before=echo no room >&2; exit 7",
            "holdfast.exec.after=touch /after",
        ],
    );
    run(
        "hanging",
        &[
            "holdfast.exec.before=echo begun; sleep 1000",
            "holdfast.exec.timeout=500ms",
        ],
    );
    run("talking", &["holdfast.exec.before=yes", "holdfast.exec.timeout=500ms"]);
    run("missing", &["holdfast.exec.before=/no/such/program"]);
    run(
        "nobody",
        &["holdfast.exec.before=true", "holdfast.exec.user=no-such-user"],
    );
    run(
        "warning",
        &[
            "holdfast.exec.before=exit 3",
            "holdfast.exec.after=exit 4",
            "holdfast.exec.on-failure=warn",
        ],
    );

    let refused = async |name: &str| -> (String, NotQuiet) {
        let refused = docker.begin(&[(name, Mode::Stop)]).await.unwrap_err();
        assert_eq!(docker.state(name).await, State::Running, "{name}");
        assert!(refused.brought_back.failures.is_empty());
        assert_eq!(docker.intents(), 0);
        (chain(&refused.error).to_string(), refused)
    };
    let (text, refused_failing) = refused("failing").await;
    assert_eq!(
        text,
        "run the hook before of container failing: it ended with exit code 7; it said: no room"
    );
    assert!(refused_failing.brought_back.back.is_empty(), "nothing was touched");
    // The hook after ends what the hook before may have begun.
    assert_eq!(docker.docker(&["exec", "failing", "ls", "/after"]), "/after");
    let (text, _) = refused("hanging").await;
    assert_eq!(
        text,
        "run the hook before of container hanging: it did not end within 500ms, and may go on; it said: begun"
    );
    let (text, _) = refused("talking").await;
    assert!(text.contains("did not end within 500ms") && text.len() < 3000, "{text}");
    let (text, _) = refused("missing").await;
    assert!(text.contains("exit code 127"), "{text}");
    let (text, _) = refused("nobody").await;
    assert!(
        text.contains("no-such-user") || text.contains("exit code 126"),
        "{text}"
    );

    let time = docker.begin(&[("warning", Mode::Stop)]).await.unwrap();
    assert_eq!(docker.state("warning").await, State::Stopped);
    assert_eq!(
        time.warnings(),
        ["the hook before of container warning failed: it ended with exit code 3"]
    );
    let back = time.bring_back().await;
    assert_eq!(
        back.warnings,
        ["the hook after of container warning failed: it ended with exit code 4"]
    );
    assert_eq!(docker.state("warning").await, State::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_will_not_stop_is_killed_in_time_and_comes_back() {
    let docker = Docker::start().await;
    let label = ["--label", "holdfast.stop-timeout=1s"];
    docker.run(
        "deaf",
        &[&["-v", "data:/data"], &label[..]].concat(),
        "trap '' TERM; while :; do sleep 1; done",
    );
    let begun = std::time::Instant::now();
    let time = docker.begin(&[("data", Mode::Stop)]).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(9), "not the engine's ten seconds");
    assert_eq!(
        time.warnings(),
        ["container deaf did not stop in time and was killed: its volumes may hold unfinished work"]
    );
    let back = time.bring_back().await;
    assert!(is_clean(&back), "{back:?}");
    assert_eq!(docker.state("deaf").await, State::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_will_not_start_holds_no_other_up_and_is_tried_again() {
    let docker = Docker::start().await;
    let folder = docker.state_dir().join("bound");
    std::fs::create_dir(&folder).unwrap();
    let mount = format!("type=bind,source={},target=/bound", folder.display());
    docker.run("aa", &["-v", "data:/data"], OBEDIENT);
    docker.run("bb", &["-v", "data:/data", "--mount", &mount], OBEDIENT);
    docker.run(
        "cc",
        &["-v", "data:/data"],
        "test ! -e /data/fail || exit 9; trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done",
    );
    docker.run("dd", &["-v", "data:/data"], OBEDIENT);
    let time = docker.begin(&[("data", Mode::Stop)]).await.unwrap();
    std::fs::remove_dir(&folder).unwrap();
    docker.docker(&["rm", "dd"]);
    let back = time.bring_back().await;
    assert_eq!(
        (back.back.as_slice(), back.gone.as_slice()),
        (
            ["cc".to_owned(), "aa".to_owned()].as_slice(),
            ["dd".to_owned()].as_slice()
        )
    );
    let failures: Vec<_> = back.failures.iter().map(|failure| chain(failure).to_string()).collect();
    assert_eq!(failures.len(), 1);
    assert!(
        failures[0].starts_with("bring back container bb: start container"),
        "{failures:?}"
    );
    assert!(failures[0].contains("bind source path does not exist"), "{failures:?}");
    assert_eq!(docker.intents(), 1);

    // The next recovery tries again.
    let recovery = docker.quiet().recover().await.unwrap();
    assert_eq!(recovery.ended[0].brought_back.failures.len(), 1);
    std::fs::create_dir(&folder).unwrap();
    let recovery = docker.quiet().recover().await.unwrap();
    assert!(recovery.ended[0].brought_back.failures.is_empty());
    assert_eq!(docker.states(&["aa", "bb", "cc"]).await, [State::Running; 3]);
    assert_eq!(docker.intents(), 0);
    assert!(docker.quiet().recover().await.unwrap().ended.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_time_that_is_dropped_ends_all_the_same() {
    let docker = Docker::start().await;
    docker.shop();
    let time = docker.begin(&[("data", Mode::Stop)]).await.unwrap();
    let worker = tokio::spawn(async move {
        let _time = time;
        panic!("as a worker might");
    });
    assert!(worker.await.unwrap_err().is_panic());
    until("all are back", async || {
        docker.states(&SHOP).await == [State::Running; 4]
    })
    .await;

    // A task that is cancelled while it stops containers.
    docker.run(
        "slow",
        &["-v", "slow:/data"],
        "trap 'sleep 2; exit 0' TERM; while :; do sleep 1000 & wait $!; done",
    );
    docker.service("needy", "", &["--label", "holdfast.depends-on=slow"], OBEDIENT);
    let client = docker.client.clone();
    let quiet = docker.quiet();
    let worker = tokio::spawn(async move {
        crate::support::begin(&client, &quiet, &[("slow", Mode::Stop)])
            .await
            .map(drop)
    });
    until("it has begun", async || docker.state("needy").await == State::Stopped).await;
    worker.abort();
    assert!(worker.await.unwrap_err().is_cancelled());
    // The next turn waits until the first quiet time is undone.
    let turn = docker.quiet().turn(DEADLINE).await.unwrap();
    assert_eq!(docker.states(&["slow", "needy"]).await, [State::Running; 2]);
    assert_eq!(docker.intents(), 0);
    drop(turn);
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_times_take_turns() {
    let docker = Docker::start().await;
    docker.run("one", &["-v", "aa:/aa", "-v", "bb:/bb"], OBEDIENT);
    let first = docker.begin(&[("aa", Mode::Stop)]).await.unwrap();
    let error = docker.quiet().turn(Duration::from_millis(300)).await.unwrap_err();
    assert!(
        error.to_string().contains("another quiet time has gone on for 300ms"),
        "{error}"
    );
    assert!(
        docker.quiet().recover().await.unwrap().ended.is_empty(),
        "its owner lives"
    );
    assert_eq!(docker.state("one").await, State::Stopped);
    let second = async { docker.begin(&[("bb", Mode::Stop)]).await };
    let (back, second) = tokio::join!(first.bring_back(), second);
    assert!(is_clean(&back), "{back:?}");
    // A plan made before the first quiet time ended would have found nothing to stop.
    assert_eq!(docker.state("one").await, State::Stopped);
    assert_eq!(second.unwrap().bring_back().await.back, ["one"]);
    // A quiet time of no containers writes no intent.
    let nothing = docker.begin(&[("none", Mode::Stop)]).await.unwrap();
    assert_eq!(docker.intents(), 0);
    assert!(nothing.bring_back().await.back.is_empty());
}
