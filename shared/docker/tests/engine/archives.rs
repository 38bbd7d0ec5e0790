//! Volumes read and written through the engine.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_docker::engine::{Engine, Kind, Limits};
use holdfast_docker::helper::{Access, Helper, HelperError, UPLOAD_PREFIX};
use holdfast_tests::docker::IMAGE;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::support::{Docker, OBEDIENT};

fn helpers(docker: &Docker) -> String {
    docker.docker(&["ps", "--all", "--quiet", "--filter", "label=holdfast.helper"])
}

async fn all(mut archive: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    archive.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_goes_through_helpers_and_comes_out_the_same() {
    let docker = Docker::start().await;
    docker.docker(&["volume", "create", "from"]);
    docker.docker(&["volume", "create", "to"]);
    let from = docker.engine.volume_folder("from");
    let large: Vec<u8> = (0..5_000_000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    std::fs::create_dir_all(from.join("a/b")).unwrap();
    std::fs::write(from.join("a/large"), &large).unwrap();
    // Two names, since the tar crate, which reads the archive here, ends a PAX value at a line end.
    std::fs::write(from.join("a/b/\n odd"), "x").unwrap();
    std::fs::write(from.join("a/b/\u{1F433} ä"), "y").unwrap();
    std::fs::write(from.join("zeros"), vec![0; 4096]).unwrap();
    symlink("../../etc/passwd", from.join("link")).unwrap();
    std::os::unix::fs::chown(from.join("a/large"), Some(1234), Some(4321)).unwrap();
    std::fs::set_permissions(
        from.join("a/large"),
        std::os::unix::fs::PermissionsExt::from_mode(0o640),
    )
    .unwrap();

    let helper = Helper::create(&docker.client, docker.state_dir(), "from", Access::Read)
        .await
        .unwrap();
    let bytes = all(helper.download().await.unwrap()).await;
    let mut names: Vec<_> = tar::Archive::new(&bytes[..])
        .entries()
        .unwrap()
        .map(|entry| String::from_utf8(entry.unwrap().path_bytes().into_owned()).unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "./",
            "./a/",
            "./a/b/",
            "./a/b/\n odd",
            "./a/b/\u{1F433} ä",
            "./a/large",
            "./link",
            "./zeros"
        ]
    );
    // A helper with read access may not write, and none is ever started.
    let mut again = tar::Builder::new(Vec::new());
    again.follow_symlinks(false);
    again.append_dir_all(UPLOAD_PREFIX, &from).unwrap();
    let again = again.into_inner().unwrap();
    assert!(helper.upload(std::io::Cursor::new(again.clone())).await.is_err());
    assert_eq!(
        docker.docker(&["inspect", "--format", "{{.State.Status}}", helper.name()]),
        "created"
    );
    helper.remove().await.unwrap();

    let helper = Helper::create(&docker.client, docker.state_dir(), "to", Access::Write)
        .await
        .unwrap();
    helper.upload(std::io::Cursor::new(again)).await.unwrap();
    helper.remove().await.unwrap();
    let to = docker.engine.volume_folder("to");
    assert_eq!(std::fs::read(to.join("a/large")).unwrap(), large);
    assert_eq!(std::fs::read(to.join("a/b/\n odd")).unwrap(), b"x");
    assert_eq!(std::fs::read(to.join("a/b/\u{1F433} ä")).unwrap(), b"y");
    assert_eq!(
        std::fs::read_link(to.join("link")).unwrap(),
        Path::new("../../etc/passwd")
    );
    let metadata = std::fs::metadata(to.join("a/large")).unwrap();
    assert_eq!(
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777),
        (1234, 4321, 0o640)
    );
    assert_eq!(helpers(&docker), "");
    assert_eq!(
        std::fs::read_dir(docker.state_dir().join("helpers")).unwrap().count(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_containers_own_mount_will_do() {
    let docker = Docker::start().await;
    docker.run(
        "one",
        &["-v", "data:/data"],
        &format!("echo hello >/data/file; {OBEDIENT}"),
    );
    let file = docker.engine.volume_folder("data").join("file");
    holdfast_tests::wait_until("the file is there", Duration::from_secs(20), || Ok(file.exists())).unwrap();
    for _ in 0..2 {
        let bytes = all(docker.client.download("one", "/data/.").await.unwrap()).await;
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut text = String::new();
        archive
            .entries()
            .unwrap()
            .nth(1)
            .unwrap()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "hello\n");
        docker.client.stop("one", None).await.unwrap();
    }
    assert!(docker.client.download("one", "/none").await.unwrap_err().is_not_found());
    assert!(docker.client.download("none", "/").await.unwrap_err().is_not_found());
    assert!(
        docker
            .client
            .upload("one", "/none", &b""[..])
            .await
            .unwrap_err()
            .is_not_found()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helper_is_not_made_for_what_is_not_there_and_never_left() {
    let docker = Docker::start().await;
    let create = async |volume: &str| Helper::create(&docker.client, docker.state_dir(), volume, Access::Read).await;
    let error = create("none").await.unwrap_err();
    assert!(
        matches!(&error, HelperError::Engine(error) if error.is_not_found()),
        "{error}"
    );
    assert!(
        docker.client.volumes().await.unwrap().is_empty(),
        "the engine would have made it"
    );
    assert!(matches!(create("../x").await, Err(HelperError::Engine(error)) if error.kind() == Kind::NoName));
    docker.docker(&["volume", "create", "data"]);
    drop(create("data").await.unwrap());
    crate::support::until("it is removed", async || helpers(&docker).is_empty()).await;
    docker.docker(&["rmi", IMAGE]);
    let error = create("data").await.unwrap_err();
    assert!(error.to_string().contains("the engine has no image"), "{error}");
    let left = || std::fs::read_dir(docker.state_dir().join("helpers")).unwrap().count();
    holdfast_tests::wait_until("no name is left", Duration::from_secs(20), || Ok(left() == 0)).unwrap();
}

/// Stands in for an engine: answers `/version` as an engine does, and a download with `body` and a proper end.
fn impostor(socket: PathBuf, body: Vec<u8>, ends: bool) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    let answer = move |mut stream: UnixStream| {
        let mut request = vec![0; 4096];
        let read = stream.read(&mut request).unwrap();
        let is_version = String::from_utf8_lossy(&request[..read]).contains("/version");
        let body = if is_version {
            br#"{"ApiVersion":"1.41","Version":"x"}"#.to_vec()
        } else {
            body.clone()
        };
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
            body.len()
        )
        .unwrap();
        stream.write_all(&body).unwrap();
        stream
            .write_all(if is_version || ends { b"\r\n0\r\n\r\n" } else { b"\r\n" })
            .unwrap();
        if !(is_version || ends) {
            // Waits until the other side closes the connection.
            let _ = stream.read(&mut [0; 1]);
        }
    };
    std::thread::spawn(move || listener.incoming().take(2).for_each(|stream| answer(stream.unwrap())))
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_archive_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        idle: Duration::from_millis(300),
        ..Limits::default()
    };
    let mut whole = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3000);
    whole.append_data(&mut header, "file", &[7; 3000][..]).unwrap();
    let whole = whole.into_inner().unwrap();
    let table = [
        ("whole", whole.len(), true, None),
        ("cut", 2000, true, Some("the archive ended before its end")),
        (
            "no-end",
            whole.len() - 1024,
            true,
            Some("the archive ended before its end"),
        ),
        ("stuck", 2000, false, Some("did not answer within 300ms")),
    ];
    for (name, length, ends, expected) in table {
        let socket = dir.path().join(name);
        let server = impostor(socket.clone(), whole[..length].to_vec(), ends);
        let client = Engine::connect(socket.to_str().unwrap(), limits).await.unwrap();
        let mut archive = client.download("one", "/data/.").await.unwrap();
        let mut bytes = Vec::new();
        let read = archive.read_to_end(&mut bytes).await;
        assert_eq!(bytes.len(), length, "{name}");
        let told = read.err().map(|error| holdfast_fault::chain(&error).to_string());
        match (told, expected) {
            (None, None) => {}
            (Some(told), Some(expected)) => assert!(told.contains(expected), "{name}: {told}"),
            other => panic!("{name}: {other:?}"),
        }
        drop(archive);
        server.join().unwrap();
    }
}
