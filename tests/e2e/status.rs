//! `holdfast status` turns red when nothing happened for too long, and when a clock was wrong.

use holdfast_tests::output::code;
use holdfast_tests::tree::{Scratch, Shape};
use holdfast_tests::{Result, Sandbox, ensure};
use serde_json::Value;

const DAY: i64 = 86_400;

/// Runs `status --json` on a host whose clock is `ahead` seconds ahead, and returns what it says of the only source.
fn status(sandbox: &mut Sandbox, ahead: i64, place: &[&str]) -> Result<(i32, Value)> {
    sandbox.set_env("HOLDFAST_TEST_CLOCK_OFFSET", &ahead.to_string());
    let output = sandbox.run(&[&["status", "--json"], place].concat())?;
    let exit = output.status.code().unwrap_or(-1);
    Ok((exit, output.json()?["sources"][0].clone()))
}

/// Fails if `status` does not call the source good, or not for this reason, on a host whose clock is `ahead` seconds ahead.
fn expect(sandbox: &mut Sandbox, ahead: i64, place: &[&str], reason: Option<&str>) -> Result<()> {
    let (exit, source) = status(sandbox, ahead, place)?;
    let told = source["reason"].as_str();
    let wanted = if reason.is_some() { code::FAILURES } else { code::GOOD };
    let right = match reason {
        Some(reason) => told.is_some_and(|told| told.contains(reason)),
        None => told.is_none(),
    };
    ensure!(
        right && exit == wanted && source["good"] == Value::Bool(reason.is_none()),
        "{ahead} s ahead it exits with {exit}: {source}"
    );
    Ok(())
}

fn daily(sandbox: &Sandbox, offsite: bool) -> Result<()> {
    sandbox.edit_config(|table| {
        let mut schedule = toml::Table::new();
        schedule.insert("name".into(), "nightly".into());
        schedule.insert("cron".into(), "0 2 * * *".into());
        schedule.insert("sync_offsite".into(), offsite.into());
        table.insert("schedule".into(), toml::Value::Array(vec![schedule.into()]));
    })
}

#[test]
fn a_backup_that_is_older_than_its_schedule_allows_is_not_good() -> Result<()> {
    let uploads = Scratch::new(Shape::default())?;
    let mut sandbox = Sandbox::builder()
        .directory("uploads", &uploads)
        .target_directory("offsite")
        .build()?;
    let offsite = ["--place", "offsite"];
    expect(&mut sandbox, 0, &[], Some("no good backup"))?;
    sandbox.run(&["run", "--sync-offsite"])?.good()?;

    // Nobody starts it by a schedule: somebody does, at least once a week.
    expect(&mut sandbox, 7 * DAY, &[], None)?;
    expect(&mut sandbox, 9 * DAY, &[], Some("9d 0h old"))?;
    // A daily schedule copies nothing to the target, about which it therefore says nothing.
    daily(&sandbox, false)?;
    expect(&mut sandbox, DAY, &[], None)?;
    expect(&mut sandbox, 3 * DAY, &[], Some("may be 2d 0h"))?;
    expect(&mut sandbox, 3 * DAY, &offsite, None)?;
    expect(&mut sandbox, 9 * DAY, &offsite, Some("may be 8d 0h"))?;
    daily(&sandbox, true)?;
    expect(&mut sandbox, 3 * DAY, &offsite, Some("may be 2d 0h"))?;

    let text = sandbox.run(&["status"])?.expect(code::FAILURES)?;
    text.says("NOT GOOD")?.says("uploads is not good: ")?;

    // The configuration has the last word.
    sandbox.edit_config(|table| {
        let directories = table["directory"].as_array_mut().unwrap();
        let directory = directories[0].as_table_mut().unwrap();
        directory.insert("max_age".into(), "40d".into());
    })?;
    expect(&mut sandbox, 39 * DAY, &[], None)?;
    expect(&mut sandbox, 41 * DAY, &[], Some("may be 40d 0h"))?;
    Ok(())
}

#[test]
fn a_backup_from_the_future_is_not_good_and_no_age_is_negative() -> Result<()> {
    let uploads = Scratch::new(Shape::default())?;
    let mut sandbox = Sandbox::builder().directory("uploads", &uploads).build()?;
    sandbox.set_env("HOLDFAST_TEST_CLOCK_OFFSET", &(400 * DAY).to_string());
    sandbox.run(&["run"])?.good()?;
    expect(&mut sandbox, 400 * DAY, &[], None)?;
    expect(&mut sandbox, 0, &[], Some("which is still to come"))?;
    let text = sandbox.run(&["status"])?.expect(code::FAILURES)?;
    text.says("in 399d")?.keeps_quiet_about(" ago")?;
    Ok(())
}
