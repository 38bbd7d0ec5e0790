//! The private server.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use holdfast_bus::{Bus, BusOptions, PrivateServer, ServerError};
use secrecy::ExposeSecret;

use crate::support::{Rig, binary, eventually, kill, run, seal, within};

fn alive(pid: u32) -> bool {
    // A zombie has no arguments.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|arguments| !arguments.is_empty())
}

fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))?
        .trim()
        .parse()
        .ok()
}

fn children(pid: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|child| parent(*child) == Some(pid)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn its_secrets_stand_in_private_files_only() {
    let rig = Rig::start().await;
    let holdfast_bus::Auth::Password { password, .. } = rig.server().auth() else {
        panic!("no password")
    };
    assert!(password.expose_secret().len() >= 32);
    for name in ["nats.conf", "seat.json"] {
        let mode = std::fs::metadata(rig.dir.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    for of in ["cmdline", "environ"] {
        let text = std::fs::read(format!("/proc/{}/{of}", rig.server().pid())).unwrap();
        assert!(
            !String::from_utf8_lossy(&text).contains(password.expose_secret()),
            "{of}"
        );
    }
    assert!(!format!("{:?}", rig.server()).contains(password.expose_secret()));
    assert!(rig.server().url().starts_with("nats://127.0.0.1:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_folder_has_one_server_and_others_can_find_it() {
    let mut rig = Rig::start().await;
    let error = PrivateServer::start(Some(binary()), rig.dir.path()).await.unwrap_err();
    assert!(
        matches!(&error, ServerError::InUse { pid, .. } if *pid == std::process::id()),
        "{error:?}"
    );
    let running = PrivateServer::running(rig.dir.path()).expect("it is found");
    assert_eq!(
        (running.url.clone(), running.pid),
        (rig.server().url(), rig.server().pid())
    );
    let mut options = BusOptions::new(running.url);
    options.auth = running.auth;
    Bus::connect(&options).await.unwrap();
    rig.stop().await;
    assert!(!alive(running.pid));
    assert!(PrivateServer::running(rig.dir.path()).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_confirmed_is_there_after_stop_and_start() {
    let mut rig = Rig::start().await;
    let bus = rig.bus().await;
    bus.publish_work(&seal(run(), 1)).await.unwrap();
    let url = rig.server().url();
    let pid = rig.server().pid();
    rig.stop().await;
    rig.again().await;
    assert_eq!(rig.server().url(), url);
    assert_ne!(rig.server().pid(), pid);
    assert_eq!(crate::support::held(&rig.raw().await, "HOLDFAST_WORK").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_was_written_before_the_machine_started_nothing_is_believed() {
    let mut rig = Rig::start().await;
    let bus = rig.bus().await;
    bus.publish_work(&seal(run(), 1)).await.unwrap();
    rig.stop().await;
    std::fs::write(rig.dir.path().join("boot"), "another\n").unwrap();
    // What a power cut may leave.
    std::fs::write(
        rig.dir
            .path()
            .join("jetstream/jetstream/$G/streams/HOLDFAST_WORK/meta.inf"),
        "",
    )
    .unwrap();
    rig.again().await;
    let bus = rig.bus().await;
    assert_eq!(crate::support::held(&rig.raw().await, "HOLDFAST_WORK").await, 0);
    bus.publish_work(&seal(run(), 1)).await.unwrap();
    assert_eq!(crate::support::held(&rig.raw().await, "HOLDFAST_WORK").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_exchanged_for_another() {
    let mut rig = Rig::start().await;
    let url = rig.server().url();
    rig.stop().await;
    let taken = tokio::net::TcpListener::bind(url.strip_prefix("nats://").unwrap())
        .await
        .unwrap();
    rig.again().await;
    assert_ne!(rig.server().url(), url);
    rig.bus().await;
    drop(taken);
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_will_not_do_are_refused_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let fake = |said: &str| {
        let path = dir.path().join("fake");
        std::fs::write(&path, format!("#!/bin/sh\necho '{said}'\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    };
    let old = fake("nats-server: v2.9.10");
    let error = PrivateServer::start(Some(&old), &dir.path().join("state"))
        .await
        .unwrap_err();
    assert!(matches!(error, ServerError::TooOld { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("2.9.10") && text.contains("2.10") && text.contains("pip install"),
        "{text}"
    );
    let other = fake("something else");
    let error = PrivateServer::start(Some(&other), &dir.path().join("state"))
        .await
        .unwrap_err();
    assert!(matches!(error, ServerError::Version { .. }), "{error:?}");
    let error = PrivateServer::start(Some(Path::new("/no/such/program")), dir.path())
        .await
        .unwrap_err();
    assert!(matches!(error, ServerError::Version { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("jetstream"), "in the way").unwrap();
    let error = PrivateServer::start(Some(binary()), dir.path()).await.unwrap_err();
    let ServerError::NotReady { log } = &error else {
        panic!("{error:?}")
    };
    assert!(log.contains("jetstream") || log.contains("storage"), "{log}");
}

/// Not a test by itself: the process that the tests below kill.
#[tokio::test(flavor = "multi_thread")]
async fn hold_a_server_when_asked() {
    let Some(dir) = std::env::var_os("HOLDFAST_TEST_HOLD_A_SERVER") else {
        return;
    };
    let _server = PrivateServer::start(Some(binary()), Path::new(&dir)).await.unwrap();
    std::future::pending::<()>().await;
}

/// A process of its own that holds a server; and that server's process.
async fn holder(dir: &Path) -> (tokio::process::Child, u32) {
    let holder = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["server::hold_a_server_when_asked", "--exact", "--nocapture"])
        .env("HOLDFAST_TEST_HOLD_A_SERVER", dir)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    eventually("the other process has its server", || async {
        PrivateServer::running(dir).is_some_and(|running| alive(running.pid))
    })
    .await;
    (holder, PrivateServer::running(dir).unwrap().pid)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_its_owner_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut holder, pid) = holder(dir.path()).await;
    holder.kill().await.unwrap();
    within(Duration::from_secs(10), "the server ends", || async { !alive(pid) }).await;
    // And the folder is free for the next.
    PrivateServer::start(Some(binary()), dir.path())
        .await
        .unwrap()
        .stop()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_outlived_its_owner_and_its_watcher_is_ended_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (mut holder, pid) = holder(dir.path()).await;
    let shell = parent(pid).unwrap();
    let watchers: Vec<u32> = children(shell).into_iter().filter(|child| *child != pid).collect();
    assert_eq!(watchers.len(), 1);
    watchers.into_iter().chain([shell]).for_each(kill);
    holder.kill().await.unwrap();
    assert!(alive(pid));
    let next = PrivateServer::start(Some(binary()), dir.path()).await.unwrap();
    assert!(!alive(pid) && next.pid() != pid);
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_without_stop_it_ends_too() {
    let dir = tempfile::tempdir().unwrap();
    let server = PrivateServer::start(Some(binary()), dir.path()).await.unwrap();
    let pid = server.pid();
    drop(server);
    within(Duration::from_secs(10), "the server ends", || async { !alive(pid) }).await;
}
