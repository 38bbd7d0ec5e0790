//! Backups and restores of a single stack.

use std::fs;

use holdfast_tests::docker::{Engine, Network};
use holdfast_tests::output::code;
use holdfast_tests::{Result, Sandbox, ensure, nats, wait_until};

use crate::databases::{psql, server};
use crate::setup::{DEADLINE, OBEDIENT, Setup};

#[test]
fn of_a_stack_that_is_asked_for_nothing_else_is_taken() -> Result<()> {
    let setup = Setup::new()?;
    setup.service("shop", "web", &["-v", "shop_files:/files"], OBEDIENT)?;
    setup.service("blog", "web", &["-v", "blog_files:/files"], OBEDIENT)?;
    setup.docker(&["volume", "create", "loose"])?;
    let gate = [
        "run",
        "--stack",
        "shop",
        "--label",
        "pre-upgrade",
        "--hold",
        "14d",
        "--verify",
        "--json",
    ];
    let report = setup.sandbox.run(&gate)?.good()?.json()?;
    assert_eq!(report["outcome"], "complete");
    assert_eq!(setup.names("docker")?, ["shop_files"]);

    // The restore point names the stack, and the images in use.
    let run = report["run"].as_str().unwrap_or_default();
    let shown = setup.sandbox.run(&["show", run, "--json"])?.good()?.json()?;
    assert_eq!(shown["stack"], "shop");
    assert_eq!(shown["images"].as_array().map(Vec::len), Some(1));
    let image = &shown["images"][0];
    assert_eq!(image["container"], "shop-web-1");
    assert_eq!(image["image"], holdfast_tests::docker::IMAGE);
    ensure!(
        image["id"].as_str().is_some_and(|id| id.starts_with("sha256:")),
        "{image}"
    );
    setup.sandbox.run(&["show", run])?.good()?.says("made on the host")?;

    // A run of a stack does not count as a backup of the engine.
    setup.sandbox.run(&["status"])?.expect(code::FAILURES)?;
    setup.sandbox.run(&["run"])?.good()?;
    setup.sandbox.run(&["status"])?.good()?;

    // A name that no stack has gives a failed run.
    let unknown = setup.sandbox.run(&["run", "--stack", "shopp", "--verify"])?;
    unknown
        .expect(code::FAILURES)?
        .says("stack shopp")?
        .says("there are: blog, shop")?;
    Ok(())
}

#[test]
fn a_stack_goes_back_to_a_restore_point_or_comes_up_beside_itself() -> Result<()> {
    let setup = Setup::with("", Network::Host)?;
    setup.docker(&["network", "create", "shop"])?;
    server(&setup, "shop", "db", &["--network", "shop"])?;
    setup.service(
        "shop",
        "web",
        &["-v", "shop_files:/files", "--network", "shop"],
        OBEDIENT,
    )?;
    let files = setup.engine.volume_folder("shop_files");
    fs::write(files.join("page"), "one")?;
    let sql = |container: &str, text: &str| psql(&setup, container, "shop", text);
    for statement in ["CREATE ROLE keeper", "CREATE DATABASE shop OWNER keeper"] {
        psql(&setup, "shop-db-1", "postgres", statement)?;
    }
    sql(
        "shop-db-1",
        "CREATE TABLE orders AS SELECT n FROM generate_series(1, 1000) n",
    )?;
    let gate = [
        "run",
        "--stack",
        "shop",
        "--label",
        "pre-upgrade",
        "--hold",
        "14d",
        "--verify",
    ];
    setup.sandbox.run(&gate)?.good()?;

    // The upgrade changes the files.
    fs::write(files.join("page"), "two")?;
    fs::write(files.join("new"), "two")?;
    sql("shop-db-1", "DROP TABLE orders; CREATE TABLE items AS SELECT 1 AS n")?;

    let back = |more: &[&str]| setup.sandbox.run(&[&["restore", "stack", "shop"], more].concat());
    back(&["--replace"])?.expect(code::REFUSED)?.says("shop-web-1")?;
    setup.docker(&["stop", "shop-web-1"])?;
    back(&[])?.expect(code::REFUSED)?.says("not empty")?;
    back(&["--replace", "--dry-run"])?.good()?.says("would be restored")?;
    assert_eq!(fs::read_to_string(files.join("page"))?, "two");
    back(&["--replace"])?.good()?;
    assert_eq!(fs::read_to_string(files.join("page"))?, "one");
    ensure!(!files.join("new").exists(), "what the upgrade brought is still there");
    let tables = "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
    assert_eq!(sql("shop-db-1", tables)?.trim(), "orders");
    assert_eq!(sql("shop-db-1", "SELECT count(*) FROM orders")?.trim(), "1000");
    let pins = fs::read_to_string(setup.sandbox.path("shop.images.yaml"))?;
    ensure!(pins.contains("\"web\":\n    image: \"sha256:"), "{pins}");
    setup.docker(&["start", "shop-web-1"])?;

    // Restores the stack beside itself, which needs the servers of its databases.
    back(&["--as", "trial"])?.expect(code::FAILURES)?.says("trial-db-1")?;
    setup.docker(&["network", "create", "trial"])?;
    server(&setup, "trial", "db", &["--network", "trial"])?;
    back(&["--as", "trial"])?.good()?;
    let trial = setup.engine.volume_folder("trial_files");
    assert_eq!(fs::read_to_string(trial.join("page"))?, "one");
    assert_eq!(sql("trial-db-1", "SELECT count(*) FROM orders")?.trim(), "1000");
    let owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'shop'";
    assert_eq!(sql("trial-db-1", owner)?.trim(), "keeper");
    Ok(())
}

#[test]
fn a_gate_waits_for_the_proof_over_nats() -> Result<()> {
    let engine = Engine::start()?;
    let server = nats::Server::start()?;
    let sandbox = Sandbox::builder()
        .nats(&server)
        .section("docker", &format!("host = \"{}\"", engine.host()))?
        .build()?;
    let setup = Setup { sandbox, engine };
    setup.service("shop", "web", &["-v", "shop_files:/files"], OBEDIENT)?;
    let mut up = setup.sandbox.start(&["up"])?;
    let mut client = nats::Client::connect(server.port())?;
    let mut ask = |stack: &str| -> Result<serde_json::Value> {
        let request = serde_json::json!({
            "backup_type": "all", "stack": stack, "label": "pre-upgrade", "verify": "decrypt", "wait": true,
        });
        let mut answer = Vec::new();
        wait_until("somebody answers", DEADLINE, || {
            match client.request("holdfast.trigger.gate", request.to_string().as_bytes()) {
                Ok(found) => answer = found,
                // The answer is not there yet.
                Err(_) => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(serde_json::from_slice(&answer)?)
    };
    let go = ask("shop")?;
    assert_eq!(go["finished"]["complete"], true, "{go}");
    assert_eq!(setup.names("docker")?, ["shop_files"]);
    let unknown = ask("shopp")?;
    assert_eq!(unknown["finished"]["complete"], false, "{unknown}");
    ensure!(
        unknown["finished"]["failures"].to_string().contains("shopp"),
        "{unknown}"
    );
    // A volume that cannot be backed up gives no go.
    setup.service(
        "shop",
        "bad",
        &["-v", "shop_bad:/files", "--label", "holdfast.mode=never"],
        OBEDIENT,
    )?;
    let refused = ask("shop")?;
    assert_eq!(refused["finished"]["complete"], false, "{refused}");
    ensure!(
        refused["finished"]["failures"].to_string().contains("shop_bad"),
        "{refused}"
    );
    up.stop(DEADLINE)?.good()?;
    Ok(())
}
