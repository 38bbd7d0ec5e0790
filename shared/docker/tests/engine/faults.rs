//! Engines that restart, hang, refuse, or are not there.

use std::os::unix::fs::PermissionsExt;

use holdfast_docker::engine::{Engine, EngineError, Kind};
use holdfast_docker::facts::State;
use holdfast_docker::labels::Mode;
use holdfast_fault::Retryable as _;

use crate::support::{Docker, OBEDIENT, SHORT, until};

async fn refused(host: &str) -> EngineError {
    Engine::connect(host, SHORT).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_restarts_in_the_quiet_time_does_not_keep_containers_down() {
    let mut docker = Docker::start().await;
    docker.run("plain", &["-v", "data:/data"], OBEDIENT);
    docker.run("unless", &["-v", "data:/data", "--restart", "unless-stopped"], OBEDIENT);
    docker.run("always", &["-v", "data:/data", "--restart", "always"], OBEDIENT);
    let names = ["plain", "unless", "always"];
    let time = docker.begin(&[("data", Mode::Stop)]).await.unwrap();
    assert_eq!(docker.states(&names).await, [State::Stopped; 3]);
    docker.engine.stop().unwrap();
    let bringing = tokio::spawn(time.bring_back());
    docker.engine.restart().unwrap();
    let back = bringing.await.unwrap();
    assert!(back.failures.is_empty(), "{back:?}");
    assert_eq!(back.back.len(), 3);
    until("all run", async || docker.states(&names).await == [State::Running; 3]).await;
    assert_eq!(docker.intents(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restart_policy_started_meanwhile_is_told() {
    let mut docker = Docker::start().await;
    docker.run("stopped", &["-v", "data:/data", "--restart", "always"], OBEDIENT);
    docker.run("frozen", &["-v", "other:/data"], OBEDIENT);
    let time = docker
        .begin(&[("data", Mode::Stop), ("other", Mode::Pause)])
        .await
        .unwrap();
    docker.engine.kill().unwrap();
    docker.engine.restart().unwrap();
    until("the engine starts it", async || {
        docker.state("stopped").await == State::Running
    })
    .await;
    let mut back = time.bring_back().await;
    back.disturbed.sort();
    assert_eq!(back.disturbed, ["frozen", "stopped"]);
    assert!(back.failures.is_empty(), "{back:?}");
    assert_eq!(docker.states(&["stopped", "frozen"]).await, [State::Running; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_hangs_is_named_in_time() {
    let mut docker = Docker::start().await;
    docker.run("one", &[], OBEDIENT);
    let impatient = Engine::connect(&docker.engine.host(), SHORT).await.unwrap();
    docker.engine.pause().unwrap();
    until("it does not answer", async || impatient.version().await.is_err()).await;
    let error = impatient.container("one").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.retry().is_later()),
        (Kind::NoAnswer(SHORT.answer), true)
    );
    assert_eq!(
        error.to_string(),
        "inspect container one: the engine did not answer within 500ms"
    );
    docker.engine.resume().unwrap();
    until("it answers", async || impatient.version().await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_that_cannot_be_reached_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| format!("unix://{}", dir.path().join(name).display());

    let missing = refused(&at("nothing")).await;
    assert_eq!((missing.kind(), missing.retry().is_later()), (Kind::Missing, true));
    assert!(
        missing
            .to_string()
            .starts_with("connect to the Docker engine at unix:///"),
        "{missing}"
    );

    drop(std::os::unix::net::UnixListener::bind(dir.path().join("dead")).unwrap());
    let dead = refused(&at("dead")).await;
    assert_eq!((dead.kind(), dead.retry().is_later()), (Kind::Refused, true));

    let _deaf = std::os::unix::net::UnixListener::bind(dir.path().join("deaf")).unwrap();
    let deaf = refused(&at("deaf")).await;
    assert_eq!(
        (deaf.kind(), deaf.retry().is_later()),
        (Kind::NoAnswer(SHORT.answer), true)
    );

    let hasty = std::os::unix::net::UnixListener::bind(dir.path().join("hasty")).unwrap();
    std::thread::spawn(move || hasty.incoming().take(1).for_each(drop));
    let hasty = refused(&at("hasty")).await;
    assert_eq!((hasty.kind(), hasty.retry().is_later()), (Kind::Broken, true));

    let babbling = answering(
        dir.path().join("babbling"),
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<no json>",
    );
    let garbled = refused(&at("babbling")).await;
    assert_eq!((garbled.kind(), garbled.retry().is_later()), (Kind::Garbled, false));
    drop(babbling);

    let proxy = answering(
        dir.path().join("proxy"),
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nForbidden",
    );
    let denied = refused(&at("proxy")).await;
    assert_eq!((denied.kind(), denied.retry().is_later()), (Kind::Denied, false));
    drop(proxy);

    for odd in ["ftp://x", "docker.sock", "", "https://127.0.0.1:1"] {
        let error = refused(odd).await;
        assert_eq!(
            (error.kind(), error.retry().is_later()),
            (Kind::NoAddress, false),
            "{odd}"
        );
    }
    let port = holdfast_tests::process::free_port().unwrap();
    assert_eq!(refused(&format!("tcp://127.0.0.1:{port}")).await.kind(), Kind::Refused);
}

/// Answers a single request with `answer`, which is a whole response.
fn answering(socket: std::path::PathBuf, answer: &'static str) -> std::thread::JoinHandle<()> {
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        stream.write_all(answer.as_bytes()).unwrap();
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_survives_a_restart_of_the_engine() {
    let mut docker = Docker::start().await;
    docker.docker(&["volume", "create", "kept"]);
    docker.engine.kill().unwrap();
    let error = docker.client.volumes().await.unwrap_err();
    assert!(
        matches!(error.kind(), Kind::Missing | Kind::Refused) && error.retry().is_later(),
        "{error}"
    );
    docker.engine.restart().unwrap();
    assert_eq!(docker.client.volumes().await.unwrap().len(), 1);
}
