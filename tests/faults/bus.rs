//! NATS killed, emptied, frozen, and sent rubbish.

use std::time::Duration;

use holdfast_tests::{Result, bail, ensure, wait_until};

use crate::support::{DISTURBED, Setup};

/// A fail point in the middle of a run: a pack is sealed, and its artefact has no manifest yet.
const UNDER_WAY: &str = "encryptor.after_pack";

/// Does something to the server in the middle of a run. The run must come to its end, and everything must be well.
fn goes_on_after(disturb: impl FnOnce(&mut Setup) -> Result<()>) -> Result<()> {
    let mut setup = Setup::new()?;
    let (mut services, gate) = setup.run_up_to(UNDER_WAY)?;
    disturb(&mut setup)?;
    gate.open()?;
    setup.wait_for_end(&mut services, 1)?;
    services.stop(Duration::from_secs(60))?.good()?;
    setup.check()
}

#[test]
fn the_store_deleted_in_the_middle_of_a_run_is_made_again() -> Result<()> {
    goes_on_after(|setup| {
        setup.nats.kill();
        setup.nats.wipe()?;
        setup.nats.restart()
    })
}

#[test]
fn streams_deleted_by_their_names_are_made_again() -> Result<()> {
    goes_on_after(|setup| {
        let mut client = setup.nats.client()?;
        for stream in ["HOLDFAST_WORK", "HOLDFAST_EVENTS"] {
            client.jetstream(&format!("STREAM.DELETE.{stream}"), &serde_json::Value::Null)?;
        }
        Ok(())
    })
}

#[test]
fn a_killed_server_that_comes_back_goes_on() -> Result<()> {
    goes_on_after(|setup| {
        setup.nats.kill();
        setup.nats.restart()
    })
}

/// Kills the node that leads a stream, and so answers for it; the two others elect a new leader.
#[test]
fn a_cluster_that_loses_a_node_goes_on() -> Result<()> {
    let mut setup = Setup::clustered()?;
    let (mut services, gate) = setup.run_up_to(UNDER_WAY)?;
    let info = setup
        .nats
        .client()?
        .jetstream("STREAM.INFO.HOLDFAST_WORK", &serde_json::Value::Null)?;
    assert_eq!(info["config"]["num_replicas"], 3);
    match info["cluster"]["leader"].as_str() {
        Some("n0") => setup.nats.kill(),
        Some("n1") => setup.nodes[0].kill(),
        Some("n2") => setup.nodes[1].kill(),
        other => bail!("the leader of the work is {other:?}"),
    }
    gate.open()?;
    setup.wait_for_end(&mut services, 1)?;
    // A new process finds one of the living nodes.
    setup.sandbox.run(&["run", "--verify"])?.good()?;
    services.stop(Duration::from_secs(60))?.good()?;
    setup.check()
}

#[test]
fn a_server_that_does_not_answer_for_a_while_goes_on() -> Result<()> {
    let mut setup = Setup::new()?;
    let (mut services, gate) = setup.run_up_to(UNDER_WAY)?;
    setup.nats.pause()?;
    gate.open()?;
    let stopped = std::time::Instant::now();
    wait_until("it has been silent for a while", Duration::from_secs(60), || {
        Ok(stopped.elapsed() > Duration::from_secs(25))
    })?;
    setup.nats.resume()?;
    setup.wait_for_end(&mut services, 1)?;
    services.stop(Duration::from_secs(60))?.good()?;
    setup.check()
}

#[test]
fn poisoned_work_is_parked_and_holds_nothing_up() -> Result<()> {
    let setup = Setup::new()?;
    let mut services = setup.start_services()?;
    let mut client = setup.nats.client()?;
    wait_until("the work queue is there", DISTURBED, || {
        Ok(client
            .jetstream("STREAM.INFO.HOLDFAST_WORK", &serde_json::Value::Null)
            .is_ok())
    })?;
    let deep = "[".repeat(20_000);
    let too_long = vec![b'x'; 200 * 1024];
    let poisons: [&[u8]; 6] = [
        b"",
        b"{}",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x01\xff\xff\xff\xff\xff\xff\xff\x7f",
        deep.as_bytes(),
        &too_long,
    ];
    let stages = [
        "list-postgres",
        "list-files",
        "capture-postgres",
        "capture-files",
        "seal",
        "close",
        "verify",
        "clean",
    ];
    for stage in stages {
        for (number, poison) in poisons.iter().enumerate() {
            client.publish(&format!("holdfast.work.{stage}.test.poison.{number}"), poison)?;
        }
    }
    for (number, poison) in poisons.iter().enumerate() {
        client.publish(&format!("holdfast.work.sync.test.offsite.poison.{number}"), poison)?;
        client.publish(&format!("holdfast.event.run.started.{number}"), poison)?;
        client.publish("holdfast.trigger.operator", poison)?;
    }
    setup.trigger()?;
    setup.wait_for_end(&mut services, 1)?;
    wait_until("no poison is left in the queue", DISTURBED, || {
        let info = client.jetstream(
            "STREAM.INFO.HOLDFAST_WORK",
            &serde_json::json!({"subjects_filter": "holdfast.work.>"}),
        )?;
        Ok(!info["state"]["subjects"].to_string().contains("poison"))
    })?;
    ensure!(services.is_running()?, "poison killed the services");
    services.stop(Duration::from_secs(60))?.good()?;
    setup.check()
}

#[test]
fn two_of_everything_do_nothing_twice() -> Result<()> {
    let setup = Setup::new()?;
    let mut one = setup.start_services()?;
    let mut two = setup.start_services()?;
    setup.trigger()?;
    setup.wait_for_end(&mut one, 1)?;
    assert_eq!(setup.count("/restore-point")?, 1);
    one.stop(Duration::from_secs(60))?.good()?;
    two.stop(Duration::from_secs(60))?.good()?;
    setup.check()
}
