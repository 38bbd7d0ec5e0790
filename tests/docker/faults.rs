//! Engines that fail, and labels that are wrong.

use holdfast_tests::output::code;
use holdfast_tests::{Result, Sandbox, ensure};

use crate::setup::{OBEDIENT, Setup};

#[test]
fn a_label_that_says_nonsense_is_named_and_the_rest_goes_on() -> Result<()> {
    let setup = Setup::new()?;
    setup.start(
        "good",
        &["-v", "good:/files", "--label", "holdfast.enabled=true"],
        OBEDIENT,
    )?;
    setup.start("bad", &["-v", "bad:/files", "--label", "holdfast.mode=stopp"], OBEDIENT)?;
    setup.start(
        "off",
        &["-v", "off:/files", "--label", "holdfast.enable=false"],
        OBEDIENT,
    )?;
    let run = setup.sandbox.run(&["run", "--source", "docker"])?;
    run.expect(code::FAILURES)?
        .says("docker/bad")?
        .says("did you mean stop?")?
        .says("holdfast.enabled")?;
    assert_eq!(setup.names("docker")?, ["good"]);
    let doctor = setup.sandbox.run(&["doctor"])?;
    doctor.expect(code::FAILURES)?.says("did you mean stop?")?;
    Ok(())
}

#[test]
fn a_container_that_does_not_start_again_is_a_failure_with_its_name() -> Result<()> {
    let setup = Setup::new()?;
    // The script ends at once when it is started a second time.
    let script = "if [ -e /a/second ]; then exit 3; fi; touch /a/second; trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done";
    setup.start("frail", &["--label", "holdfast.mode=stop", "-v", "va:/a"], script)?;
    setup.wait_for_file("va", "second")?;
    setup.start("other", &["-v", "vb:/b"], OBEDIENT)?;
    let run = setup.sandbox.run(&["run", "--source", "docker"])?;
    run.expect(code::FAILURES)?.says("frail")?.says("exit code 3")?;
    assert_eq!(setup.names("docker")?, ["vb"]);
    Ok(())
}

#[test]
fn a_hook_that_fails_leaves_everything_running() -> Result<()> {
    let setup = Setup::new()?;
    let labels = [
        "--label",
        "holdfast.mode=stop",
        "--label",
        "holdfast.exec.before=echo no room >&2; exit 9",
    ];
    setup.start("app", &[&labels[..], &["-v", "va:/a"][..]].concat(), OBEDIENT)?;
    let started = setup.started_at("app")?;
    let run = setup.sandbox.run(&["run", "--source", "docker"])?;
    run.expect(code::FAILURES)?.says("exit code 9")?.says("no room")?;
    assert_eq!(setup.started_at("app")?, started);
    Ok(())
}

#[test]
fn an_engine_that_is_not_there_fails_its_source_and_no_other() -> Result<()> {
    let files = tempfile::tempdir()?;
    std::fs::write(files.path().join("a"), "content")?;
    let sandbox = Sandbox::builder()
        .directory("uploads", files.path())
        .section(
            "docker",
            "host = \"unix:///nonexistent/docker.sock\"\ndatabases = false",
        )?
        .build()?;
    let run = sandbox.run(&["run"])?.expect(code::FAILURES)?;
    let run = run.says("source docker")?.says("/nonexistent/docker.sock")?;
    ensure!(run.stdout.contains("uploads"), "{}", run.stdout);
    sandbox
        .run(&["doctor"])?
        .expect(code::FAILURES)?
        .says("/nonexistent/docker.sock")?;
    Ok(())
}

#[test]
fn a_volume_that_is_removed_after_it_was_listed_is_named() -> Result<()> {
    let setup = Setup::new()?;
    for volume in ["gone", "here"] {
        setup.docker(&["volume", "create", volume])?;
    }
    let mut command = setup.sandbox.command(&["run", "--source", "docker"]);
    command.env("HOLDFAST_FAILPOINTS", "docker.before_look=sleep:3s");
    let mut run = setup.sandbox.spawn(command)?;
    holdfast_tests::wait_until("it is listed", crate::setup::DEADLINE, || {
        let objects = setup.sandbox.objects(&setup.sandbox.repository())?;
        Ok(objects.keys().any(|key| key.contains("/listed/")))
    })?;
    setup.docker(&["volume", "rm", "gone"])?;
    let ended = run.finish(crate::setup::DEADLINE)?;
    ended.expect(code::FAILURES)?.says("volume gone was removed")?;
    assert_eq!(setup.names("docker")?, ["here"]);
    Ok(())
}
