//! `restore.py`, with nothing on its path but gpg, zstd and python3, and with keys that GnuPG made.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use holdfast_format::{ArtefactId, ArtefactKind, ObjectKey, Role};
use holdfast_restore::{Limits, Progress, RESTORE_MD, RESTORE_PY, compare_files};
use holdfast_sealing::{GeneratedKey, Profile, seal};
use tempfile::TempDir;

use crate::common::archive::{Spec, everything, tree};
use crate::common::{Draft, Repo, Ring, noise, overwrite, pack_key};

/// A directory that GnuPG does not complain about.
fn private() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    dir
}

/// A GnuPG home with a secret backup key that GnuPG made and nothing else, a directory with three programs, and the
/// owner's public key in a file.
pub(crate) struct Kit {
    home: TempDir,
    bin: TempDir,
    owner: PathBuf,
}

impl Kit {
    pub(crate) fn new() -> (Self, Ring) {
        let home = private();
        let bin = private();
        for (name, program) in [("gpg", "gpg"), ("zstd", "zstd"), ("python3", "python3")] {
            let found = ["/usr/bin", "/usr/local/bin", "/bin"].map(|dir| Path::new(dir).join(program));
            let found = found.iter().find(|path| path.exists()).expect(program);
            symlink(found, bin.path().join(name)).unwrap();
        }
        let kit = Self {
            owner: bin.path().join("owner.pub.asc"),
            home,
            bin,
        };
        let fingerprint = kit.make_key("backup");
        let ring = Ring::around(GeneratedKey {
            public_armored: kit.gpg(&["--armor", "--export", &fingerprint]),
            secret_armored: kit.gpg(&["--armor", "--export-secret-keys", &fingerprint]).into(),
            revocation_armored: String::new(),
            fingerprint,
        });
        fs::write(&kit.owner, &ring.owner.public_armored).unwrap();
        (kit, ring)
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

    /// Runs the script with these arguments alone.
    fn run_bare(&self, home: &Path, repo: &Repo, args: &[&str]) -> Output {
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

    fn run_in(&self, home: &Path, repo: &Repo, args: &[&str]) -> Output {
        let owner = ["--owner", self.owner.to_str().unwrap()];
        self.run_bare(home, repo, &[&owner, args].concat())
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

    /// Runs the script, which must end with this code and say these words.
    pub(crate) fn expect(&self, repo: &Repo, args: &[&str], code: i32, words: &[&str]) {
        says(&self.run(repo, args), code, words);
    }
}

/// Checks the end of the script and its words.
fn says(output: &Output, code: i32, words: &[&str]) {
    let said = said(output) + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        end_agents(self.home.path());
    }
}

/// Ends the processes that GnuPG keeps for a home.
fn end_agents(home: &Path) {
    let mut end = Command::new("gpgconf");
    let _ = end.arg("--homedir").arg(home).args(["--kill", "all"]).status();
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_repository_restores_with_gpg_zstd_and_python_alone() {
    let (kit, ring) = Kit::new();
    let repo = Repo::with(&ring);
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

    let listed = String::from_utf8(kit.good(&repo, &["list"])).unwrap();
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
    let (kit, ring) = Kit::new();
    let repo = Repo::with(&ring);
    let id = tree(&repo, &[Spec::dir("."), Spec::file("x", noise(200_000, 1))]);
    let artefact = repo.open(id);
    let id = id.to_string();
    let expect = |args: &[&str], home: &Path, code: i32, words: &[&str]| {
        says(&kit.run_in(home, &repo, args), code, words);
    };
    let home = kit.home.path().to_owned();
    expect(&["verify", &id[..3]], &home, 4, &["artefacts; `list` shows them"]);

    let bare = |args: &[&str], code: i32, words: &[&str]| says(&kit.run_bare(&home, &repo, args), code, words);
    // Without the owner's key; with another; with its fingerprint, which gpg then must know.
    bare(&["list"], 4, &["the owner's public key is needed", "--owner"]);
    bare(&["--allow-unsigned", "verify", &id], 0, &["WARNING", "good:"]);
    let stranger = kit.bin.path().join("stranger.asc");
    fs::write(&stranger, &ring.roles[&Role::Producer].public_armored).unwrap();
    bare(
        &["--owner", stranger.to_str().unwrap(), "list"],
        4,
        &["repository.pgp", "signed by"],
    );
    bare(
        &["--owner", &ring.owner.fingerprint, "list"],
        4,
        &["lacks the key", "owner.pub.asc"],
    );
    kit.gpg(&["--import", kit.owner.to_str().unwrap()]);
    bare(
        &["--owner", &ring.owner.fingerprint.to_lowercase(), "verify", &id],
        0,
        &["good:"],
    );
    // Without any secret key.
    let empty = private();
    expect(&["list"], empty.path(), 4, &["none of the secret keys"]);
    end_agents(empty.path());

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
    let secret = locked.path().join("secret.asc");
    fs::write(&secret, &*ring.backup.secret_armored).unwrap();
    gpg(&["--import", secret.to_str().unwrap()], locked.path());
    let passphrase = locked.path().join("passphrase");
    fs::write(&passphrase, "open sesame").unwrap();
    lock(locked.path(), &ring.backup.fingerprint);
    let file = passphrase.to_str().unwrap().to_owned();
    expect(
        &["--passphrase-file", &file, "verify", &id],
        locked.path(),
        0,
        &["good:"],
    );
    end_agents(locked.path());
    fs::write(&passphrase, "wrong").unwrap();
    expect(&["--passphrase-file", &file, "list"], locked.path(), 4, &["passphrase"]);
    end_agents(locked.path());

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
    let sealed = seal(&repo.recipients, Profile::Gnupg, b"{}").unwrap();
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
    let (kit, ring) = Kit::new();
    let repo = Repo::with(&ring);
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
    let (kit, ring) = Kit::new();
    let repo = Repo::with(&ring);
    let help = String::from_utf8(kit.good(&repo, &["--help"])).unwrap();
    for command in ["list", "verify", "stream", "extract"] {
        assert!(
            help.contains(command) && RESTORE_MD.contains(&format!("restore.py --owner ../owner.pub.asc {command}")),
            "{command}"
        );
    }
    for option in [
        "--passphrase-file",
        "--owner",
        "--accept-revoked",
        "--allow-unsigned",
        "--decrypt-with",
    ] {
        assert!(help.contains(option) && RESTORE_MD.contains(option), "{option}");
    }
}
