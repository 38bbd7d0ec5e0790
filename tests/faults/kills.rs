//! Processes that die in the middle of a stage: the run still ends well, nothing is lost, and nothing incomplete
//! counts.

use std::time::Duration;

use holdfast_tests::process::Signal;
use holdfast_tests::tree::{self, Scratch, Shape};
use holdfast_tests::{Context, Result, Sandbox, ensure, wait_until};

use crate::support::{DISTURBED, Setup};

/// Lets `holdfast up` die at a fail point, and starts it again.
fn dies_at(point: &str) -> Result<()> {
    let mut setup = Setup::new()?;
    let mut services = setup.start_with(point, "abort")?;
    setup.trigger()?;
    wait_until(
        &format!("it dies at {point}"),
        DISTURBED,
        || Ok(!services.is_running()?),
    )
    .with_context(|| services.log().unwrap_or_default())?;
    let mut services = setup.start_services()?;
    setup.wait_for_end(&mut services, 1)?;
    services.stop(Duration::from_secs(60))?.good()?;
    setup.check()
}

/// Makes one test for each fail point, so that they run side by side and fail by name.
macro_rules! points {
    ($($name:ident: $point:literal,)*) => {
        $(
            #[test]
            fn $name() -> Result<()> {
                dies_at($point)
            }
        )*
    };
}

points! {
    capture_after_the_first_pack: "capture.after_pack",
    capture_after_a_later_pack: "capture.after_pack@3",
    capture_before_the_draft: "capture.before_draft",
    capture_before_close_is_published: "capture.before_close",
    encryptor_before_the_receipt: "encryptor.after_pack",
    encryptor_before_a_later_receipt: "encryptor.after_pack@3",
    encryptor_before_the_manifest: "encryptor.before_manifest",
    encryptor_before_the_ack: "encryptor.after_manifest",
    verifier_before_the_ack: "verifier.after_record",
    syncer_after_a_pack: "syncer.after_pack",
    syncer_before_the_manifest: "syncer.before_manifest",
    syncer_before_the_ack: "syncer.after_manifest",
    recorder_before_the_restore_point: "scheduler.before_restore_point",
}

#[test]
fn scheduler_before_the_answer() -> Result<()> {
    let mut setup = Setup::new()?;
    let mut services = setup.start_with("scheduler.after_expected", "abort")?;
    let mut command = setup
        .sandbox
        .start(&["run", "--verify", "--sync-offsite", "--timeout", "10m"])?;
    wait_until("the scheduler dies", DISTURBED, || Ok(!services.is_running()?))?;
    let mut services = setup.start_services()?;
    // The client that asked hears of the run that was begun, and sees its end.
    command.finish(DISTURBED)?.good()?;
    services.stop(Duration::from_secs(60))?.good()?;
    ensure!(setup.count("/expected")? == 1, "the run was started twice");
    setup.check()
}

#[test]
fn sigkill_while_packs_are_staged() -> Result<()> {
    let mut setup = Setup::new()?;
    let (mut services, _gate) = setup.run_up_to("encryptor.after_pack")?;
    services.kill();
    let mut services = setup.start_services()?;
    setup.wait_for_end(&mut services, 1)?;
    services.stop(Duration::from_secs(60))?.good()?;
    setup.check()
}

#[test]
fn sigterm_in_a_run_ends_in_its_time_and_the_run_goes_on_later() -> Result<()> {
    let mut setup = Setup::new()?;
    let (mut services, gate) = setup.run_up_to("capture.before_draft")?;
    services.signal(Signal::TERM)?;
    gate.open()?;
    services.finish(Duration::from_secs(30))?.good()?;
    let mut services = setup.start_services()?;
    setup.wait_for_end(&mut services, 1)?;
    services.stop(Duration::from_secs(60))?.good()?;
    setup.check()
}

#[test]
fn a_killed_command_with_a_private_server_is_taken_up_by_the_next() -> Result<()> {
    let uploads = Scratch::new(Shape::default())?;
    let sandbox = Sandbox::builder().directory("uploads", &uploads).build()?;
    let mut command = sandbox.start(&["run"])?;
    wait_until("something was captured", DISTURBED, || {
        let objects = sandbox.objects(&sandbox.repository())?;
        Ok(objects.keys().any(|key| key.starts_with("runs/")))
    })?;
    command.kill();
    // The next command works in spite of anything that the killed process left, its nats-server included.
    sandbox.run(&["run", "--verify"])?.good()?;
    sandbox.run(&["verify", "--all"])?.good()?;
    let artefacts = sandbox.artefacts()?;
    ensure!(!artefacts.is_empty(), "nothing was brought");
    Ok(())
}

/// Lets a janitor die while it deletes: the next one goes on, and the backups that are kept stay complete.
fn janitor_dies_at(point: &str) -> Result<()> {
    let uploads = Scratch::new(Shape::default())?;
    let mut sandbox = Sandbox::builder()
        .directory("uploads", &uploads)
        .section("retention", "local = { daily = \"7d\" }")?
        .section("janitor", "max_delete_percent = 100\ngrace = \"13h\"")?
        .build()?;
    for seed in 0..4 {
        sandbox.run(&["run", "--class", "daily", "--verify"])?.good()?;
        tree::edit(&uploads, 10, seed)?;
    }
    let kept = sandbox.artefact("uploads", "uploads")?.id;
    // A month later.
    sandbox.set_env("HOLDFAST_TEST_CLOCK_OFFSET", "2592000");
    let (name, nth) = point.split_once('@').unwrap_or((point, "1"));
    sandbox.set_env("HOLDFAST_FAILPOINTS", &format!("{name}=abort@{nth}"));
    let died = sandbox.run(&["cleanup"])?;
    ensure!(died.status.code().is_none(), "it did not die at {point}: {died:?}");
    sandbox.remove_env("HOLDFAST_FAILPOINTS");
    sandbox.run(&["verify", "--latest", "--level", "decrypt"])?.good()?;
    sandbox.run(&["cleanup"])?.good()?;
    let left: Vec<String> = sandbox.artefacts()?.into_iter().map(|artefact| artefact.id).collect();
    assert_eq!(left, [kept]);
    // After the grace period of the condemned packs.
    sandbox.set_env("HOLDFAST_TEST_CLOCK_OFFSET", "2764800");
    sandbox.run(&["cleanup"])?.good()?;
    sandbox.run(&["verify", "--all", "--level", "decrypt"])?.good()?;
    Ok(())
}

#[test]
fn janitor_after_a_tombstone() -> Result<()> {
    janitor_dies_at("janitor.after_tombstone")
}

#[test]
fn janitor_in_the_middle_of_deleting() -> Result<()> {
    janitor_dies_at("janitor.mid_apply@3")
}
