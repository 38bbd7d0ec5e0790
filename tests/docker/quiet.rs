//! Containers that are quiet while their volumes are read.

use std::fs;
use std::time::Duration;

use holdfast_tests::docker::Network;
use holdfast_tests::output::code;
use holdfast_tests::process::Signal;
use holdfast_tests::tree::{self, Shape};
use holdfast_tests::{Context, Result, ensure, wait_until};

use crate::setup::{DEADLINE, OBEDIENT, Setup};

const SMALL: Shape = Shape {
    files: 20,
    largest: 20_000,
    odd: false,
};

/// Counts in two files, which are equal only while nothing writes. When it is told to end, it ends between two counts.
const WRITER: &str = "trap 'stop=1' TERM; n=0; while [ -z \"$stop\" ]; do n=$((n+1)); echo $n >/a/count; echo $n >/b/count; sleep 0.01; done; date >/a/stopped";

#[test]
fn a_group_is_read_in_one_quiet_time_and_its_containers_run_again() -> Result<()> {
    let setup = Setup::new()?;
    let group = ["--label", "holdfast.mode=stop", "--label", "holdfast.group=shop"];
    let hooks = [
        "--label",
        "holdfast.exec.before=date >/a/before",
        "--label",
        "holdfast.exec.after=date >/a/after",
    ];
    let mounts = ["-v", "va:/a", "-v", "vb:/b"];
    setup.start("writer", &[&group[..], &hooks[..], &mounts[..]].concat(), WRITER)?;
    setup.start("idle", &[&group[..], &["-v", "va:/a:ro"][..]].concat(), OBEDIENT)?;
    setup.wait_for_file("vb", "count")?;
    let writer = setup.started_at("writer")?;
    let idle = setup.started_at("idle")?;
    setup.sandbox.run(&["run", "--source", "docker", "--verify"])?.good()?;
    ensure!(setup.started_at("writer")? != writer, "the writer was not stopped");
    assert_eq!(setup.started_at("idle")?, idle, "who only reads is left alone");
    ensure!(setup.is_running("writer")?, "the writer does not run again");

    let a = setup.sandbox.path("a");
    let b = setup.sandbox.path("b");
    setup.restore("va", &a)?;
    setup.restore("vb", &b)?;
    assert_eq!(
        fs::read_to_string(a.join("count"))?,
        fs::read_to_string(b.join("count"))?
    );
    ensure!(
        a.join("stopped").exists() && a.join("before").exists(),
        "it was stopped while it was read"
    );
    ensure!(!a.join("after").exists(), "the hook after ran too early");
    setup.wait_for_file("va", "after")?;
    let manifest = setup.manifest("docker", "va")?;
    assert_eq!(manifest["volume"]["mode"], "stop");
    assert_eq!(manifest["volume"]["group"], "shop");
    ensure!(
        manifest["volume"]["quiet_ms"].as_u64() > Some(0),
        "{}",
        manifest["volume"]
    );
    Ok(())
}

#[test]
fn of_a_group_what_cannot_be_reached_fails_alone() -> Result<()> {
    let setup = Setup::with("volumes = { read = \"path\" }", Network::Private)?;
    let tmpfs = [
        "--opt",
        "type=tmpfs",
        "--opt",
        "device=tmpfs",
        "--label",
        "holdfast.group=shop",
    ];
    setup.docker(&[&["volume", "create"][..], &tmpfs, &["vb"]].concat())?;
    let group = ["--label", "holdfast.mode=stop", "--label", "holdfast.group=shop"];
    setup.start(
        "writer",
        &[&group[..], &["-v", "va:/a", "-v", "vb:/b"]].concat(),
        WRITER,
    )?;
    setup.wait_for_file("va", "count")?;
    let run = setup
        .sandbox
        .run(&["run", "--source", "docker"])?
        .expect(code::FAILURES)?;
    run.says("vb")?.says("own rules")?;
    assert_eq!(setup.names("docker")?, ["va"]);
    setup.restore("va", &setup.sandbox.path("a"))?;
    ensure!(setup.is_running("writer")?, "the writer does not run again");
    Ok(())
}

#[test]
fn a_paused_container_goes_on() -> Result<()> {
    let setup = Setup::new()?;
    let labels = ["--label", "holdfast.mode=pause", "--label", "holdfast.class=pinned"];
    setup.start(
        "writer",
        &[&labels[..], &["-v", "va:/a", "-v", "vb:/b"]].concat(),
        WRITER,
    )?;
    setup.wait_for_file("vb", "count")?;
    let started = setup.started_at("writer")?;
    setup.sandbox.run(&["run", "--source", "docker"])?.good()?;
    assert_eq!(setup.started_at("writer")?, started);
    ensure!(setup.is_running("writer")?, "it is paused still");
    assert_eq!(setup.manifest("docker", "va")?["class"], "pinned");
    Ok(())
}

#[test]
fn a_worker_that_dies_in_a_quiet_time_is_succeeded() -> Result<()> {
    let setup = Setup::new()?;
    setup.docker(&["volume", "create", "va"])?;
    tree::generate(&setup.engine.volume_folder("va"), 3, SMALL)?;
    setup.start("app", &["--label", "holdfast.mode=stop", "-v", "va:/a"], OBEDIENT)?;
    let mut command = setup.sandbox.command(&["run", "--source", "docker"]);
    command.env("HOLDFAST_FAILPOINTS", "docker.after_quiet=abort");
    setup.sandbox.run_command(command)?;
    ensure!(!setup.is_running("app")?, "it died too early");
    // The next process brings the container back, and ends the run.
    let mut up = setup.sandbox.start(&["up"])?;
    let back = wait_until("the container runs again", DEADLINE, || setup.is_running("app"));
    back.with_context(|| up.log().unwrap_or_default())?;
    wait_until("the run ends", DEADLINE, || Ok(setup.names("docker")? == ["va"]))?;
    up.stop(Duration::from_secs(60))?.good()?;
    let to = setup.sandbox.path("restored");
    setup.restore("va", &to)?;
    tree::compare(&setup.engine.volume_folder("va"), &to)?;
    ensure!(setup.is_running("app")?, "it was stopped again and left so");
    setup.sandbox.sweep()
}

#[test]
fn the_order_to_end_brings_containers_back() -> Result<()> {
    let setup = Setup::new()?;
    setup.docker(&["volume", "create", "va"])?;
    // Larger than staging, and nothing seals, so that the read goes on until it is cut off.
    fs::write(setup.engine.volume_folder("va").join("big"), vec![7; 1 << 20])?;
    setup.start("app", &["--label", "holdfast.mode=stop", "-v", "va:/a"], OBEDIENT)?;
    let mut command = setup.sandbox.command(&["run", "--source", "docker"]);
    command.env("HOLDFAST_FAILPOINTS", "docker.before_back=sleep:2s");
    let mut run = setup.sandbox.spawn(command)?;
    wait_until("it is stopped", DEADLINE, || Ok(!setup.is_running("app")?))?;
    run.signal(Signal::TERM)?;
    run.finish(DEADLINE)?;
    wait_until("it runs again", DEADLINE, || setup.is_running("app"))?;
    setup.sandbox.sweep()
}
