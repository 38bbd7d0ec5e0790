//! Unchanged data is neither stored nor sent again.

use std::collections::BTreeMap;

use holdfast_tests::postgres::Cluster;
use holdfast_tests::tree::{self, Scratch, Shape};
use holdfast_tests::{Result, Sandbox, db, ensure, s3};

fn packs(objects: &BTreeMap<String, u64>) -> u64 {
    objects
        .iter()
        .filter(|(key, _)| key.starts_with("packs/"))
        .map(|(_, size)| size)
        .sum()
}

#[test]
fn a_second_run_stores_nothing_but_metadata() -> Result<()> {
    let source = Cluster::start()?;
    source.pgbench("bench", 1)?;
    let uploads = Scratch::new(Shape::default())?;
    let sandbox = Sandbox::builder()
        .postgres("main", &source)
        .directory("uploads", &uploads)
        .target_directory("offsite")
        .build()?;
    sandbox.run(&["run", "--sync-offsite"])?.good()?;
    let local = sandbox.objects(&sandbox.repository())?;
    let offsite = sandbox.objects(&sandbox.target("offsite"))?;
    let packs_of = |objects: &BTreeMap<String, u64>| -> Vec<String> {
        objects
            .keys()
            .filter(|key| key.starts_with("packs/"))
            .cloned()
            .collect()
    };
    assert_eq!(packs_of(&local), packs_of(&offsite));

    sandbox.run(&["run", "--sync-offsite"])?.good()?;
    // pg_dump writes the time of the dump into its head, so one small chunk of each dump is new.
    let grown = packs(&sandbox.objects(&sandbox.repository())?) - packs(&local);
    ensure!(grown < 9 << 20, "the second run stored {grown} bytes");
    sandbox.run(&["run", "--source", "uploads", "--sync-offsite"])?.good()?;
    let before = packs(&sandbox.objects(&sandbox.repository())?);
    sandbox.run(&["run", "--source", "uploads", "--sync-offsite"])?.good()?;
    assert_eq!(packs(&sandbox.objects(&sandbox.repository())?), before);
    Ok(())
}

#[test]
fn what_changed_is_stored_and_every_state_comes_back() -> Result<()> {
    let files = tempfile::tempdir()?;
    let uploads = files.path().join("uploads");
    let kept = files.path().join("kept");
    let shape = Shape {
        files: 150,
        ..Shape::default()
    };
    tree::generate(&uploads, 1, shape)?;
    tree::generate(&kept, 1, shape)?;
    let sandbox = Sandbox::builder().directory("uploads", &uploads).build()?;
    sandbox.run(&["run"])?.good()?;
    let first = sandbox.artefact("uploads", "uploads")?;
    let stored = packs(&sandbox.objects(&sandbox.repository())?);

    tree::edit(&uploads, 5, 7)?;
    sandbox.run(&["run", "--verify"])?.good()?;
    let second = sandbox.artefact("uploads", "uploads")?;
    assert_ne!(first.id, second.id);
    let grown = packs(&sandbox.objects(&sandbox.repository())?) - stored;
    ensure!(grown > 0 && grown < stored / 2, "{grown} bytes are new after {stored}");

    for (artefact, tree) in [(&first, &kept), (&second, &uploads)] {
        let to = sandbox.path(&artefact.id);
        sandbox
            .run(&["restore", "volume", &artefact.id, "--to", &to.display().to_string()])?
            .good()?;
        tree::compare(tree, &to)?;
    }
    Ok(())
}

#[test]
fn a_fresh_run_stands_alone() -> Result<()> {
    let uploads = Scratch::few(10)?;
    let sandbox = Sandbox::builder().directory("uploads", &uploads).build()?;
    sandbox.run(&["run"])?.good()?;
    sandbox.run(&["run", "--fresh"])?.good()?;
    let artefact = sandbox.artefact("uploads", "uploads")?;
    let shown = sandbox.run(&["show", &artefact.id, "--json"])?.good()?.json()?;
    ensure!(
        !shown.to_string().contains("\"parent\":\""),
        "a fresh artefact has a parent: {shown}"
    );
    Ok(())
}

#[test]
fn an_interrupted_copy_to_a_bucket_sends_only_the_rest() -> Result<()> {
    use holdfast_tests::proxy::{Fault, Proxy, Rule};
    let server = s3::Server::start()?;
    server.create_bucket("backups")?;
    let proxy = Proxy::http(server.port())?;
    let source = Cluster::start()?;
    db::fill(&source)?;
    let sandbox = Sandbox::builder()
        .postgres("main", &source)
        .target_s3("s3", proxy.port(), "backups")
        .build()?;
    proxy.set([Rule::new(Fault::Status(403)).method("PUT").path("/manifest")]);
    sandbox
        .run(&["run", "--sync-offsite", "--timeout", "60s"])?
        .expect(1)?
        .says("s3")?;
    let sent = server.keys("backups")?.len();
    proxy.clear();
    let _ = proxy.take_seen();
    sandbox.run(&["sync"])?.good()?;
    let again = proxy
        .take_seen()
        .into_iter()
        .filter(|seen| seen.method == "PUT" && seen.path.contains("/packs/"));
    ensure!(again.count() == 0, "packs were sent again");
    ensure!(server.keys("backups")?.len() > sent, "nothing was added");
    Ok(())
}
