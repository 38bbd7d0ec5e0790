//! Damage in a repository is found, and named.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use holdfast_tests::output::code;
use holdfast_tests::tree::{self, Shape};
use holdfast_tests::{Context, Result, Sandbox, ensure};

/// Flips a bit of a file, whatever its mode: at offset `at`, or in the last byte if the file is shorter.
pub(crate) fn flip(path: &Path, at: u64) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let at = at.min(file.metadata()?.len().saturating_sub(1));
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 1], at).context("flip a bit")
}

struct Setup {
    _files: tempfile::TempDir,
    sandbox: Sandbox,
}

fn setup() -> Result<Setup> {
    let files = tempfile::tempdir()?;
    let uploads = files.path().join("uploads");
    tree::generate(
        &uploads,
        1,
        Shape {
            files: 40,
            ..Shape::default()
        },
    )?;
    let sandbox = Sandbox::builder()
        .directory("uploads", &uploads)
        .target_directory("offsite")
        .build()?;
    sandbox.run(&["run", "--sync-offsite"])?.good()?;
    Ok(Setup { _files: files, sandbox })
}

/// Returns the first object with `part` in its key.
fn object(sandbox: &Sandbox, part: &str) -> Result<String> {
    let objects = sandbox.objects(&sandbox.repository())?;
    let found = objects.into_keys().find(|key| key.contains(part));
    found.with_context(|| format!("there is no {part} in the repository"))
}

/// Returns the id by which messages name an object: a pack's or an artefact's.
fn id(key: &str) -> &str {
    let parts: Vec<&str> = key.split('/').collect();
    if parts[0] == "packs" { parts[2] } else { parts[1] }
}

#[test]
fn verify_finds_a_flipped_bit_in_any_object_and_names_it() -> Result<()> {
    let setup = setup()?;
    let sandbox = &setup.sandbox;
    for part in ["packs/", "/contents", "/manifest"] {
        let key = object(sandbox, part)?;
        let path = sandbox.repository().join(&key);
        let kept = fs::read(&path)?;
        flip(&path, kept.len() as u64 / 2)?;
        sandbox
            .run(&["verify", "--all", "--level", "integrity"])?
            .expect(code::FAILURES)?
            .says(id(&key))?;
        fs::write(&path, &kept)?;
        sandbox.run(&["verify", "--all", "--level", "integrity"])?.good()?;
    }
    Ok(())
}

#[test]
fn a_bad_record_of_an_old_run_is_named_and_stops_nothing() -> Result<()> {
    let setup = setup()?;
    let sandbox = &setup.sandbox;
    for part in ["/restore-point", "/expected", "/finished", "/listed/"] {
        let key = object(sandbox, part)?;
        let path = sandbox.repository().join(&key);
        let kept = fs::read(&path)?;
        flip(&path, kept.len() as u64 / 2)?;
        let all = ["verify", "--all", "--level", "integrity"];
        sandbox.run(&all)?.expect(code::FAILURES)?.says(&key)?;
        sandbox.run(&["doctor"])?.expect(code::FAILURES)?.says(&key)?;
        if part != "/listed/" {
            sandbox.run(&["sync"])?.expect(code::FAILURES)?.says("is not copied")?;
        }
        sandbox.run(&["run"])?.good()?;
        fs::write(&path, &kept)?;
        sandbox.run(&all)?.good()?;
    }
    Ok(())
}

#[test]
fn a_manifest_that_is_gone_is_missed() -> Result<()> {
    let setup = setup()?;
    let sandbox = &setup.sandbox;
    let key = object(sandbox, "/manifest")?;
    fs::remove_file(sandbox.repository().join(&key))?;
    let verified = sandbox.run(&["verify", "--all", "--level", "integrity"])?;
    verified.expect(code::FAILURES)?.says(id(&key))?;
    sandbox.run(&["list"])?.says("unreadable")?;
    Ok(())
}

#[test]
fn verify_finds_cut_and_missing_objects_and_names_them() -> Result<()> {
    let setup = setup()?;
    let sandbox = &setup.sandbox;
    for part in ["packs/", "/contents"] {
        let key = object(sandbox, part)?;
        let path = sandbox.repository().join(&key);
        let kept = fs::read(&path)?;
        fs::remove_file(&path)?;
        sandbox
            .run(&["verify", "--all"])?
            .expect(code::FAILURES)?
            .says(id(&key))?;
        fs::write(&path, &kept[..kept.len() / 2])?;
        sandbox
            .run(&["verify", "--all"])?
            .expect(code::FAILURES)?
            .says(id(&key))?;
        fs::write(&path, &kept)?;
    }
    sandbox.run(&["verify", "--all", "--level", "decrypt"])?.good()?;
    Ok(())
}

#[test]
fn a_restore_from_a_damaged_place_fails_and_from_the_other_place_succeeds() -> Result<()> {
    let setup = setup()?;
    let sandbox = &setup.sandbox;
    let key = object(sandbox, "packs/")?;
    flip(&sandbox.repository().join(&key), 5000)?;
    let to = sandbox.path("restored").display().to_string();
    sandbox
        .run(&["restore", "volume", "uploads", "--to", &to])?
        .expect(code::FAILURES)?
        .says(id(&key))?;
    let to = sandbox.path("restored offsite").display().to_string();
    sandbox
        .run(&["restore", "volume", "uploads", "--to", &to, "--place", "offsite"])?
        .good()?;
    Ok(())
}

#[test]
fn the_capture_after_a_verification_that_found_damage_stores_the_chunks_anew() -> Result<()> {
    let setup = setup()?;
    let sandbox = &setup.sandbox;
    let key = object(sandbox, "packs/")?;
    flip(&sandbox.repository().join(&key), 5000)?;
    sandbox.run(&["verify", "--all"])?.expect(code::FAILURES)?;
    sandbox.run(&["run", "--verify"])?.good()?;
    sandbox.run(&["verify", "--latest", "--level", "decrypt"])?.good()?;
    Ok(())
}

#[test]
fn an_object_under_anothers_key_is_not_believed() -> Result<()> {
    let setup = setup()?;
    let sandbox = &setup.sandbox;
    sandbox.run(&["run"])?.good()?;
    let manifests: Vec<String> = sandbox
        .objects(&sandbox.repository())?
        .into_keys()
        .filter(|key| key.ends_with("/manifest"))
        .collect();
    ensure!(manifests.len() == 2, "two runs brought {manifests:?}");
    let bytes = fs::read(sandbox.repository().join(&manifests[0]))?;
    fs::write(sandbox.repository().join(&manifests[1]), bytes)?;
    sandbox
        .run(&["verify", "--all"])?
        .expect(code::FAILURES)?
        .says(id(&manifests[1]))?;
    Ok(())
}
