//! Keys that are missing, wrong or used up: every check finds them, and nothing is captured with them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use holdfast_tests::output::code;
use holdfast_tests::tree::{self, Shape};
use holdfast_tests::{Context, Result, Sandbox, ensure, tools};
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
fn gpg(home: &Path, arguments: &[&str]) -> Result<String> {
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
fn a_pipeline_key_that_is_missing_or_public_is_named() -> Result<()> {
    let setup = setup()?;
    setup.set("pipeline_key", "keys/no-such.sec.asc")?;
    setup.is_found(&["encryption.pipeline_key", "keys/no-such.sec.asc", "No such file"])?;
    setup.set("pipeline_key", "keys/pipeline.pub.asc")?;
    setup.is_found(&["keys/pipeline.pub.asc", "only the public part", "--export-secret-keys"])?;
    setup.is_readable()?;
    setup.goes_on()
}

#[test]
fn a_pipeline_key_that_is_not_the_repositorys_is_found_before_anything_is_captured() -> Result<()> {
    let setup = setup()?;
    let generate = ["keys", "generate", "pipeline", "--name", "other"];
    setup.sandbox.run(&generate)?.good()?;
    setup.set("pipeline_key", "keys/other.sec.asc")?;
    // The file holds a good key. Only the repository shows that it is the wrong one.
    setup.sandbox.run(&["config", "check"])?.good()?;
    for (command, code) in [("doctor", code::FAILURES), ("run", code::USAGE), ("up", code::USAGE)] {
        setup
            .sandbox
            .run(&[command])?
            .expect(code)?
            .says("repository.pgp")?
            .says("encryption.pipeline_key")?
            .says("the one that it was made with")?;
    }
    setup.nothing_happened()?;
    setup.goes_on()
}
