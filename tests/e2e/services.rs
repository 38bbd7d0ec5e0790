//! `holdfast up` with a NATS server of its own: schedules, metrics, an orderly end.

use std::time::Duration;

use holdfast_tests::output::code;
use holdfast_tests::tree::Scratch;
use holdfast_tests::{Result, Sandbox, http, nats, process, wait_until};

#[test]
fn up_serves_runs_metrics_and_ends_in_good_order() -> Result<()> {
    let server = nats::Server::start()?;
    let uploads = Scratch::few(10)?;
    let port = process::free_port()?;
    let sandbox = Sandbox::builder()
        .directory("uploads", &uploads)
        .nats(&server)
        .section(
            "telemetry",
            &format!("listen = \"127.0.0.1:{port}\"\nformat = \"json\""),
        )?
        .build()?;
    let mut up = sandbox.start(&["up"])?;
    let healthy = || Ok(http::request(port, "GET", "/healthz", b"").is_ok_and(|answer| answer.status == 200));
    wait_until("/healthz is good", Duration::from_secs(60), healthy)?;
    // The command asks those services over NATS, instead of starting its own.
    sandbox.run(&["run", "--verify"])?.good()?;
    sandbox.artefact("uploads", "uploads")?;
    let metrics = http::request(port, "GET", "/metrics", b"")?.text();
    assert!(metrics.contains("holdfast"), "no metrics of ours: {metrics}");
    let output = up.stop(Duration::from_secs(30))?.expect(code::GOOD)?;
    for line in output
        .stderr
        .lines()
        .chain(output.stdout.lines())
        .filter(|line| !line.is_empty())
    {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "a log line is no JSON: {line}");
    }
    Ok(())
}

#[test]
fn a_schedule_runs_by_itself() -> Result<()> {
    let uploads = Scratch::few(3)?;
    let sandbox = Sandbox::builder().directory("uploads", &uploads).build()?;
    sandbox.edit_config(|table| {
        let mut schedule = toml::Table::new();
        schedule.insert("name".into(), "often".into());
        schedule.insert("cron".into(), "* * * * *".into());
        table.insert("schedule".into(), toml::Value::Array(vec![schedule.into()]));
    })?;
    let mut up = sandbox.start(&["up"])?;
    wait_until(
        "a scheduled run has brought a manifest",
        Duration::from_secs(150),
        || {
            Ok(sandbox
                .objects(&sandbox.repository())?
                .keys()
                .any(|key| key.ends_with("/restore-point")))
        },
    )?;
    up.stop(Duration::from_secs(60))?.expect(code::GOOD)?;
    Ok(())
}
