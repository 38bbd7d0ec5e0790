//! Calls of the adapter, one by one.

use std::time::Duration;

use futures::StreamExt;
use holdfast_docker::engine::{EventKind, Exec, Kind, Outcome, Started};
use holdfast_docker::facts::{Labels, MountKind, State};
use holdfast_docker::inventory::{self, Selection};
use holdfast_fault::Retryable as _;
use holdfast_tests::docker::IMAGE;

use crate::support::{Docker, OBEDIENT, until};

fn exec<'a>(command: &'a [&'a str]) -> Exec<'a> {
    Exec {
        command,
        user: None,
        timeout: Duration::from_secs(20),
        keep: 1000,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_told() {
    let docker = Docker::start().await;
    let version = docker.client.version().await.unwrap();
    assert!(!version.engine.is_empty() && version.os == "linux", "{version:?}");
    docker.docker(&["network", "create", "back"]);
    let bound = docker.state_dir().display().to_string();
    docker.service(
        "db",
        "",
        &[
            "--network",
            "back",
            "-v",
            "data:/data",
            "-v",
            &format!("{bound}:/bound:ro"),
            "--tmpfs",
            "/fast",
            "-e",
            "POSTGRES_PASSWORD=a=b",
            "--stop-timeout",
            "7",
            "--label",
            "holdfast.postgres=true",
            "--label",
            "odd=\n\"ä\u{1F433}",
        ],
        OBEDIENT,
    );
    docker.run(
        "side",
        &["--network", "container:db", "--pid", "container:db", "--rm"],
        OBEDIENT,
    );
    docker.docker(&["create", "--name", "idle", IMAGE, "true"]);
    let containers = docker.client.containers().await.unwrap();
    let names: Vec<_> = containers.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["db", "idle", "side"]);
    let [db, idle, side] = containers.as_slice() else {
        panic!()
    };
    assert_eq!((db.id.len(), db.image.as_str(), db.state), (64, IMAGE, State::Running));
    assert_eq!((idle.state, idle.exit_code), (State::Stopped, Some(0)));
    assert_eq!(db.label("odd"), Some("\n\"ä\u{1F433}"));
    assert_eq!(db.environment.get("POSTGRES_PASSWORD").unwrap().expose(), "a=b");
    assert_eq!(db.stop_timeout, Some(Duration::from_secs(7)));
    assert!(side.auto_remove && !db.auto_remove);
    assert_eq!(side.network_mode, format!("container:{}", db.id));
    assert_eq!(side.pid_mode, format!("container:{}", db.id));
    assert!(
        db.networks["back"]
            .address
            .as_ref()
            .unwrap()
            .parse::<std::net::IpAddr>()
            .is_ok()
    );
    let data = db.mounts.iter().find(|mount| mount.destination == "/data").unwrap();
    assert_eq!(
        (data.kind, data.volume.as_deref(), data.writable),
        (MountKind::Volume, Some("data"), true)
    );
    let bound = db.mounts.iter().find(|mount| mount.destination == "/bound").unwrap();
    assert_eq!(
        (bound.kind, bound.volume.as_deref(), bound.writable),
        (MountKind::Bind, None, false)
    );

    let volumes = docker.client.volumes().await.unwrap();
    assert_eq!(
        std::path::Path::new(&volumes[0].mountpoint),
        docker.engine.volume_folder("data")
    );
    let everything = Selection {
        include: vec!["*".parse().unwrap()],
        exclude: Vec::new(),
        anonymous: false,
        databases: true,
    };
    let inventory = inventory::take(&containers, &volumes, &everything);
    assert_eq!(inventory.databases["db"].networks[0].name, "back");
    assert_eq!(inventory.volumes["data"].stack.as_deref(), Some("shop"));

    let images = docker.client.images().await.unwrap();
    assert_eq!(
        (images.len(), images[0].tags.as_slice()),
        (1, [IMAGE.to_owned()].as_slice())
    );
    assert_eq!(images[0].id, db.image_id);
    assert!(
        docker
            .client
            .networks()
            .await
            .unwrap()
            .iter()
            .any(|network| network.name == "back")
    );
    let metadata = docker.client.metadata().await.unwrap();
    assert_eq!(metadata["containers"].as_array().unwrap().len(), 3);
    assert_eq!(metadata["volumes"][0]["Name"], "data");
}

#[tokio::test(flavor = "multi_thread")]
async fn states_are_changed_and_waited_for() {
    let docker = Docker::start().await;
    docker.run("one", &[], OBEDIENT);
    let client = &docker.client;
    client.pause("one").await.unwrap();
    client.pause("one").await.unwrap();
    assert_eq!(docker.state("one").await, State::Paused);
    client.unpause("one").await.unwrap();
    client.unpause("one").await.unwrap();
    assert_eq!(docker.state("one").await, State::Running);
    assert_eq!(client.start("one").await.unwrap(), Started::Running);
    assert!(!client.stop("one", None).await.unwrap().killed);
    assert!(!client.stop("one", Some(Duration::ZERO)).await.unwrap().killed);
    assert_eq!(docker.state("one").await, State::Stopped);
    let error = client.pause("one").await.unwrap_err();
    assert!(
        matches!(error.kind(), Kind::Conflict | Kind::Failed) && !error.retry().is_later(),
        "{error}"
    );
    assert_eq!(client.start("one").await.unwrap(), Started::Running);
    let error = client.remove_container("one").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    client.stop("one", None).await.unwrap();
    client.remove_container("one").await.unwrap();
    client.remove_container("one").await.unwrap();
    let error = client.start("one").await.unwrap_err();
    assert!(
        error.is_not_found() && error.to_string() == "start container one: not found",
        "{error}"
    );
    docker.docker(&["create", "--name", "broken", IMAGE, "/no/such/program"]);
    let error = client.start("broken").await.unwrap_err();
    assert!(!error.retry().is_later() && !error.is_not_found(), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_run_with_limits() {
    let docker = Docker::start().await;
    docker.run("one", &[], OBEDIENT);
    let client = &docker.client;
    let both = client
        .exec("one", &exec(&["sh", "-c", "printf 'a\\0b'; echo oops >&2; exit 3"]))
        .await
        .unwrap();
    assert_eq!(
        (both.outcome, both.stdout.as_slice(), both.stderr.as_slice(), both.cut),
        (Outcome::Ended(3), &b"a\0b"[..], &b"oops\n"[..], false)
    );
    let nobody = Exec {
        user: Some("65534"),
        ..exec(&["id", "-u"])
    };
    assert_eq!(client.exec("one", &nobody).await.unwrap().stdout, b"65534\n");
    let loud = client
        .exec("one", &exec(&["sh", "-c", "yes | head -c 3000000"]))
        .await
        .unwrap();
    assert_eq!(
        (loud.outcome, loud.stdout.len(), loud.cut),
        (Outcome::Ended(0), 1000, true)
    );
    let slow = Exec {
        timeout: Duration::from_millis(300),
        ..exec(&["sh", "-c", "echo begun; sleep 1000"])
    };
    let slow = client.exec("one", &slow).await.unwrap();
    assert_eq!(
        (slow.outcome, slow.stdout.as_slice()),
        (Outcome::TimedOut, &b"begun\n"[..])
    );
    // The command is not run by a shell, so an argument stays what it is.
    let argument = "$(touch /x); `touch /x` ' \" \\ \n *";
    assert_eq!(
        client.exec("one", &exec(&["echo", argument])).await.unwrap().stdout,
        format!("{argument}\n").into_bytes()
    );
    client.stop("one", None).await.unwrap();
    assert_eq!(
        client.exec("one", &exec(&["true"])).await.unwrap_err().kind(),
        Kind::Conflict
    );
    assert!(client.exec("none", &exec(&["true"])).await.unwrap_err().is_not_found());
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_and_networks_are_made_joined_and_removed() {
    let docker = Docker::start().await;
    let client = &docker.client;
    let labels = Labels::from([("holdfast.class".to_owned(), "weekly".to_owned())]);
    let made = client.create_volume("new", &labels).await.unwrap();
    assert_eq!(
        (made.name.as_str(), made.driver.as_str(), &made.labels),
        ("new", "local", &labels)
    );
    client.create_volume("new", &Labels::new()).await.unwrap();
    assert_eq!(client.volume("new").await.unwrap().labels, labels);
    docker.docker(&["network", "create", "side"]);
    docker.run("one", &["-v", "new:/new"], OBEDIENT);
    assert_eq!(client.remove_volume("new").await.unwrap_err().kind(), Kind::Conflict);
    for _ in 0..2 {
        client.join_network("side", "one").await.unwrap();
    }
    assert!(client.container("one").await.unwrap().networks.contains_key("side"));
    for _ in 0..2 {
        client.leave_network("side", "one").await.unwrap();
    }
    assert!(!client.container("one").await.unwrap().networks.contains_key("side"));
    client.leave_network("none-such", "one").await.unwrap();
    client.leave_network("side", "none-such").await.unwrap();
    assert!(
        client
            .join_network("none-such", "one")
            .await
            .unwrap_err()
            .is_not_found()
    );
    docker.docker(&["rm", "--force", "one"]);
    for _ in 0..2 {
        client.remove_volume("new").await.unwrap();
    }
    assert!(client.volumes().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_would_mean_something_else_are_not_sent() {
    let docker = Docker::start().await;
    docker.docker(&["volume", "create", "victim"]);
    docker.run("victim", &[], OBEDIENT);
    let client = &docker.client;
    let hostile = [
        "",
        ".",
        "..",
        "../containers/victim",
        "x/../victim",
        "victim?force=1",
        "victim#",
        "victim%2f..",
        "a b",
        "a\nb",
        "ä",
        "-x",
        "victim/stop",
    ];
    for name in hostile {
        let mut errors = vec![
            client.remove_volume(name).await.unwrap_err(),
            client.volume(name).await.unwrap_err(),
            client.create_volume(name, &Labels::new()).await.unwrap_err(),
            client.remove_container(name).await.unwrap_err(),
            client.container(name).await.unwrap_err(),
            client.stop(name, Some(Duration::ZERO)).await.unwrap_err(),
            client.start(name).await.unwrap_err(),
            client.pause(name).await.unwrap_err(),
            client.unpause(name).await.unwrap_err(),
            client.exec(name, &exec(&["true"])).await.unwrap_err(),
            client.join_network(name, "victim").await.unwrap_err(),
            client.leave_network("bridge", name).await.unwrap_err(),
        ];
        errors.extend(client.download(name, "/").await.err());
        errors.extend(client.upload(name, "/", &b""[..]).await.err());
        assert_eq!(errors.len(), 14);
        for error in errors {
            assert_eq!(error.kind(), Kind::NoName, "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
    assert_eq!(docker.state("victim").await, State::Running);
    // Names that the engine accepts are accepted here, too, however long and odd.
    for name in [
        "0",
        "x..y",
        "_".repeat(200).replacen('_', "a", 1).as_str(),
        "-rf".replacen('-', "x-", 1).as_str(),
    ] {
        assert_eq!(
            client
                .create_volume(name, &Labels::new())
                .await
                .map(|made| made.name)
                .ok()
                .as_deref(),
            Some(name).filter(|name| name.len() > 1),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_are_told_as_they_happen() {
    let docker = Docker::start().await;
    let mut events = docker.client.events(Some(0));
    docker.service("db", "", &[], OBEDIENT);
    let event = tokio::time::timeout(Duration::from_secs(20), events.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let id = docker.client.container("db").await.unwrap().id;
    let expected = EventKind::ContainerStarted {
        id,
        name: "db".into(),
        image: IMAGE.into(),
        stack: Some("shop".into()),
    };
    assert_eq!(event.kind, expected);
    assert!(event.at > 0);
    // The stream of events ends when the engine does.
    let mut docker = docker;
    docker.engine.kill().unwrap();
    let end = tokio::time::timeout(Duration::from_secs(20), events.next())
        .await
        .unwrap();
    assert!(end.is_none_or(|end| end.is_err_and(|error| error.retry().is_later())));
    until("the engine is gone", async || docker.client.version().await.is_err()).await;
}
