//! `restore.py`, with nothing on its path but gpg, zstd and python3, and with keys that GnuPG made.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use holdfast_format::{ArtefactId, ArtefactKind, ObjectKey};
use holdfast_restore::{Limits, Progress, RESTORE_MD, RESTORE_PY, compare_files};
use tempfile::TempDir;

use crate::common::archive::{Spec, everything, tree};
use crate::common::{Draft, Keys, Repo, noise, overwrite, pack_key};

/// A directory that GnuPG does not complain about.
fn private() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    dir
}

/// A GnuPG home with a backup key and a pipeline key, and a directory with three programs.
struct Kit {
    home: TempDir,
    bin: TempDir,
    pipeline: String,
}

impl Kit {
    fn new() -> (Self, Keys) {
        let home = private();
        let bin = private();
        for (name, program) in [("gpg", "gpg"), ("zstd", "zstd"), ("python3", "python3")] {
            let found = ["/usr/bin", "/usr/local/bin", "/bin"].map(|dir| Path::new(dir).join(program));
            let found = found.iter().find(|path| path.exists()).expect(program);
            symlink(found, bin.path().join(name)).unwrap();
        }
        let mut kit = Self {
            home,
            bin,
            pipeline: String::new(),
        };
        let backup = kit.make_key("backup");
        kit.pipeline = kit.make_key("pipeline");
        let secret = |id: &str| kit.gpg(&["--armor", "--export-secret-keys", id]);
        let keys = Keys {
            backup: secret(&backup),
            pipeline: secret(&kit.pipeline),
        };
        // Only the public half of the pipeline key is at hand when things are restored.
        kit.gpg(&["--yes", "--delete-secret-keys", &kit.pipeline]);
        (kit, keys)
    }

    fn gpg(&self, args: &[&str]) -> String {
        let output = Command::new("gpg")
            .arg("--homedir")
            .arg(self.home.path())
            .args(["--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback"])
            .args(args)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn make_key(&self, name: &str) -> String {
        self.gpg(&["--quick-gen-key", name, "ed25519", "cert,sign", "never"]);
        let listing = self.gpg(&["--with-colons", "--list-keys", name]);
        let line = listing.lines().find(|line| line.starts_with("fpr:")).unwrap();
        let fingerprint = line.split(':').nth(9).unwrap().to_owned();
        self.gpg(&["--quick-add-key", &fingerprint, "cv25519", "encr", "never"]);
        fingerprint
    }

    fn run_in(&self, home: &Path, repo: &Repo, args: &[&str]) -> Output {
        let script = repo.path(&ObjectKey::RestoreScript);
        if !script.exists() {
            fs::write(&script, RESTORE_PY).unwrap();
        }
        Command::new(self.bin.path().join("python3"))
            .arg("-B")
            .arg(script)
            .args(args)
            .env_clear()
            .env("PATH", self.bin.path())
            .env("GNUPGHOME", home)
            .output()
            .unwrap()
    }

    fn run(&self, repo: &Repo, args: &[&str]) -> Output {
        self.run_in(self.home.path(), repo, args)
    }

    /// Runs the script, which must end well, and returns its output.
    fn good(&self, repo: &Repo, args: &[&str]) -> Vec<u8> {
        let output = self.run(repo, args);
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        output.stdout
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.home.path())
            .args(["--kill", "all"])
            .status();
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_repository_restores_with_gpg_zstd_and_python_alone() {
    let (kit, keys) = Kit::new();
    let repo = Repo::with(&keys);
    let files = tree(&repo, &everything());
    let mut draft = Draft::new(&repo, 30_000, 4_000);
    draft.dump(&noise(300_000, 1));
    let first = draft.data(&noise(3_000, 9));
    draft.line(holdfast_format::Content::Data(first.clone()));
    for n in 0..12 {
        draft.dump(&noise(20_000, 20 + n));
        draft.again(&first);
    }
    let stream = draft.stream.clone();
    let dump = draft.store(ArtefactKind::Database, "shop", Vec::new());

    let listed = String::from_utf8(kit.good(&repo, &["--signer", &kit.pipeline, "list"])).unwrap();
    for word in [
        &files.to_string(),
        &dump.to_string(),
        "uploads",
        "shop",
        "2026-11-24T02:00:01Z",
    ] {
        assert!(listed.contains(word), "{listed}");
    }
    let files = files.to_string();
    let dump = dump.to_string();
    kit.good(&repo, &["verify", &files[..8]]);
    assert!(kit.good(&repo, &["--cache", "2", "stream", &dump]) == stream);
    assert!(kit.good(&repo, &["--threads", "1", "stream", &dump]) == stream);

    let target = private();
    let to = target.path().join("out");
    kit.good(&repo, &["extract", &files, to.to_str().unwrap()]);
    same(&repo, &files, &to);
    let again = kit.run(&repo, &["extract", &files, to.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(4), "{}", said(&again));
    let part = target.path().join("part");
    kit.good(&repo, &["extract", &files, part.to_str().unwrap(), "--path", "/b/c/"]);
    assert_eq!(fs::read(part.join("b/c/deep")).unwrap(), b"deep");
    assert!(!part.join("a").exists());
    let nowhere = kit.run(&repo, &["stream", &files, "--path", "nowhere"]);
    assert_eq!(nowhere.status.code(), Some(4));
    // What GNU tar makes of the stream is the same.
    let gnu = target.path().join("gnu");
    fs::create_dir(&gnu).unwrap();
    fs::write(target.path().join("stream.tar"), kit.good(&repo, &["stream", &files])).unwrap();
    let status = Command::new("tar")
        .args([
            "-xpf",
            "../stream.tar",
            "--numeric-owner",
            "--xattrs",
            "--xattrs-include=*",
        ])
        .current_dir(&gnu)
        .status()
        .unwrap();
    assert!(status.success());
    same(&repo, &files, &gnu);
}

fn same(repo: &Repo, id: &str, to: &Path) {
    let artefact = repo.open(id.parse::<ArtefactId>().unwrap());
    let differences = compare_files(artefact.origin(), to, Limits::default(), &Progress::default()).unwrap();
    assert_eq!(differences, []);
    use std::os::unix::fs::MetadataExt;
    let meta = |path: &str| fs::symlink_metadata(to.join(path)).unwrap();
    assert_eq!(meta("a/setuid").mode() & 0o7777, 0o4755);
    assert_eq!((meta("a/big").uid(), meta("a").gid()), (1001, 1002));
    assert_eq!(
        (meta("b/c").mode() & 0o7777, meta("b/c").mtime_nsec()),
        (0o555, 123_456_789)
    );
    assert_eq!(meta("a/big").ino(), meta("a/hard").ino());
    assert!(meta("sparse").blocks() < 200);
    assert_eq!(
        xattr::get(to.join("a/exact"), "user.a=b%").unwrap().unwrap(),
        b"\x00\xff\n"
    );
}

#[test]
fn damage_keys_and_signatures_are_told_apart() {
    let (kit, keys) = Kit::new();
    let repo = Repo::with(&keys);
    let id = tree(&repo, &[Spec::dir("."), Spec::file("x", noise(200_000, 1))]);
    let artefact = repo.open(id);
    let id = id.to_string();
    let expect = |args: &[&str], home: &Path, code: i32, words: &[&str]| {
        let output = kit.run_in(home, &repo, args);
        let said = said(&output) + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{args:?}: {word:?} is not in {said}");
        }
    };
    let home = kit.home.path().to_owned();
    let other = "0123456789ABCDEF0123456789ABCDEF01234567";
    expect(&["--signer", other, "list"], &home, 4, &["not the --signer"]);
    expect(&["verify", &id[..3]], &home, 4, &["artefacts; `list` shows them"]);

    // Without the public pipeline key; and without any secret key.
    let bare = private();
    let secret = bare.path().join("secret.asc");
    fs::write(&secret, &keys.backup).unwrap();
    let import = Command::new("gpg")
        .env("GNUPGHOME", bare.path())
        .args(["--batch", "--quiet", "--import"])
        .arg(&secret)
        .status()
        .unwrap();
    assert!(import.success());
    expect(&["list"], bare.path(), 4, &["gpg does not know"]);
    expect(
        &["--allow-unsigned", "verify", &id],
        bare.path(),
        0,
        &["WARNING", "good:"],
    );
    let empty = private();
    expect(&["list"], empty.path(), 4, &["none of the secret keys"]);
    for dir in [bare.path(), empty.path()] {
        let _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(dir)
            .args(["--kill", "all"])
            .status();
    }

    // A locked key: the passphrase is in a file, or is wrong.
    let locked = private();
    let gpg = |args: &[&str], home: &Path| {
        let all = ["--batch", "--quiet", "--yes", "--pinentry-mode", "loopback"];
        let status = Command::new("gpg")
            .env("GNUPGHOME", home)
            .args(all)
            .args(args)
            .status()
            .unwrap();
        assert!(status.success(), "{args:?}");
    };
    let pipeline = locked.path().join("pipeline.asc");
    fs::write(&pipeline, &keys.pipeline).unwrap();
    let backup = holdfast_sealing::SecretKeys::from_bytes(keys.backup.as_bytes(), None)
        .unwrap()
        .fingerprints();
    gpg(&["--import", secret.to_str().unwrap()], locked.path());
    gpg(&["--import", pipeline.to_str().unwrap()], locked.path());
    gpg(&["--delete-secret-keys", &kit.pipeline], locked.path());
    let passphrase = locked.path().join("passphrase");
    fs::write(&passphrase, "open sesame").unwrap();
    lock(locked.path(), &backup[0]);
    let file = passphrase.to_str().unwrap().to_owned();
    expect(
        &["--passphrase-file", &file, "verify", &id],
        locked.path(),
        0,
        &["good:"],
    );
    let _ = Command::new("gpgconf")
        .arg("--homedir")
        .arg(locked.path())
        .args(["--kill", "all"])
        .status();
    fs::write(&passphrase, "wrong").unwrap();
    expect(&["--passphrase-file", &file, "list"], locked.path(), 4, &["passphrase"]);
    let _ = Command::new("gpgconf")
        .arg("--homedir")
        .arg(locked.path())
        .args(["--kill", "all"])
        .status();

    let flipped = pack_key(&artefact, 0);
    let gone = pack_key(&artefact, 2);
    repo.flip(&flipped);
    fs::remove_file(repo.path(&gone)).unwrap();
    expect(
        &["verify", &id],
        &home,
        1,
        &[&flipped.to_string(), &gone.to_string(), "SHA-256", "missing"],
    );
    expect(&["stream", &id], &home, 1, &[&flipped.to_string()]);
    // Another artefact's manifest in its place.
    let second = tree(&repo, &[Spec::dir(".")]);
    let bytes = fs::read(repo.path(&ObjectKey::Manifest(second))).unwrap();
    overwrite(
        &repo.path(&ObjectKey::Manifest(artefact.manifest().captured.artefact)),
        &bytes,
    );
    expect(&["verify", &id], &home, 4, &["another artefact"]);
    // A manifest that nobody signed.
    let sealed = holdfast_sealing::seal(&repo.recipients, holdfast_sealing::Profile::Gnupg, b"{}").unwrap();
    overwrite(
        &repo.path(&ObjectKey::Manifest(artefact.manifest().captured.artefact)),
        &sealed,
    );
    expect(&["verify", &id], &home, 4, &["not signed"]);
}

/// Gives a secret key the passphrase "open sesame".
fn lock(home: &Path, key: &str) {
    use std::io::Write;
    let mut child = Command::new("gpg")
        .env("GNUPGHOME", home)
        .args([
            "--batch",
            "--quiet",
            "--pinentry-mode",
            "loopback",
            "--command-fd",
            "0",
            "--change-passphrase",
            key,
        ])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let answers = b"open sesame\n".repeat(4);
    child.stdin.take().unwrap().write_all(&answers).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn hostile_trees_do_not_leave_the_directory() {
    use holdfast_format::EntryKind;
    let (kit, keys) = Kit::new();
    let repo = Repo::with(&keys);
    let id = tree(
        &repo,
        &[
            Spec::dir("."),
            Spec::file("good", b"good"),
            Spec::file("../evil", b"evil"),
            Spec::file("/evil", b"evil"),
            Spec::link(EntryKind::Symlink, "up", ".."),
            Spec::file("up/evil", b"evil"),
            Spec::link(EntryKind::Symlink, "canary-link", "../canary"),
            Spec::file("canary-link", b"evil"),
            Spec::link(EntryKind::Hardlink, "hard", "../canary"),
            Spec::link(EntryKind::Hardlink, "hard-through", "up/canary"),
        ],
    );
    let outside = private();
    let canary: PathBuf = outside.path().join("canary");
    fs::write(&canary, "alive").unwrap();
    let to = outside.path().join("out");
    let output = kit.run(&repo, &["extract", &id.to_string(), to.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("6 faults"), "{}", said(&output));
    assert_eq!(fs::read(&canary).unwrap(), b"alive");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 2);
    assert_eq!(fs::read(to.join("good")).unwrap(), b"good");
}

#[test]
fn the_guide_names_commands_that_exist() {
    let (kit, keys) = Kit::new();
    let repo = Repo::with(&keys);
    let help = String::from_utf8(kit.good(&repo, &["--help"])).unwrap();
    for command in ["list", "verify", "stream", "extract"] {
        assert!(
            help.contains(command) && RESTORE_MD.contains(&format!("restore.py {command}")),
            "{command}"
        );
    }
    for option in ["--passphrase-file", "--signer", "--allow-unsigned", "--decrypt-with"] {
        assert!(help.contains(option) && RESTORE_MD.contains(option), "{option}");
    }
}
