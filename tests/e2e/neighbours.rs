//! Two deployments that share a NATS server and are kept apart by their prefixes.

use std::time::Duration;

use holdfast_tests::tree::{self, Shape};
use holdfast_tests::{Result, Sandbox, nats};

const SMALL: Shape = Shape {
    files: 12,
    largest: 20_000,
    odd: false,
};

#[test]
fn two_deployments_share_a_server_and_nothing_else() -> Result<()> {
    let server = nats::Server::start()?;
    let files = tempfile::tempdir()?;
    let mut all = Vec::new();
    for (name, seed) in [("one", 1), ("two", 2)] {
        let folder = files.path().join(name);
        tree::generate(&folder, seed, SMALL)?;
        let sandbox = Sandbox::builder()
            .directory("files", &folder)
            .nats(&server)
            .section("nats", &format!("prefix = {name:?}"))?
            .build()?;
        let up = sandbox.start(&["up"])?;
        all.push((folder, sandbox, up));
    }
    // Both deployments have a source of the same name, and so consumers of the same names.
    for _ in 0..2 {
        for (_, sandbox, _) in &all {
            sandbox.run(&["run", "--verify", "--cleanup"])?.good()?;
        }
    }
    for (folder, sandbox, mut up) in all {
        let runs = sandbox.run(&["list", "--runs", "--json"])?.good()?.json()?;
        assert_eq!(runs["runs"].as_array().map(Vec::len), Some(2), "{runs}");
        let to = sandbox.path("restored");
        sandbox
            .run(&["restore", "volume", "files", "--to", &to.display().to_string()])?
            .good()?;
        tree::compare(&folder, &to)?;
        up.stop(Duration::from_secs(60))?.good()?;
    }
    Ok(())
}
