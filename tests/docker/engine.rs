//! The engines that the tests start: what outlives what.

use std::path::Path;
use std::time::Duration;

use holdfast_tests::docker::{Engine, IMAGE, Network};
use holdfast_tests::wait_until;

#[test]
fn a_container_outlives_a_restart_and_nothing_outlives_the_engine() {
    let mut engine = Engine::start().unwrap();
    let dir = engine.socket().parent().unwrap().to_owned();
    engine
        .docker([
            "run",
            "-d",
            "--name",
            "one",
            "-v",
            "files:/files",
            IMAGE,
            "sh",
            "-c",
            "date > /files/date; sleep 1000",
        ])
        .unwrap();
    let file = engine.volume_folder("files").join("date");
    wait_until("the file is there", Duration::from_secs(20), || Ok(file.exists())).unwrap();
    engine.kill().unwrap();
    assert!(engine.docker(["ps"]).is_err());
    engine.restart().unwrap();
    assert_eq!(engine.docker(["ps", "-a", "--format", "{{.Names}}"]).unwrap(), "one");
    engine.docker(["start", "one"]).unwrap();
    engine.stop().unwrap();
    engine.restart().unwrap();
    engine.docker(["start", "one"]).unwrap();
    engine.docker(["pause", "one"]).unwrap();
    engine.pause().unwrap();
    let begun = std::time::Instant::now();
    drop(engine);
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(!dir.exists());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(dir.to_str().unwrap()));
    let name = dir.file_name().unwrap();
    assert!(!Path::new("/sys/fs/cgroup").join(name).exists());
    assert!(!Path::new("/sys/fs/cgroup/pids").join(name).exists());
}

#[test]
fn a_container_on_the_hosts_network_can_be_reached_and_its_bridge_is_removed() {
    let engine = Engine::start_in(Network::Host).unwrap();
    let id = engine.docker(["network", "create", "shop"]).unwrap();
    let bridge = Path::new("/sys/class/net").join(format!("br-{}", &id[..12]));
    let page = "mkdir /www; echo hello > /www/index.html; httpd -f -p 80 -h /www";
    engine
        .docker([
            "run",
            "-d",
            "--name",
            "web",
            "--network",
            "shop",
            IMAGE,
            "sh",
            "-c",
            page,
        ])
        .unwrap();
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = engine.docker(["inspect", "--format", format, "web"]).unwrap();
    let address = format!("{address}:80").parse().unwrap();
    wait_until("it can be reached", Duration::from_secs(20), || {
        Ok(std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())
    })
    .unwrap();
    assert!(bridge.exists());
    drop(engine);
    assert!(!bridge.exists());
}
