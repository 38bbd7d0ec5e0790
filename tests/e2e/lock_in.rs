//! Any copy of the repository restores with gpg, zstd and python3 alone.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use holdfast_tests::postgres::Cluster;
use holdfast_tests::tree::{self, Scratch, Shape};
use holdfast_tests::{Context, Result, Sandbox, db, ensure, tools};
use serde_json::Value;

/// Makes a folder with these programs alone, to be the whole PATH. gpg needs its agent, which it finds by itself.
fn only(dir: &Path, programs: &[&str]) -> Result<PathBuf> {
    let bin = dir.join("only");
    fs::create_dir_all(&bin)?;
    for program in programs {
        let mut find = Command::new("sh");
        find.args(["-c", &format!("command -v {program}")]);
        if *program == "python3" {
            // The first `python3` in the PATH may be a wrapper that needs programs of its own.
            find = Command::new("python3");
            find.args(["-c", "import os, sys; print(os.path.realpath(sys.executable))"]);
        }
        let path = tools::text_of(&mut find)?;
        symlink(path.trim(), bin.join(program))?;
    }
    Ok(bin)
}

/// The `restore.py` of a copy of the repository, with a GnuPG home that holds the secret backup key, and the owner's public
/// key.
pub(crate) struct Script {
    copy: PathBuf,
    home: tempfile::TempDir,
    path: PathBuf,
    owner: PathBuf,
}

impl Script {
    /// Takes the keys from where `init` has put them.
    pub(crate) fn new(sandbox: &Sandbox, copy: &Path) -> Result<Self> {
        let config = sandbox.config()?;
        let secret = config["verifier"]["secret_keys"][0]
            .as_str()
            .context("init named no secret key")?;
        let owner = config["encryption"]["owner"].as_str().context("init named no owner")?;
        Self::with(sandbox.dir(), copy, &sandbox.path(secret), &sandbox.path(owner))
    }

    /// Makes a folder for the programs in `dir`.
    pub(crate) fn with(dir: &Path, copy: &Path, secret: &Path, owner: &Path) -> Result<Self> {
        // The path is short, since gpg's agent listens on a socket in this folder.
        let home = tempfile::Builder::new().prefix("hf-gpg-").tempdir()?;
        let path = only(dir, &["gpg", "zstd", "python3"])?;
        let script = Self {
            copy: copy.to_owned(),
            home,
            path,
            owner: owner.to_owned(),
        };
        let mut import = script.command("gpg");
        import.args(["--batch", "--quiet", "--import"]).arg(secret);
        tools::text_of(&mut import)?;
        Ok(script)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.path.join(program));
        command
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", self.home.path());
        command.env("GNUPGHOME", self.home.path()).env("LANG", "C.UTF-8");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("python3");
        command
            .arg(self.copy.join("restore.py"))
            .arg("--homedir")
            .arg(self.home.path())
            .arg("--owner")
            .arg(&self.owner)
            .args(arguments);
        command
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let mut end = Command::new("gpgconf");
        end.args(["--homedir"]).arg(self.home.path()).args(["--kill", "all"]);
        let _ = end.status();
    }
}

#[test]
fn a_copy_restores_without_holdfast() -> Result<()> {
    let source = Cluster::start()?;
    db::fill(&source)?;
    let files = tempfile::tempdir()?;
    let uploads = files.path().join("uploads");
    tree::generate(&uploads, 1, Shape::default())?;
    let sandbox = Sandbox::builder()
        .postgres("main", &source)
        .directory("uploads", &uploads)
        .target_directory("offsite")
        .build()?;
    sandbox.run(&["run", "--sync-offsite"])?.good()?;
    tree::edit(&uploads, 5, 3)?;
    sandbox.run(&["run", "--sync-offsite"])?.good()?;

    let copy = files.path().join("copy");
    fs::rename(sandbox.target("offsite"), &copy)?;
    let script = Script::new(&sandbox, &copy)?;
    let listed: Vec<Value> = serde_json::from_str(&tools::text_of(&mut script.run(&["list", "--json"]))?)?;
    let newest = |name: &str| -> Result<String> {
        let named = listed
            .iter()
            .filter(|artefact| artefact["name"] == name || artefact["source"] == name);
        let newest = named.max_by_key(|artefact| artefact["sequence"].as_u64());
        let found = newest.and_then(|artefact| artefact["artefact"].as_str());
        Ok(found
            .with_context(|| format!("{name} is not listed: {listed:?}"))?
            .to_owned())
    };

    let tree_copy = files.path().join("restored");
    let mut extract = script.run(&["extract", &newest("uploads")?, &tree_copy.display().to_string()]);
    tools::text_of(&mut extract)?;
    tree::compare(&uploads, &tree_copy)?;

    let target = Cluster::start()?;
    target.create_database(db::MAIN)?;
    target.psql("postgres", "CREATE ROLE holdfast_owner; CREATE ROLE holdfast_reader;")?;
    let mut stream = script
        .run(&["stream", &newest(db::MAIN)?])
        .stdout(Stdio::piped())
        .spawn()?;
    let restored = target
        .client("pg_restore", "")
        .args(["--exit-on-error", "-d", db::MAIN])
        .stdin(stream.stdout.take().context("no output")?)
        .status()?;
    ensure!(
        stream.wait()?.success() && restored.success(),
        "the stream did not restore"
    );
    db::compare((&source, db::MAIN), (&target, db::MAIN))
}

#[test]
fn the_script_refuses_what_is_damaged() -> Result<()> {
    let uploads = Scratch::few(10)?;
    let sandbox = Sandbox::builder().directory("uploads", &uploads).build()?;
    sandbox.run(&["run"])?.good()?;
    let script = Script::new(&sandbox, &sandbox.repository())?;
    let artefact = sandbox.artefact("uploads", "uploads")?;
    tools::text_of(&mut script.run(&["verify", &artefact.id]))?;
    let objects = sandbox.objects(&sandbox.repository())?;
    let pack = objects
        .keys()
        .find(|key| key.starts_with("packs/"))
        .context("there is no pack")?;
    super::damage::flip(&sandbox.repository().join(pack), 1000)?;
    let refused = script.run(&["verify", &artefact.id]).output()?;
    ensure!(!refused.status.success(), "a damaged pack was believed");
    let id = pack.rsplit('/').next().unwrap_or_default();
    ensure!(
        String::from_utf8_lossy(&refused.stderr).contains(id),
        "it does not say which pack"
    );
    Ok(())
}
