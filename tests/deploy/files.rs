//! Tests of the deployment's files that need no engine: the passwords of `setup`, and the files that git ignores.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use holdfast_tests::process::{Process, free_port};
use holdfast_tests::{Context, Result, ensure, tools, wait_until};

/// A secret as it lies in its file: mode, user, group, content, and the nanoseconds of the last change.
type SecretFile = (u32, u32, u32, Vec<u8>, i64);

/// The deployment's files in a folder of their own, with no engine in reach.
struct Checkout {
    folder: tempfile::TempDir,
}

impl Checkout {
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

    /// Returns `setup --passwords`, with these settings in its environment and no others.
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

    /// Reads all secrets, by path.
    fn secrets(&self) -> Result<BTreeMap<PathBuf, SecretFile>> {
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

    /// Checks that all secrets are there and fit together.
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
    let checkout = Checkout::new()?;
    let said = checkout.set_up(&[])?;
    ensure!(said.contains("Made the password"), "{said}");
    checkout.check()?;
    let before = checkout.secrets()?;
    let said = checkout.set_up(&[])?;
    ensure!(said.contains("Nothing had to be changed"), "{said}");
    let content = |secrets: BTreeMap<PathBuf, (u32, u32, u32, Vec<u8>, i64)>| -> Vec<_> {
        secrets
            .into_iter()
            .map(|(path, value)| (path, value.0, value.3))
            .collect()
    };
    assert_eq!(content(checkout.secrets()?), content(before));
    Ok(())
}

#[test]
fn a_password_whose_file_is_removed_is_made_anew_and_no_other() -> Result<()> {
    let checkout = Checkout::new()?;
    checkout.set_up(&[])?;
    let before = [checkout.password("gate")?, checkout.password("dumper")?];
    fs::remove_file(checkout.path("secrets/nats/gate"))?;
    let said = checkout.set_up(&[])?;
    ensure!(said.contains("--force-recreate"), "{said}");
    checkout.check()?;
    ensure!(checkout.password("gate")? != before[0], "the password is the old one");
    assert_eq!(checkout.password("dumper")?, before[1]);
    Ok(())
}

#[test]
fn a_second_site_stays_known_to_nats() -> Result<()> {
    let checkout = Checkout::new()?;
    checkout.set_up(&[])?;
    fs::write(checkout.path(".env"), "HOLDFAST_LOG=debug")?;
    let consumers = |site: &str| -> Result<usize> {
        let ending = format!("_{site}\"");
        Ok(checkout
            .users_conf()?
            .lines()
            .filter(|line| line.ends_with(&ending))
            .count())
    };
    let of_main = consumers("main")?;
    ensure!(of_main > 10, "{of_main} lines of the site main");
    let said = checkout.set_up(&[("HOLDFAST_SITES", "main host-b main")])?;
    ensure!(said.contains("docker compose restart nats"), "{said}");
    // The settings are not given again, and the last line of .env has no line end.
    let said = checkout.set_up(&[])?;
    ensure!(said.contains("Nothing had to be changed"), "{said}");
    assert_eq!((consumers("main")?, consumers("host-b")?), (of_main, of_main));
    let env = fs::read_to_string(checkout.path(".env"))?;
    assert_eq!(env, "HOLDFAST_LOG=debug\nHOLDFAST_SITES='main host-b main'\n");
    checkout.check()
}

#[test]
fn a_site_that_is_none_and_a_folder_that_is_somebody_elses_are_refused() -> Result<()> {
    let checkout = Checkout::new()?;
    for sites in ["main Host", "other", "main a/b"] {
        let output = checkout.setup(&[("HOLDFAST_SITES", sites)]).output()?;
        ensure!(!output.status.success() && !output.stderr.is_empty(), "{sites}");
    }
    let output = checkout.setup(&[("HOLDFAST_SECRETS", ".")]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && said.contains("something else"), "{said}");
    ensure!(!checkout.path("secrets").exists(), "it began all the same");
    Ok(())
}

/// Kills `setup` at its first step; then, in the same folder, at the second of the remaining steps, and so on.
#[test]
fn a_setup_that_is_killed_can_be_run_again() -> Result<()> {
    let checkout = Checkout::new()?;
    let bin = checkout.path("bin");
    fs::create_dir(&bin)?;
    for program in ["sync", "mv", "chmod", "chown"] {
        killer(&bin, program)?;
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH")?);
    let mut steps = 0;
    loop {
        let budget = checkout.path("budget");
        fs::write(&budget, (steps % 9).to_string())?;
        let mut setup = checkout.setup(&[
            ("HOLDFAST_SITES", "main host-b"),
            ("BUDGET", &budget.display().to_string()),
        ]);
        let Output { status, .. } = setup.env("PATH", &path).output()?;
        if status.success() {
            break;
        }
        // The killed process may also be `find`, which `setup` has started.
        let killed = status.signal() == Some(9) || status.code() == Some(137);
        ensure!(killed, "it ended by itself: {status}");
        steps += 1;
        ensure!(steps < 500, "it gets nowhere");
    }
    ensure!(steps > 15, "it was killed {steps} times only");
    checkout.check()?;
    let said = checkout.set_up(&[])?;
    ensure!(said.contains("Nothing had to be changed"), "{said}");
    Ok(())
}

/// Makes a program that kills its caller when the budget of calls is used up: in half of the cases before it has done
/// its work.
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

/// On a server that has this deployment's users and passwords, every message that the code sends is tried by every user.
#[test]
fn a_server_lets_every_user_say_what_it_must_and_no_more() -> Result<()> {
    let checkout = Checkout::new()?;
    checkout.set_up(&[])?;
    let port = free_port()?;
    let config = checkout.path("secrets/nats/server.conf");
    let store = checkout.path("store");
    fs::write(
        &config,
        format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {:?} }}\ninclude \"users.conf\"\n",
            store.display().to_string()
        ),
    )?;
    let log = checkout.path("log");
    let mut server = Command::new(tools::nats_server()?);
    server.arg("-c").arg(&config).arg("-l").arg(&log);
    let mut server = Process::spawn("nats-server", &mut server)?;
    let listens = wait_until("the server listens", Duration::from_secs(30), || {
        ensure!(server.ended()?.is_none(), "the server has ended");
        Ok(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())
    });
    listens.with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    let mut check = Command::new(checkout.path("deploy/nats/check"));
    check.arg(format!("127.0.0.1:{port}"));
    check.arg(checkout.path("secrets/nats/passwords.conf")).arg("--scratch");
    let output = check.output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success() && said.contains("all as they should be"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    server.kill();
    Ok(())
}

#[test]
fn git_leaves_out_what_holds_secrets_or_plaintext() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::copy(tools::root().join(".gitignore"), folder.path().join(".gitignore"))?;
    let git = |arguments: &[&str]| Command::new("git").args(arguments).current_dir(folder.path()).output();
    ensure!(git(&["init", "--quiet"])?.status.success(), "git cannot be run");
    let secret = [
        // Files that setup makes, and the folder of restored files.
        "secrets/keys/backup.sec.asc",
        ".env",
        "compose.override.yaml",
        "restore/uploads/invoice.pdf",
        // Files that `holdfast init` makes in the folder where it is run.
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
