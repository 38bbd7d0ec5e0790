//! Ways to deploy. The deployment of compose.yaml on a real engine: from nothing to a proven restore point and back,
//! replicas of a service, and the gate in front of another stack.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod again;
mod files;
mod host;
mod setup;

use holdfast_tests::{Context, Result, ensure, http, tools, wait_until};

use setup::{Deployment, PROJECT, STAND_IN};

/// One test only, since making its images takes longer than everything else.
#[test]
fn the_deployment_from_nothing_to_a_restore_and_a_gate() -> Result<()> {
    let deployment = Deployment::new()?;
    deployment.set_up()?;
    deployment.compose(&["--profile", "sample", "up", "-d"])?;
    deployment.wait_for_health()?;

    every_service_holds_its_own_keys(&deployment)?;
    the_sample_comes_back(&deployment)?;
    a_key_is_rotated_while_services_run(&deployment)?;
    replicas_share_the_work(&deployment)?;
    prometheus_finds_every_replica(&deployment)?;
    the_gate_lets_only_proven_upgrades_through(&deployment)?;
    deployment.wait_for_health()?;
    a_run_is_traced_from_the_command_on(&deployment)?;
    again::a_setup_that_was_killed_is_finished_by_the_next(&deployment)?;
    again::a_host_that_joins_makes_its_own_keys_alone(&deployment)?;
    again::an_image_is_built_without_secrets(&deployment)?;
    the_end_of_the_deployment_is_not_that_of_the_backups(&deployment)
}

/// Checks that a service has the key of its own role and no other, and that none has the owner's.
fn every_service_holds_its_own_keys(deployment: &Deployment) -> Result<()> {
    for (service, role) in [
        ("scheduler", "scheduler"),
        ("dumper", "producer"),
        ("volume-snapshotter", "producer"),
        ("encryptor", "producer"),
        ("verifier", "verifier"),
        ("syncer", "syncer"),
        ("janitor", "janitor"),
    ] {
        let container = format!("{PROJECT}_{service}_1");
        let held = deployment.engine.docker(["exec", &container, "ls", "/run/secrets"])?;
        let keys: Vec<&str> = held.lines().filter(|name| name.ends_with(".sec.asc")).collect();
        assert_eq!(keys, [format!("{role}.sec.asc")], "{service}");
        let has_backup = held.lines().any(|name| name == "backup_key");
        assert_eq!(has_backup, service == "verifier", "{service}: {held}");
    }
    Ok(())
}

fn a_key_is_rotated_while_services_run(deployment: &Deployment) -> Result<()> {
    let owner = deployment.path("secrets/keys/owner.sec.asc");
    let away = deployment.path("owner.away");
    std::fs::rename(&owner, &away)?;
    let rotate = ["rotate", "producer"];
    ensure!(
        deployment.run("keys", &rotate).is_err(),
        "rotated without the owner's key"
    );
    std::fs::rename(&away, &owner)?;
    let said = deployment.run("keys", &rotate)?;
    ensure!(said.contains("roster 2"), "{said}");
    // The services go on with the old key until they are started anew with the new one.
    let run = ["run", "--source", "docker-postgres"];
    let before = deployment.run("holdfast", &run)?;
    ensure!(before.contains("is complete"), "{before}");
    let producers = ["dumper", "volume-snapshotter", "encryptor"];
    deployment.compose(&[&["up", "-d", "--no-deps", "--force-recreate"][..], &producers].concat())?;
    deployment.wait_for_health()?;
    let after = deployment.run("holdfast", &run)?;
    ensure!(after.contains("is complete"), "{after}");
    Ok(())
}

fn a_run_is_traced_from_the_command_on(deployment: &Deployment) -> Result<()> {
    deployment.compose(&["--profile", "tracing", "up", "-d", "--no-deps", "jaeger"])?;
    let mut run = deployment.command("docker-compose");
    run.env("HOLDFAST_OTLP_ENDPOINT", "http://jaeger:4318");
    run.args(["run", "--rm", "-T", "holdfast", "run", "--source", "docker-postgres"]);
    tools::text_of(&mut run)?;
    let jaeger = format!("{PROJECT}_jaeger_1");
    // The command's own span: it has ended when that was sent.
    let received = [
        "exec",
        &jaeger,
        "grep",
        "--recursive",
        "--text",
        "--quiet",
        "holdfast run",
        "/tmp/received",
    ];
    deployment
        .engine
        .docker(received)
        .context("the command was not traced")?;
    deployment.compose(&["--profile", "tracing", "rm", "--stop", "--force", "jaeger"])?;
    Ok(())
}

fn the_end_of_the_deployment_is_not_that_of_the_backups(deployment: &Deployment) -> Result<()> {
    let before = deployment.run("holdfast", &["list", "--json"])?;
    let said = deployment.set_up()?;
    ensure!(said.contains("Nothing had to be changed"), "{said}");
    deployment.compose(&["--profile", "sample", "--profile", "metrics", "down", "--volumes"])?;
    let left = deployment.engine.docker(["volume", "ls", "--quiet"])?;
    for (volume, stays) in [
        ("repository", true),
        ("offsite", true),
        ("state", false),
        ("nats", false),
    ] {
        let name = format!("{PROJECT}_{volume}");
        assert_eq!(left.lines().any(|line| line == name), stays, "{name}: {left}");
    }
    assert_eq!(deployment.run("holdfast", &["list", "--json"])?, before);
    Ok(())
}

fn the_sample_comes_back(deployment: &Deployment) -> Result<()> {
    let database = format!("{PROJECT}_sample-postgres_1");
    deployment.sql(
        &database,
        "shop",
        "CREATE TABLE article AS SELECT generate_series(1, 1000) AS id",
    )?;
    let put = http::request(deployment.web, "PUT", "/invoice.txt", b"hello")?;
    ensure!(put.status == 201, "the web server says {}", put.status);

    deployment.run("holdfast", &["config", "check"])?;
    for which in [&[][..], &["--stack", PROJECT]] {
        let run = deployment.run("holdfast", &[&["run", "--verify", "--sync-offsite"], which].concat())?;
        ensure!(run.contains("is complete"), "{run}");
        deployment.run("holdfast", &["status"])?;
    }

    deployment.sql(&database, "shop", "DROP TABLE article")?;
    http::request(deployment.web, "DELETE", "/invoice.txt", b"")?;
    deployment.compose(&["stop", "sample-web"])?;
    let restored = deployment.run(
        "restore-stack",
        &[PROJECT, "--only", "volumes", "--only", "databases", "--replace"],
    )?;
    ensure!(restored.contains("restored"), "{restored}");
    deployment.compose(&["--profile", "sample", "up", "-d"])?;
    assert_eq!(
        deployment.sql(&database, "shop", "SELECT count(*) FROM article")?,
        "1000"
    );
    wait_until("the file is back", setup::DEADLINE, || {
        Ok(http::request(deployment.web, "GET", "/invoice.txt", b"").is_ok_and(|answer| answer.body == b"hello"))
    })
}

fn replicas_share_the_work(deployment: &Deployment) -> Result<()> {
    let scaled = ["encryptor=2", "verifier=2", "syncer=2"];
    let scale: Vec<&str> = scaled.iter().flat_map(|one| ["--scale", one]).collect();
    deployment.compose(&[&["up", "-d"][..], &scale].concat())?;
    deployment.wait_for_health()?;
    for number in 0..30 {
        let volume = format!("many-{number}");
        deployment.engine.docker(["volume", "create", &volume])?;
        let content = vec![number; 100_000];
        std::fs::write(deployment.engine.volume_folder(&volume).join("file"), content)?;
    }
    let run = deployment.run("holdfast", &["run", "--verify", "--sync-offsite"])?;
    ensure!(run.contains("is complete"), "{run}");
    for (service, stage) in [("encryptor", "close"), ("verifier", "verify"), ("syncer", "sync")] {
        let second = deployment.jobs(&format!("{PROJECT}_{service}_2"), stage)?;
        ensure!(second > 0, "the second {service} has done nothing");
    }
    Ok(())
}

fn prometheus_finds_every_replica(deployment: &Deployment) -> Result<()> {
    let folder = format!("{}:/p:ro", deployment.path("deploy/prometheus").display());
    for check in [
        &["check", "config", "--syntax-only", "/p/prometheus.yml"][..],
        &["test", "rules", "/p/rules_test.yml"],
    ] {
        let promtool = ["run", "--rm", "--network", "none", "-v", &folder, STAND_IN, "promtool"];
        deployment.engine.docker([&promtool[..], check].concat())?;
    }
    deployment.compose(&["--profile", "metrics", "up", "-d", "--no-deps", "prometheus"])?;
    let ask = |query: &str| -> Result<Option<f64>> {
        let path = format!("/api/v1/query?query={query}");
        // Until it is ready, Prometheus answers with an error or not at all.
        let ready = http::request(deployment.prometheus, "GET", &path, b"")
            .ok()
            .filter(|answer| answer.status == 200);
        let Some(answer) = ready else { return Ok(None) };
        let answer: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let value = answer["data"]["result"][0]["value"][1].as_str();
        Ok(value.and_then(|value| value.parse().ok()))
    };
    // Seven services, three of them twice.
    wait_until("all replicas are scraped", setup::DEADLINE, || {
        Ok(ask("sum(up)")? == Some(10.0))
    })?;
    let artefacts = ask("sum(holdfast_artefacts_total)")?;
    ensure!(artefacts > Some(30.0), "artefacts by the metrics: {artefacts:?}");
    let firing = ask("count(ALERTS%7Balertstate%3D%22firing%22%7D)")?;
    ensure!(firing.is_none(), "alerts: {firing:?}");
    Ok(())
}

fn the_gate_lets_only_proven_upgrades_through(deployment: &Deployment) -> Result<()> {
    let old = "holdfast-test:stand-in";
    let new = "holdfast-test:upgraded";
    deployment.engine.docker(["tag", old, new])?;
    deployment.shop(old, &["shop.yaml"], &["up", "-d"])?;
    deployment.wait_for_database("shop_db_1", "shop")?;
    let web = |format: &str| deployment.engine.docker(["inspect", "--format", format, "shop_web_1"]);
    let before = web("{{.Id}}")?;
    let with_gate = ["shop.yaml", "gate.yaml"];

    // A database that cannot be dumped gives no go, and the running containers keep running.
    deployment.sql("shop_db_1", "postgres", "ALTER USER postgres PASSWORD 'changed'")?;
    let gate = ["run", "--rm", "-T", "holdfast-gate"];
    let refused = deployment.shop(new, &with_gate, &gate);
    ensure!(refused.is_err(), "the gate says go without a backup");
    assert_eq!(web("{{.Id}} {{.State.Running}}")?, format!("{before} true"));
    // Without asking first, Compose v2 may remove the old container, and starts no new one either.
    let refused = deployment.shop(new, &with_gate, &["up", "-d"]);
    ensure!(refused.is_err(), "the gate let an upgrade through without a backup");
    let stands = web("{{.Config.Image}} {{.State.Running}}")?;
    ensure!(stands != format!("{new} true"), "the new version runs without a backup");

    deployment.sql("shop_db_1", "postgres", "ALTER USER postgres PASSWORD 'sesame'")?;
    deployment.shop(new, &with_gate, &gate)?;
    deployment.shop(new, &with_gate, &["up", "-d"])?;
    assert_eq!(web("{{.Config.Image}} {{.State.Running}}")?, format!("{new} true"));

    // The way back: the old image, with the old data.
    deployment.sql("shop_db_1", "shop", "CREATE TABLE migrated ()")?;
    deployment.engine.docker(["stop", "shop_web_1"])?;
    let plan = deployment.run("restore-stack", &["shop", "--replace", "--dry-run"])?;
    ensure!(plan.contains("would be restored"), "{plan}");
    deployment.run("restore-stack", &["shop", "--replace"])?;
    let pinned = std::fs::read_to_string(deployment.path("restore/shop.images.yaml"))?;
    ensure!(!pinned.contains("holdfast-gate"), "the gate is pinned: {pinned}");
    deployment.shop(new, &["shop.yaml", "restore/shop.images.yaml"], &["up", "-d"])?;
    let tables = "SELECT count(*) FROM pg_class WHERE relname = 'migrated'";
    assert_eq!(deployment.sql("shop_db_1", "shop", tables)?, "0");
    // The dumper has left the shop's network again.
    let format = "{{range .Containers}}{{.Name}} {{end}}";
    let members = deployment
        .engine
        .docker(["network", "inspect", "--format", format, "shop_default"])?;
    ensure!(!members.contains(PROJECT), "still in the shop's network: {members}");
    Ok(())
}
