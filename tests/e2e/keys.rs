//! Keys that are missing, wrong or used up: every check finds them, and nothing is captured with them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use holdfast_tests::output::code;
use holdfast_tests::tree::{self, Shape};
use holdfast_tests::{Context, Result, Sandbox, ensure, gnupg, tools};
use toml::{Table, Value};

struct Setup {
    _files: tempfile::TempDir,
    sandbox: Sandbox,
    objects: BTreeMap<String, u64>,
    config: Vec<u8>,
}

/// Makes a directory with a good backup.
fn setup() -> Result<Setup> {
    let files = tempfile::tempdir()?;
    let uploads = files.path().join("uploads");
    let shape = Shape {
        files: 5,
        largest: 10_000,
        odd: false,
    };
    tree::generate(&uploads, 1, shape)?;
    let sandbox = Sandbox::builder().directory("uploads", &uploads).build()?;
    sandbox.run(&["run", "--verify"])?.good()?;
    Ok(Setup {
        _files: files,
        objects: sandbox.objects(&sandbox.repository())?,
        config: fs::read(sandbox.config_file())?,
        sandbox,
    })
}

impl Setup {
    /// Sets a key of `[encryption]`.
    fn set(&self, key: &str, value: impl Into<Value>) -> Result<()> {
        self.sandbox.edit_config(|table| {
            let section = table.entry("encryption").or_insert_with(|| Table::new().into());
            if let Value::Table(section) = section {
                section.insert(key.to_owned(), value.into());
            }
        })
    }

    /// Adds a file to the recipients.
    fn add_recipient(&self, file: &str) -> Result<()> {
        fs::write(self.sandbox.config_file(), &self.config)?;
        let config = self.sandbox.config()?;
        let mut recipients = config["encryption"]["recipients"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        recipients.push(file.into());
        self.set("recipients", recipients)
    }

    /// Checks that every check reports the fault, and that the commands that would capture stop at once.
    fn is_found(&self, says: &[&str]) -> Result<()> {
        let commands: [(&[&str], i32); 5] = [
            (&["config", "check"], code::USAGE),
            (&["keys", "check"], code::USAGE),
            (&["doctor"], code::FAILURES),
            (&["run"], code::USAGE),
            (&["up"], code::USAGE),
        ];
        for (command, code) in commands {
            let mut output = self.sandbox.run(command)?.expect(code)?;
            for text in says {
                output = output.says(text)?;
            }
        }
        self.nothing_happened()
    }

    fn nothing_happened(&self) -> Result<()> {
        let objects = self.sandbox.objects(&self.sandbox.repository())?;
        ensure!(objects == self.objects, "the repository was written to");
        Ok(())
    }

    /// Checks that the earlier backup can be read with the present keys.
    fn is_readable(&self) -> Result<()> {
        self.sandbox.run(&["verify", "--all", "--level", "decrypt"])?.good()?;
        let to = self.sandbox.path("restored");
        self.sandbox
            .run(&["restore", "volume", "uploads", "--to", &to.display().to_string()])?
            .good()?;
        fs::remove_dir_all(to)?;
        // A verification leaves its record.
        Ok(())
    }

    /// Checks that everything works again with the original configuration.
    fn goes_on(&self) -> Result<()> {
        fs::write(self.sandbox.config_file(), &self.config)?;
        self.sandbox.run(&["run", "--verify"])?.good()?;
        self.sandbox.run(&["verify", "--all", "--level", "decrypt"])?.good()?;
        Ok(())
    }
}

/// Runs GnuPG in a home of its own, and ends the processes that it leaves there.
pub(crate) fn gpg(home: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("gpg");
    command
        .env("GNUPGHOME", home)
        .args(["--batch", "--quiet", "--passphrase", ""])
        .args(arguments);
    let done = tools::text_of(&mut command);
    let mut end = Command::new("gpgconf");
    end.arg("--homedir").arg(home).args(["--kill", "all"]);
    tools::text_of(&mut end)?;
    done
}

fn export(home: &Path, to: &Path) -> Result<()> {
    let to = to.to_str().context("the path is no text")?;
    gpg(home, &["--armor", "--output", to, "--export"]).map(drop)
}

#[test]
fn files_of_recipients_that_are_missing_or_no_keys_are_named() -> Result<()> {
    let setup = setup()?;
    setup.add_recipient("keys/no-such.pub.asc")?;
    setup.is_found(&["encryption.recipients", "keys/no-such.pub.asc", "No such file"])?;
    fs::write(setup.sandbox.path("keys/garbage.asc"), "this is not a key\n")?;
    setup.add_recipient("keys/garbage.asc")?;
    setup.is_found(&["keys/garbage.asc", "not an OpenPGP certificate", "gpg --armor --export"])?;
    // Half of a certificate, as an interrupted copy leaves it.
    let whole = fs::read(setup.sandbox.path("keys/backup.pub.asc"))?;
    fs::write(setup.sandbox.path("keys/half.asc"), &whole[..whole.len() / 2])?;
    setup.add_recipient("keys/half.asc")?;
    setup.is_found(&["keys/half.asc", "not an OpenPGP certificate"])?;
    setup.is_readable()?;
    setup.goes_on()
}

#[test]
fn a_secret_key_among_the_recipients_is_refused() -> Result<()> {
    let setup = setup()?;
    let generate = ["keys", "generate", "backup", "--name", "offline"];
    setup.sandbox.run(&generate)?.good()?;
    setup.add_recipient("keys/offline.sec.asc")?;
    setup.is_found(&[
        "keys/offline.sec.asc",
        "holds the secret key",
        "move the secret key away",
    ])?;
    setup.is_readable()?;
    // With the public part of the key all is well.
    setup.add_recipient("keys/offline.pub.asc")?;
    setup.sandbox.run(&["config", "check"])?.good()?;
    setup.sandbox.run(&["run", "--verify"])?.good()?;
    setup.goes_on()
}

#[test]
fn a_revoked_recipient_is_refused() -> Result<()> {
    let setup = setup()?;
    let generate = ["keys", "generate", "backup", "--name", "lost"];
    setup.sandbox.run(&generate)?.good()?;
    // Revoked as its owner would do it, with the certificate of revocation that was made beside the key.
    let home = tempfile::Builder::new().prefix("hf-gpg-").tempdir()?;
    for file in ["keys/lost.pub.asc", "keys/lost.rev.asc"] {
        gpg(
            home.path(),
            &["--import", &setup.sandbox.path(file).display().to_string()],
        )?;
    }
    export(home.path(), &setup.sandbox.path("keys/revoked.asc"))?;
    setup.add_recipient("keys/revoked.asc")?;
    setup.is_found(&["keys/revoked.asc", "is revoked", "give another key"])?;
    setup.is_readable()?;
    setup.goes_on()
}

#[test]
fn a_recipient_that_can_only_sign_is_refused() -> Result<()> {
    let setup = setup()?;
    let home = tempfile::Builder::new().prefix("hf-gpg-").tempdir()?;
    let make = [
        "--quick-generate-key",
        "signer@example.org",
        "rsa2048",
        "sign,cert",
        "never",
    ];
    gpg(home.path(), &make)?;
    export(home.path(), &setup.sandbox.path("keys/signer.asc"))?;
    setup.add_recipient("keys/signer.asc")?;
    setup.is_found(&["keys/signer.asc", "no encryption subkey"])?;
    setup.is_readable()?;
    setup.goes_on()
}

#[test]
fn a_reader_key_that_is_missing_or_public_is_named() -> Result<()> {
    let setup = setup()?;
    setup.set("reader_key", "keys/no-such.sec.asc")?;
    setup.is_found(&["encryption.reader_key", "keys/no-such.sec.asc", "No such file"])?;
    setup.set("reader_key", "keys/reader.pub.asc")?;
    setup.is_found(&["keys/reader.pub.asc", "only the public part", "--export-secret-keys"])?;
    setup.is_readable()?;
    setup.goes_on()
}

#[test]
fn an_owners_key_that_is_missing_or_none_is_named() -> Result<()> {
    let setup = setup()?;
    setup.set("owner", "keys/no-such.pub.asc")?;
    setup.is_found(&["encryption.owner", "keys/no-such.pub.asc", "No such file"])?;
    fs::write(setup.sandbox.path("keys/garbage.asc"), "this is not a key\n")?;
    setup.set("owner", "keys/garbage.asc")?;
    setup.is_found(&["encryption.owner", "keys/garbage.asc", "not an OpenPGP certificate"])?;
    setup.goes_on()
}

/// Checks that those who open the repository are stopped by a key that only the repository shows to be the wrong one.
fn only_the_repository_shows(setup: &Setup, says: &[&str]) -> Result<()> {
    setup.sandbox.run(&["config", "check"])?.good()?;
    for (command, code) in [("doctor", code::FAILURES), ("run", code::USAGE), ("up", code::USAGE)] {
        let mut output = setup.sandbox.run(&[command])?.expect(code)?;
        for text in says {
            output = output.says(text)?;
        }
    }
    setup.nothing_happened()
}

#[test]
fn keys_that_are_not_the_repositorys_are_found_before_anything_is_captured() -> Result<()> {
    let setup = setup()?;
    for purpose in ["reader", "owner"] {
        let name = format!("other-{purpose}");
        setup
            .sandbox
            .run(&["keys", "generate", purpose, "--name", &name])?
            .good()?;
    }
    setup.set("reader_key", "keys/other-reader.sec.asc")?;
    only_the_repository_shows(&setup, &["encryption.reader_key", "the one that it was sealed to"])?;
    setup.set("reader_key", "keys/reader.sec.asc")?;
    setup.set("owner", "keys/other-owner.pub.asc")?;
    only_the_repository_shows(&setup, &["not signed by the owner", "encryption.owner"])?;
    setup.goes_on()
}

#[test]
fn a_role_key_that_is_missing_or_that_nobody_signed_in_is_found_before_anything_is_captured() -> Result<()> {
    let setup = setup()?;
    let key = setup.sandbox.path("keys/producer.sec.asc");
    let kept = setup.sandbox.path("producer.kept");
    fs::rename(&key, &kept)?;
    let says = ["no key of the role producer", "encryption.role_keys"];
    only_the_repository_shows(&setup, &says)?;
    // Whoever only reads needs no role.
    setup.sandbox.run(&["list"])?.good()?;
    let generate = ["keys", "generate", "role", "--name", "stranger"];
    setup.sandbox.run(&generate)?.good()?;
    fs::copy(setup.sandbox.path("keys/stranger.sec.asc"), &key)?;
    only_the_repository_shows(&setup, &says)?;
    // The key of another role is no producer's.
    fs::copy(setup.sandbox.path("keys/janitor.sec.asc"), &key)?;
    only_the_repository_shows(&setup, &says)?;
    fs::rename(&kept, &key)?;
    setup.goes_on()
}

/// A deployment whose backups are sealed to an operator's own certificate.
struct Owned {
    sandbox: Sandbox,
    operator: gnupg::Home,
    uploads: tree::Scratch,
}

impl Owned {
    fn new() -> Result<Self> {
        let uploads = tree::Scratch::few(5)?;
        let owned = Self {
            sandbox: Sandbox::builder().directory("uploads", &uploads).build()?,
            operator: gnupg::Home::new()?,
            uploads,
        };
        owned.hand_out_keys()?;
        owned.sandbox.edit_config(|table| {
            for (section, key, file) in [
                ("encryption", "recipients", "keys/human.pub.asc"),
                ("verifier", "secret_keys", "keys/human.sec.asc"),
            ] {
                let section = table.entry(section).or_insert_with(|| Table::new().into());
                if let Value::Table(section) = section {
                    section.insert(key.to_owned(), vec![file].into());
                }
            }
        })?;
        Ok(owned)
    }

    /// Puts the certificate as it is now, and the newest secret subkey alone, where the configuration has them.
    fn hand_out_keys(&self) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        fs::write(self.sandbox.path("keys/human.pub.asc"), self.operator.public()?)?;
        let secret = self.sandbox.path("keys/human.sec.asc");
        fs::write(&secret, self.operator.newest_secret()?)?;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
        Ok(())
    }

    /// Runs a backup, and shows the newest artefact.
    fn back_up(&self) -> Result<serde_json::Value> {
        self.sandbox.run(&["run", "--verify"])?.good()?;
        let artefact = self.sandbox.artefact("uploads", "uploads")?;
        self.sandbox.run(&["show", &artefact.id, "--json"])?.good()?.json()
    }
}

#[test]
fn a_backup_after_a_subkey_was_replaced_comes_back_with_the_new_secret_alone() -> Result<()> {
    let owned = Owned::new()?;
    let first = owned.back_up()?;
    let second = owned.back_up()?;
    ensure!(second["parent"] == first["artefact"], "no parent: {second}");

    owned.operator.replace_subkey()?;
    owned.hand_out_keys()?;
    let third = owned.back_up()?;
    ensure!(
        third["recipients"] == first["recipients"],
        "another certificate: {third}"
    );
    ensure!(
        third["readers"] == serde_json::json!([owned.operator.subkey()?]),
        "{third}"
    );
    ensure!(
        third["parent"].is_null(),
        "sealed to another subkey, and a parent: {third}"
    );
    ensure!(
        third["new"]["bytes"] == first["new"]["bytes"],
        "not stored anew: {third}"
    );
    let fourth = owned.back_up()?;
    ensure!(fourth["parent"] == third["artefact"], "no parent: {fourth}");

    // What is sealed to the old subkey is not damaged: the key for it is not at hand.
    let sandbox = &owned.sandbox;
    let old = first["artefact"].as_str().context("an artefact has an id")?;
    let reader = first["readers"][0].as_str().context("an artefact has readers")?;
    let verify = ["verify", old, "--level", "decrypt", "--json"];
    let verified = sandbox.run(&verify)?.expect(code::USAGE)?.says(reader)?.json()?;
    ensure!(verified["artefacts"][0]["result"] == "unknown", "{verified}");
    sandbox
        .run(&["verify", "--all", "--level", "decrypt"])?
        .expect(code::USAGE)?
        .says("2 could not be judged")?;
    let objects = sandbox.objects(&sandbox.repository())?;
    ensure!(
        !objects.keys().any(|key| key.starts_with("damaged/")),
        "a mark: {objects:?}"
    );
    sandbox.run(&["show", old])?.good()?.says("unknown")?;
    sandbox.run(&["verify", "--all", "--level", "integrity"])?.good()?;

    let to = owned.sandbox.path("restored");
    owned
        .sandbox
        .run(&["restore", "volume", "uploads", "--to", &to.display().to_string()])?
        .good()?;
    tree::compare(&owned.uploads, &to)
}

#[test]
fn a_recipient_is_proven_by_its_secret_key_here_or_by_a_probe_that_is_opened_elsewhere() -> Result<()> {
    let owned = Owned::new()?;
    let sandbox = &owned.sandbox;
    let reader = owned.operator.subkey()?;
    sandbox
        .run(&["keys", "check"])?
        .good()?
        .says("proven: a probe was opened by verifier.secret_keys")?
        .says("there are none yet")?;
    owned.back_up()?;
    sandbox
        .run(&["keys", "check"])?
        .good()?
        .says("those of 1 name are sealed to the keys of today")?;

    // The secret key is taken away, as it should be.
    let away = sandbox.path("away.asc");
    fs::rename(sandbox.path("keys/human.sec.asc"), &away)?;
    sandbox.edit_config(|table| drop(table.remove("verifier")))?;
    sandbox
        .run(&["keys", "check"])?
        .good()?
        .says(&format!("not proven: the secret key {reader} is not at hand"))?;
    sandbox
        .run(&["doctor"])?
        .good()?
        .says("whose secret part is not on this host")?;
    let given = ["keys", "check", "--secret-key", "away.asc"];
    sandbox.run(&given)?.good()?.says("proven: a probe was opened by")?;

    let write = ["keys", "check", "--write-probe", "probe.pgp"];
    sandbox.run(&write)?.good()?.says("gpg --decrypt")?;
    sandbox.run(&write)?.expect(code::REFUSED)?;
    let probe = sandbox.path("probe.pgp").display().to_string();
    let text = owned.operator.run(&["--decrypt", &probe])?;
    ensure!(
        text.starts_with("You can read this") && text.contains(&reader),
        "{text}"
    );

    // After a change, the old secret key proves nothing, and neither does it open the new probe.
    owned.operator.replace_subkey()?;
    fs::write(sandbox.path("keys/human.pub.asc"), owned.operator.public()?)?;
    let changed = sandbox.run(&given)?.good()?.says("not proven")?;
    changed
        .says("1 of 1 are sealed to other keys than those of today")?
        .says(&reader)?;
    sandbox.edit_config(|table| {
        let mut section = Table::new();
        section.insert("secret_keys".to_owned(), vec!["away.asc"].into());
        table.insert("verifier".to_owned(), section.into());
    })?;
    sandbox
        .run(&["keys", "check"])?
        .expect(code::USAGE)?
        .says("none of them opens what is sealed")?;
    Ok(())
}

#[test]
fn a_key_that_ends_soon_is_told_by_every_look() -> Result<()> {
    let owned = Owned::new()?;
    owned.back_up()?;
    let sandbox = &owned.sandbox;
    owned
        .operator
        .run(&["--quick-set-expire", owned.operator.fingerprint(), "10d"])?;
    owned
        .operator
        .run(&["--quick-set-expire", owned.operator.fingerprint(), "10d", "*"])?;
    owned.hand_out_keys()?;
    for command in [&["status"][..], &["doctor"], &["keys", "check"]] {
        sandbox
            .run(command)?
            .good()?
            .says("expires at")?
            .says(owned.operator.fingerprint())?;
    }
    let status = sandbox.run(&["status", "--json"])?.good()?.json()?;
    ensure!(status["keys"][0]["state"] == "warn", "{status}");
    Ok(())
}
