//! Volumes: the ones that are backed up, the ways to read them, and restores.

use std::fs;

use holdfast_tests::docker::Network;
use holdfast_tests::output::code;
use holdfast_tests::tree::{self, Shape};
use holdfast_tests::{Result, ensure};

use crate::setup::{OBEDIENT, Setup};

/// A tree without the features that only a mount point shows: an archive of the engine has no holes, and few
/// attributes.
const PLAIN: Shape = Shape {
    files: 60,
    largest: 3_000_000,
    odd: false,
};

#[test]
fn volumes_come_back_into_folders_and_into_volumes() -> Result<()> {
    let setup = Setup::with("volumes = { exclude = [\"*_cache\"] }", Network::Private)?;
    for volume in ["files", "empty", "web_cache"] {
        setup.docker(&["volume", "create", "--label", "team=web", volume])?;
    }
    let files = setup.engine.volume_folder("files");
    tree::generate(&files, 1, Shape::default())?;
    setup.start("web", &["-v", "files:/files", "-v", "/anonymous"], OBEDIENT)?;
    let run = [
        "run",
        "--backup-type",
        "full",
        "--verify=restore",
        "--source",
        "docker",
        "--json",
    ];
    let report = setup.sandbox.run(&run)?.good()?.json()?;
    assert_eq!(setup.names("docker")?, ["empty", "engine", "files"]);
    let notes = report["notes"].to_string();
    ensure!(notes.contains("1 volumes without a name of their own"), "{notes}");

    let to = setup.sandbox.path("restored");
    setup.restore("files", &to)?;
    tree::compare(&files, &to)?;
    let manifest = setup.manifest("docker", "files")?;
    assert_eq!(manifest["volume"]["read"], "path");
    assert_eq!(manifest["volume"]["labels"]["team"], "web");
    assert_eq!(manifest["volume"]["containers"][0]["container"], "web");

    // Restores into a new volume, which gets its labels; never into one that is used or not empty.
    let into = |volume: &str, more: &[&str]| {
        let to = format!("docker:{volume}");
        setup
            .sandbox
            .run(&[&["restore", "volume", "docker/files", "--to", &to], more].concat())
    };
    into("again", &["--dry-run"])?.good()?;
    ensure!(
        setup.docker(&["volume", "inspect", "again"]).is_err(),
        "a dry run made a volume"
    );
    into("again", &[])?.good()?;
    tree::compare(&files, &setup.engine.volume_folder("again"))?;
    let labels = setup.docker(&["volume", "inspect", "--format", "{{.Labels}}", "again"])?;
    assert_eq!(labels, "map[team:web]");
    into("again", &[])?.expect(code::REFUSED)?.says("not empty")?;
    into("again", &["--overwrite"])?.good()?;
    into("files", &["--overwrite"])?.expect(code::REFUSED)?.says("web")?;
    into("../x", &[])?.expect(code::USAGE)?;

    // An unchanged volume is not read again.
    setup.sandbox.run(&["run", "--source", "docker"])?.good()?;
    let second = setup.manifest("docker", "files")?;
    assert_eq!(second["new"]["packs"], 0);
    ensure!(second["counts"]["unread"].as_u64() > Some(10), "{}", second["counts"]);

    // The artefact with the engine's own descriptions.
    let to = setup.sandbox.path("engine");
    setup.restore("engine", &to)?;
    let known: serde_json::Value = serde_json::from_slice(&fs::read(to.join("engine.json"))?)?;
    assert_eq!(known["containers"][0]["Name"], "/web");
    Ok(())
}

#[test]
fn the_engine_itself_reads_and_writes_what_no_path_leads_to() -> Result<()> {
    let setup = Setup::with(
        "volumes_dir = \"/nonexistent\"\nvolumes = { read = \"auto\" }",
        Network::Private,
    )?;
    setup.docker(&["volume", "create", "files"])?;
    setup.docker(&["volume", "create", "empty"])?;
    let files = setup.engine.volume_folder("files");
    tree::generate(&files, 2, PLAIN)?;
    std::os::unix::fs::symlink("/outside", files.join("out"))?;
    fs::hard_link(first_file(&files)?, files.join("z-link"))?;
    setup
        .sandbox
        .run(&["run", "--source", "docker", "--verify=restore"])?
        .good()?;
    let manifest = setup.manifest("docker", "files")?;
    assert_eq!(manifest["volume"]["read"], "archive");
    let to = setup.sandbox.path("restored");
    setup.restore("files", &to)?;
    same_content(&files, &to)?;

    setup.sandbox.run(&["run", "--source", "docker"])?.good()?;
    let second = setup.manifest("docker", "files")?;
    assert_eq!(second["new"]["packs"], 0, "it is read again, and nothing of it is new");

    setup
        .sandbox
        .run(&["restore", "volume", "docker/files", "--to", "docker:again"])?
        .good()?;
    same_content(&files, &setup.engine.volume_folder("again"))?;
    setup
        .sandbox
        .run(&["restore", "volume", "docker/files", "--to", "docker:again"])?
        .expect(code::REFUSED)?
        .says("not empty")?;
    setup
        .sandbox
        .run(&["restore", "volume", "docker/files", "--to", "docker:empty"])?
        .good()?;
    assert_eq!(setup.docker(&["ps", "--all", "--quiet"])?, "", "a helper was left");
    Ok(())
}

fn first_file(folder: &std::path::Path) -> Result<std::path::PathBuf> {
    let file = folder.join("a file");
    fs::write(&file, "content")?;
    Ok(file)
}

/// Compares names, modes, owners, targets of links and content; the engine rounds times to seconds.
fn same_content(one: &std::path::Path, other: &std::path::Path) -> Result<()> {
    let list = |folder: &std::path::Path| {
        let mut command = std::process::Command::new("sh");
        command.current_dir(folder).args([
            "-c",
            "find . -printf '%P %y %m %U:%G %l\\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum; stat -c %h z-link",
        ]);
        holdfast_tests::tools::text_of(&mut command)
    };
    assert_eq!(list(one)?, list(other)?);
    Ok(())
}
