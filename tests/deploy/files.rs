//! The files of the deployment that can be tried without an engine: `setup`'s passwords, what git leaves out.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use holdfast_tests::{Context, Result, ensure, tools};

/// The deployment's files in a folder of their own, with no engine in reach.
struct Clone {
    folder: tempfile::TempDir,
}

impl Clone {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for name in ["deploy", "compose.yaml"] {
            let from = tools::root().join(name);
            tools::text_of(Command::new("cp").arg("-a").arg(from).arg(folder.path()))?;
        }
        Ok(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `setup --passwords`, with these settings in its environment and no others.
    fn setup(&self, settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(self.path("deploy/compose/setup"));
        command.arg("--passwords").env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(settings.iter().copied());
        command
    }

    fn set_up(&self, settings: &[(&str, &str)]) -> Result<String> {
        tools::text_of(&mut self.setup(settings))
    }

    /// All secrets: mode, owner, content and when each was changed.
    fn secrets(&self) -> Result<BTreeMap<PathBuf, (u32, u32, u32, Vec<u8>, i64)>> {
        let mut found = BTreeMap::new();
        for folder in ["secrets", "secrets/nats", "secrets/keys"] {
            for entry in fs::read_dir(self.path(folder)).context("read the secrets")? {
                let entry = entry?;
                let meta = entry.metadata()?;
                if meta.is_file() {
                    let content = fs::read(entry.path())?;
                    let value = (meta.mode() & 0o7777, meta.uid(), meta.gid(), content, meta.ctime_nsec());
                    found.insert(entry.path(), value);
                }
            }
        }
        Ok(found)
    }

    fn password(&self, user: &str) -> Result<String> {
        fs::read_to_string(self.path("secrets/nats").join(user)).with_context(|| format!("read the password of {user}"))
    }

    fn users_conf(&self) -> Result<String> {
        Ok(fs::read_to_string(self.path("secrets/nats/users.conf"))?)
    }

    /// Whether all is there and fits together.
    fn check(&self) -> Result<()> {
        let secrets = self.secrets()?;
        ensure!(secrets.len() >= 15, "too few: {:?}", secrets.keys());
        for (path, (mode, uid, gid, content, _)) in &secrets {
            let name = path.display();
            ensure!(
                (*mode, *uid, *gid) == (0o440, 10_001, 0),
                "{name}: {mode:o} {uid}:{gid}"
            );
            ensure!(!name.to_string().ends_with("-new"), "{name} was left behind");
            let may_be_empty = path.ends_with("s3-key") || path.ends_with("s3-key-id");
            ensure!(may_be_empty || content.len() > 30, "{name} is cut off");
        }
        let all = fs::read_to_string(self.path("secrets/nats/passwords.conf"))?;
        for user in ["scheduler", "volume-snapshotter", "gate"] {
            let line = format!("{}_password: \"{}\"\n", user.replace('-', "_"), self.password(user)?);
            ensure!(all.contains(&line), "passwords.conf has another password of {user}");
        }
        ensure!(self.users_conf()?.ends_with("}\n"), "users.conf is cut off");
        Ok(())
    }
}

#[test]
fn a_second_setup_changes_nothing_and_says_so() -> Result<()> {
    let clone = Clone::new()?;
    let said = clone.set_up(&[])?;
    ensure!(said.contains("Made the password"), "{said}");
    clone.check()?;
    let before = clone.secrets()?;
    let said = clone.set_up(&[])?;
    ensure!(said.contains("Nothing had to be changed"), "{said}");
    let content = |secrets: BTreeMap<PathBuf, (u32, u32, u32, Vec<u8>, i64)>| -> Vec<_> {
        secrets
            .into_iter()
            .map(|(path, value)| (path, value.0, value.3))
            .collect()
    };
    assert_eq!(content(clone.secrets()?), content(before));
    Ok(())
}

#[test]
fn a_password_whose_file_is_removed_is_made_anew_and_no_other() -> Result<()> {
    let clone = Clone::new()?;
    clone.set_up(&[])?;
    let before = [clone.password("gate")?, clone.password("dumper")?];
    fs::remove_file(clone.path("secrets/nats/gate"))?;
    let said = clone.set_up(&[])?;
    ensure!(said.contains("--force-recreate"), "{said}");
    clone.check()?;
    ensure!(clone.password("gate")? != before[0], "the password is the old one");
    assert_eq!(clone.password("dumper")?, before[1]);
    Ok(())
}

#[test]
fn a_second_site_stays_known_to_nats() -> Result<()> {
    let clone = Clone::new()?;
    clone.set_up(&[])?;
    fs::write(clone.path(".env"), "HOLDFAST_LOG=debug")?;
    let consumers = |site: &str| -> Result<usize> {
        let ending = format!("_{site}\"");
        Ok(clone
            .users_conf()?
            .lines()
            .filter(|line| line.ends_with(&ending))
            .count())
    };
    let of_main = consumers("main")?;
    ensure!(of_main > 10, "{of_main} lines of the site main");
    let said = clone.set_up(&[("HOLDFAST_SITES", "main host-b main")])?;
    ensure!(said.contains("docker compose restart nats"), "{said}");
    // Without being told again, and in spite of the last line of .env, which had no end.
    let said = clone.set_up(&[])?;
    ensure!(said.contains("Nothing had to be changed"), "{said}");
    assert_eq!((consumers("main")?, consumers("host-b")?), (of_main, of_main));
    let env = fs::read_to_string(clone.path(".env"))?;
    assert_eq!(env, "HOLDFAST_LOG=debug\nHOLDFAST_SITES='main host-b main'\n");
    clone.check()
}

#[test]
fn a_site_that_is_none_and_a_folder_that_is_somebody_elses_are_refused() -> Result<()> {
    let clone = Clone::new()?;
    for sites in ["main Host", "other", "main a/b"] {
        let output = clone.setup(&[("HOLDFAST_SITES", sites)]).output()?;
        ensure!(!output.status.success() && !output.stderr.is_empty(), "{sites}");
    }
    let output = clone.setup(&[("HOLDFAST_SECRETS", ".")]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && said.contains("something else"), "{said}");
    ensure!(!clone.path("secrets").exists(), "it began all the same");
    Ok(())
}

/// Kills it at each of its steps: at the first, then, in the same folder, at the second of what is left, and so on.
#[test]
fn a_setup_that_is_killed_can_be_run_again() -> Result<()> {
    let clone = Clone::new()?;
    let bin = clone.path("bin");
    fs::create_dir(&bin)?;
    for program in ["sync", "mv", "chmod", "chown"] {
        killer(&bin, program)?;
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH")?);
    let mut steps = 0;
    loop {
        let budget = clone.path("budget");
        fs::write(&budget, (steps % 9).to_string())?;
        let mut setup = clone.setup(&[
            ("HOLDFAST_SITES", "main host-b"),
            ("BUDGET", &budget.display().to_string()),
        ]);
        let Output { status, .. } = setup.env("PATH", &path).output()?;
        if status.success() {
            break;
        }
        // Or `find`, which it started, was killed.
        let killed = status.signal() == Some(9) || status.code() == Some(137);
        ensure!(killed, "it ended by itself: {status}");
        steps += 1;
        ensure!(steps < 500, "it gets nowhere");
    }
    ensure!(steps > 15, "it was killed {steps} times only");
    clone.check()?;
    let said = clone.set_up(&[])?;
    ensure!(said.contains("Nothing had to be changed"), "{said}");
    Ok(())
}

/// A program that kills whoever calls it once the budget of calls is used up: half of them before it has done its work.
fn killer(bin: &Path, program: &str) -> Result<()> {
    let real = tools::text_of(Command::new("sh").args(["-c", &format!("command -v {program}")]))?;
    let script = format!(
        "#!/bin/sh\nleft=$(cat \"$BUDGET\")\n\
         if [ \"$left\" = 0 ]; then kill -KILL $PPID; exit 1; fi\n\
         {real} \"$@\" || exit\n\
         if [ \"$left\" = 1 ]; then kill -KILL $PPID; exit 1; fi\n\
         echo $((left - 2)) >\"$BUDGET\"\n",
        real = real.trim()
    );
    let path = bin.join(program);
    fs::write(&path, script)?;
    Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?)
}

#[test]
fn git_leaves_out_what_holds_secrets_or_plaintext() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::copy(tools::root().join(".gitignore"), folder.path().join(".gitignore"))?;
    let git = |arguments: &[&str]| Command::new("git").args(arguments).current_dir(folder.path()).output();
    ensure!(git(&["init", "--quiet"])?.status.success(), "git cannot be run");
    let secret = [
        // What setup makes, and where restores land.
        "secrets/keys/backup.sec.asc",
        ".env",
        "compose.override.yaml",
        "restore/uploads/invoice.pdf",
        // What `holdfast init` makes where it is run.
        "holdfast.toml",
        "keys/backup.sec.asc",
        "repository/repository.pgp",
        "state/host",
    ];
    for path in secret {
        let ignored = git(&["check-ignore", "--quiet", path])?;
        ensure!(ignored.status.success(), "git does not leave out {path}");
    }
    for path in [
        "services/cli/src/commands/restore/files.rs",
        "shared/restore/src/lib.rs",
        "shared/repository/src/lib.rs",
    ] {
        ensure!(
            !git(&["check-ignore", "--quiet", path])?.status.success(),
            "git leaves out {path}"
        );
    }
    Ok(())
}
