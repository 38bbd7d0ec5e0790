//! One deployment of Holdfast in a temporary folder.

mod background;
mod builder;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use toml::Table;

pub use background::Background;
pub use builder::Builder;

use crate::output::{self, Artefact, Output};
use crate::process::{self, Process};
use crate::{tools, wait_until};

/// A variable in the environment of every process of a sandbox, by which leftover processes are found.
const MARK: &str = "HOLDFAST_TEST_SANDBOX";

/// The longest time for a command. Long enough for any run on a busy machine, and short enough to find a hang.
const DEADLINE: Duration = Duration::from_secs(300);

/// The longest time for processes to end after the one that started them.
const LEFTOVERS: Duration = Duration::from_secs(20);

/// A folder with a configuration, keys and a repository, in which the `holdfast` program runs.
///
/// Dropping the value checks that nothing is left over: no process, no staged plaintext, no temporary file. A test that
/// kills `holdfast` and does not start it again calls [`Sandbox::sweep`].
#[derive(Debug)]
pub struct Sandbox {
    program: PathBuf,
    environment: BTreeMap<String, String>,
    commands: AtomicU32,
    staging: TempDir,
    dir: TempDir,
}

impl Sandbox {
    /// Begins the making of a sandbox.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn empty() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("hf-sandbox-").tempdir()?;
        let staging = builder::staging_dir(dir.path())?;
        let mut environment = BTreeMap::new();
        let mut set = |name: &str, value: &Path| environment.insert(name.to_owned(), value.display().to_string());
        set(MARK, dir.path());
        set("HOME", &dir.path().join("home"));
        set("TMPDIR", &dir.path().join("tmp"));
        for name in ["home", "tmp", "logs"] {
            fs::create_dir(dir.path().join(name))?;
        }
        environment.insert("NO_COLOR".into(), "1".into());
        environment.insert("PATH".into(), std::env::var("PATH").unwrap_or_default());
        Ok(Self {
            program: tools::holdfast()?,
            environment,
            commands: AtomicU32::new(0),
            staging,
            dir,
        })
    }

    /// Returns the folder in which commands run.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the path of the configuration.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.dir().join("holdfast.toml")
    }

    /// Returns the folder of the local repository.
    #[must_use]
    pub fn repository(&self) -> PathBuf {
        self.dir().join("repository")
    }

    /// Returns the folder of a directory target.
    #[must_use]
    pub fn target(&self, name: &str) -> PathBuf {
        self.dir().join("targets").join(name)
    }

    /// Returns the folder for staging.
    #[must_use]
    pub fn staging(&self) -> &Path {
        self.staging.path()
    }

    /// Returns a path in the sandbox's folder, for things that a test makes.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Sets a variable for all further commands.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Removes a variable that [`Sandbox::set_env`] set.
    pub fn remove_env(&mut self, name: &str) {
        self.environment.remove(name);
    }

    /// Reads the configuration as it is now.
    ///
    /// # Errors
    /// If the configuration cannot be read.
    pub fn config(&self) -> Result<Table> {
        let text = fs::read_to_string(self.config_file()).context("read the sandbox's configuration")?;
        Ok(text.parse()?)
    }

    /// Changes the configuration.
    ///
    /// # Errors
    /// If the configuration cannot be read or written.
    pub fn edit_config(&self, edit: impl FnOnce(&mut Table)) -> Result<()> {
        let mut table = self.config()?;
        edit(&mut table);
        fs::write(self.config_file(), toml::to_string(&table)?).context("write the sandbox's configuration")
    }

    /// Returns a `holdfast` command that is ready to start.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.dir())
            .env_clear()
            .envs(&self.environment);
        command
    }

    /// Runs `holdfast` with these arguments and waits for its end.
    ///
    /// # Errors
    /// If the command cannot be started, or does not end in five minutes. A failure of the command is no error.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Output> {
        self.run_command(self.command(arguments))
    }

    /// Runs any command, as [`Sandbox::run`] does.
    ///
    /// # Errors
    /// As [`Sandbox::run`].
    pub fn run_command(&self, command: Command) -> Result<Output> {
        let mut background = self.start_command(command)?;
        background.finish(DEADLINE)
    }

    /// Starts `holdfast` and does not wait for it.
    ///
    /// # Errors
    /// If the command cannot be started.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Background> {
        self.start_command(self.command(arguments))
    }

    /// Starts a command that [`Sandbox::command`] made, and does not wait for it.
    ///
    /// # Errors
    /// If the command cannot be started.
    pub fn spawn(&self, command: Command) -> Result<Background> {
        self.start_command(command)
    }

    fn start_command(&self, mut command: Command) -> Result<Background> {
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let program = Path::new(command.get_program())
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let shown = format!("{program} {}", words.join(" "));
        let number = self.commands.fetch_add(1, Ordering::Relaxed);
        // The output goes into files. A pipe that nobody reads would stop the program when it is full.
        let file = |kind: &str| self.dir().join(format!("logs/{number:03}.{kind}"));
        let stdout = file("out");
        let stderr = file("err");
        command
            .stdin(Stdio::null())
            .stdout(File::create(&stdout)?)
            .stderr(File::create(&stderr)?);
        let process = Process::spawn(&shown, &mut command)?;
        Ok(Background::new(shown, process, stdout, stderr))
    }

    /// Returns all artefacts that `holdfast list` reports as restorable, from newest to oldest.
    ///
    /// # Errors
    /// If the command fails or prints no JSON.
    pub fn artefacts(&self) -> Result<Vec<Artefact>> {
        let output = self.run(&["list", "--json"])?.good()?;
        let mut all = output::artefacts(&output.json()?);
        all.retain(Artefact::came);
        Ok(all)
    }

    /// Returns the newest artefact of a source with this name. For a source of files the name does not matter, since it
    /// has one artefact.
    ///
    /// # Errors
    /// If there is no such artefact. The error names those that exist.
    pub fn artefact(&self, source: &str, name: &str) -> Result<Artefact> {
        let all = self.artefacts()?;
        let found = all.iter().find(|artefact| {
            let only = matches!(artefact.kind.as_str(), "directory" | "system");
            artefact.source == source && (only || artefact.name == name)
        });
        found.cloned().with_context(|| {
            let names: Vec<_> = all
                .iter()
                .map(|artefact| format!("{}/{}", artefact.source, artefact.name))
                .collect();
            format!("there is no artefact {source}/{name}, only {names:?}")
        })
    }

    /// Returns the objects of a place that is a directory, as relative paths with their sizes. Unfinished uploads are
    /// left out.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn objects(&self, place: &Path) -> Result<BTreeMap<String, u64>> {
        let mut objects = BTreeMap::new();
        list(place, place, &mut objects)?;
        Ok(objects)
    }

    /// Returns the processes that this sandbox started and that still run, with their command lines.
    ///
    /// # Errors
    /// If the system does not list processes.
    pub fn processes(&self) -> Result<Vec<(u32, String)>> {
        process::with_variable(MARK, &self.dir().display().to_string())
    }

    /// Ends leftover processes and empties staging. For tests that end with a killed `holdfast`.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn sweep(&self) -> Result<()> {
        for (pid, _) in self.processes()? {
            process::kill_pid(pid);
        }
        for folder in [self.staging(), &self.dir().join("tmp")] {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    fs::remove_dir_all(&path)?
                } else {
                    fs::remove_file(&path)?
                }
            }
        }
        Ok(())
    }

    /// Checks that nothing is left over, as dropping the sandbox does.
    ///
    /// # Errors
    /// Names everything that is left over.
    pub fn check_clean(&self) -> Result<()> {
        let gone = wait_until("no process is left over", LEFTOVERS, || {
            Ok(self.processes()?.is_empty())
        });
        if let Err(error) = gone {
            bail!("{error}: {:?}", self.processes()?);
        }
        let mut left = BTreeMap::new();
        list(self.staging(), self.staging(), &mut left)?;
        list(&self.dir().join("tmp"), &self.dir().join("tmp"), &mut left)?;
        // The lock of the staging folder is empty, and stays as long as the folder.
        left.remove(".lock");
        // A killed process may leave contents that it had fetched. They are sealed, and the next start removes them.
        left.retain(|name, _| !name.starts_with("contents-"));
        if !left.is_empty() {
            bail!(
                "files are left over in staging or the temporary folder: {:?}",
                left.keys()
            );
        }
        Ok(())
    }
}

fn list(root: &Path, dir: &Path, objects: &mut BTreeMap<String, u64>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(root, &entry.path(), objects)?;
            continue;
        }
        let path = entry.path();
        let key = path.strip_prefix(root)?.to_string_lossy().into_owned();
        let unfinished = key
            .rsplit_once('#')
            .is_some_and(|(_, end)| end.bytes().all(|byte| byte.is_ascii_digit()));
        if !unfinished {
            objects.insert(key, entry.metadata()?.len());
        }
    }
    Ok(())
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // A second panic would hide the first; and after a failure there may well be leftovers.
        let clean = if std::thread::panicking() {
            Ok(())
        } else {
            self.check_clean()
        };
        let _ = self.sweep();
        if let Err(error) = clean {
            panic!("the sandbox is not clean: {error}");
        }
    }
}
