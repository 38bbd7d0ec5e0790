//! An off-site bucket that refuses, breaks connections, is slow, or corrupts data.

use holdfast_tests::output::code;
use holdfast_tests::proxy::{Fault, Proxy, Rule, Way};
use holdfast_tests::tree::{self, Scratch, Shape};
use holdfast_tests::{Result, Sandbox, ensure, s3};

use crate::support::sync_failed;

const SYNC: &[&str] = &["run", "--sync-offsite", "--timeout", "120s"];

struct Setup {
    sandbox: Sandbox,
    proxy: Proxy,
    server: s3::Server,
    files: tempfile::TempDir,
}

fn setup() -> Result<Setup> {
    let server = s3::Server::start()?;
    server.create_bucket("backups")?;
    let proxy = Proxy::http(server.port())?;
    let files = tempfile::tempdir()?;
    let uploads = files.path().join("uploads");
    tree::generate(
        &uploads,
        1,
        Shape {
            files: 80,
            ..Shape::default()
        },
    )?;
    let sandbox = Sandbox::builder()
        .directory("uploads", &uploads)
        .target_s3("s3", proxy.port(), "backups/holdfast")
        .build()?;
    Ok(Setup {
        sandbox,
        proxy,
        server,
        files,
    })
}

impl Setup {
    /// Checks that the target has everything, and restores from it.
    fn check(&self) -> Result<()> {
        self.proxy.clear();
        self.sandbox
            .run(&["verify", "--all", "--level", "decrypt", "--place", "s3"])?
            .good()?;
        let to = self.sandbox.path("restored");
        let to_text = to.display().to_string();
        self.sandbox
            .run(&["restore", "volume", "uploads", "--to", &to_text, "--place", "s3"])?
            .good()?;
        tree::compare(&self.files.path().join("uploads"), &to)
    }
}

#[test]
fn bursts_of_503_are_sat_out() -> Result<()> {
    let setup = setup()?;
    setup.proxy.set([
        Rule::new(Fault::Status(503)).times(6),
        Rule::new(Fault::Status(500)).method("PUT").times(3),
    ]);
    setup.sandbox.run(SYNC)?.good()?;
    setup.check()
}

#[test]
fn answers_lost_after_the_object_was_written_are_no_matter() -> Result<()> {
    let setup = setup()?;
    setup
        .proxy
        .set([Rule::new(Fault::StatusAfter(500)).method("PUT").times(4)]);
    setup.sandbox.run(SYNC)?.good()?;
    setup.check()
}

#[test]
fn cut_connections_leave_no_short_object() -> Result<()> {
    let setup = setup()?;
    setup.proxy.set([
        Rule::new(Fault::Cut(Way::Request, 30_000)).method("PUT").times(3),
        Rule::new(Fault::Cut(Way::Response, 10)).method("GET").times(2),
    ]);
    setup.sandbox.run(SYNC)?.good()?;
    setup.check()
}

#[test]
fn bytes_changed_on_the_way_are_not_taken_for_good() -> Result<()> {
    let setup = setup()?;
    setup.proxy.set([Rule::new(Fault::Flip(Way::Request, 2_000))
        .method("PUT")
        .path("/packs/")
        .times(1)]);
    // Either the server compares the checksum that came with the pack, and the pack is sent again. Or (as with this
    // test server, which compares none) it stores the bytes, and the verification of the target finds and names the
    // damage. It never passes in silence.
    let output = setup.sandbox.run(SYNC)?;
    setup.proxy.clear();
    let verified = setup
        .sandbox
        .run(&["verify", "--all", "--level", "decrypt", "--place", "s3"])?;
    let bad_run = output.status.code() == Some(code::FAILURES);
    let good_copy = verified.status.code() == Some(code::GOOD);
    let named = verified.status.code() == Some(code::FAILURES) && verified.stdout.contains("packs/");
    ensure!(
        bad_run || good_copy || named,
        "the damage is not named:\n{}",
        verified.stdout
    );
    Ok(())
}

#[test]
fn bytes_changed_on_the_way_back_are_named_and_not_restored() -> Result<()> {
    let setup = setup()?;
    setup.sandbox.run(SYNC)?.good()?;
    let key = setup
        .server
        .keys("backups")?
        .into_iter()
        .find(|key| key.contains("/packs/"))
        .unwrap_or_default();
    let id = key.rsplit('/').next().unwrap_or_default();
    setup
        .proxy
        .set([Rule::new(Fault::Flip(Way::Response, 2_000)).method("GET").path(id)]);
    let to = setup.sandbox.path("never").display().to_string();
    let command = ["restore", "volume", "uploads", "--to", &to, "--place", "s3"];
    setup.sandbox.run(&command)?.expect(code::FAILURES)?.says(id)?;
    setup
        .sandbox
        .run(&["verify", "--all", "--place", "s3"])?
        .expect(code::FAILURES)?
        .says(id)?;
    setup.check()
}

#[test]
fn a_target_that_refuses_is_named_at_once_and_the_local_copy_is_good() -> Result<()> {
    let setup = setup()?;
    setup.proxy.set([Rule::new(Fault::Status(403))]);
    let start = std::time::Instant::now();
    let output = setup.sandbox.run(SYNC)?.expect(code::FAILURES)?.says("s3")?;
    ensure!(
        start.elapsed().as_secs() < 60,
        "it took {:?} to give up on 403",
        start.elapsed()
    );
    output.keeps_quiet_about(s3::SECRET_ACCESS_KEY)?;
    ensure!(
        setup.proxy.seen().len() < 100,
        "{} requests in spite of 403",
        setup.proxy.seen().len()
    );
    setup.sandbox.run(&["verify", "--all"])?.good()?;
    // Once the server accepts writes again, the copy is completed.
    setup.proxy.clear();
    setup.sandbox.run(&["sync"])?.good()?;
    setup.check()
}

#[test]
fn a_bucket_that_may_only_be_read_fails_the_step_and_a_later_sync_makes_up_for_it() -> Result<()> {
    let setup = setup()?;
    setup.sandbox.run(SYNC)?.good()?;
    let uploads = setup.files.path().join("uploads");
    tree::edit(&uploads, 10, 1)?;
    // The answers that credentials without the right to write get.
    let methods = ["PUT", "POST", "DELETE"];
    setup
        .proxy
        .set(methods.map(|method| Rule::new(Fault::Status(403)).method(method)));
    let command = ["run", "--sync-offsite", "--json"];
    let output = setup.sandbox.run(&command)?.expect(code::FAILURES)?;
    sync_failed(&output, "s3", &["not allowed to write", "check its credentials"])?;
    output.keeps_quiet_about(s3::SECRET_ACCESS_KEY)?;
    // The run itself is good here, and the copy of the earlier run is complete there.
    setup.sandbox.run(&["sync"])?.expect(code::FAILURES)?.says("s3")?;
    setup
        .sandbox
        .run(&["doctor"])?
        .expect(code::FAILURES)?
        .says("target s3")?;
    assert_eq!(setup.sandbox.artefacts()?.len(), 2);
    setup.sandbox.run(&["verify", "--all", "--level", "decrypt"])?.good()?;
    setup.proxy.clear();
    setup
        .sandbox
        .run(&["verify", "--all", "--level", "decrypt", "--place", "s3"])?
        .good()?;

    setup.sandbox.run(&["sync"])?.good()?;
    assert_eq!(
        setup
            .sandbox
            .run(&["list", "--runs", "--place", "s3", "--json"])?
            .good()?
            .json()?["runs"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    setup.check()
}

#[test]
fn a_target_that_is_not_there_is_named() -> Result<()> {
    let setup = setup()?;
    setup.proxy.set([Rule::new(Fault::Refuse)]);
    setup
        .sandbox
        .run(&["run", "--sync-offsite", "--timeout", "20s"])?
        .expect(code::FAILURES)?
        .says("s3")?;
    setup.sandbox.run(&["verify", "--all"])?.good()?;
    Ok(())
}

#[test]
fn a_store_without_conditional_writes_will_do() -> Result<()> {
    let setup = setup()?;
    // The first conditional write gets the answer that the server has none; plain writes pass.
    setup.proxy.set([Rule::new(Fault::Status(501)).method("PUT").times(1)]);
    setup.sandbox.run(SYNC)?.good()?;
    setup.check()
}

#[test]
fn a_slow_target_is_waited_for() -> Result<()> {
    let setup = setup()?;
    setup.proxy.set([Rule::new(Fault::Slow(4 << 20))]);
    setup.sandbox.run(SYNC)?.good()?;
    setup.check()
}

#[test]
fn one_target_that_hangs_holds_up_no_other() -> Result<()> {
    let server = s3::Server::start()?;
    server.create_bucket("backups")?;
    let proxy = Proxy::http(server.port())?;
    proxy.set([Rule::new(Fault::Silence)]);
    let uploads = Scratch::few(10)?;
    let sandbox = Sandbox::builder()
        .directory("uploads", &uploads)
        .target_s3("slow", proxy.port(), "backups")
        .target_directory("fast")
        .build()?;
    sandbox
        .run(&["run", "--sync-offsite", "--timeout", "20s"])?
        .expect(code::FAILURES)?
        .says("slow")?;
    sandbox.run(&["verify", "--all", "--place", "fast"])?.good()?;
    Ok(())
}

#[test]
fn a_full_bucket_under_the_repository_is_said_and_nothing_is_damaged() -> Result<()> {
    let server = s3::Server::start()?;
    server.create_bucket("local")?;
    let proxy = Proxy::http(server.port())?;
    let uploads = Scratch::few(30)?;
    let sandbox = Sandbox::builder()
        .directory("uploads", &uploads)
        .repository_s3(proxy.port(), "local")
        .build()?;
    sandbox.run(&["run"])?.good()?;
    tree::edit(&uploads, 10, 1)?;
    proxy.set([Rule::new(Fault::Status(507)).method("PUT").path("/packs/")]);
    sandbox.run(&["run", "--timeout", "30s"])?.expect(code::FAILURES)?;
    proxy.clear();
    assert_eq!(
        sandbox.artefacts()?.len(),
        1,
        "a capture without its packs was believed"
    );
    sandbox.run(&["verify", "--all"])?.good()?;
    sandbox.run(&["run", "--verify"])?.good()?;
    Ok(())
}
