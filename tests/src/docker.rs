//! Real Docker engines.
//!
//! Each [`Engine`] is a `dockerd` with its own data root, in namespaces of its own. Its containers, mounts and bridges
//! end with the value, and with the test, however that ends. Needs root, Debian's `docker.io`, and `busybox-static`, of
//! which the only image is made.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::process::Process;
use crate::{tools, wait_until};

/// The image that every engine has: busybox, with its usual commands and `/bin/sh`.
pub const IMAGE: &str = "holdfast-test:base";

/// A user that runs nothing but a server, in the image, too.
const NOBODY: &str = "65534:65534";

/// The longest time for a start or stop of the engine.
const DEADLINE: Duration = Duration::from_secs(90);

/// The network namespace of an engine and its containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// A namespace of its own. Nothing outside reaches the containers, except through the engine's socket.
    Private,
    /// The host's namespace. A test can reach the addresses and published ports of containers.
    Host,
}

/// A Docker engine of its own, with [`IMAGE`] and nothing else.
#[derive(Debug)]
pub struct Engine {
    commands: Option<ChildStdin>,
    process: Process,
    // The last field, so that the folder is removed after everything in it has ended.
    dir: TempDir,
    _addresses: Addresses,
}

impl Engine {
    /// Starts an engine in a network namespace of its own.
    ///
    /// # Errors
    /// If this process is not root, `dockerd` or busybox is not installed, or the engine does not start. The error has
    /// the engine's log.
    pub fn start() -> Result<Self> {
        Self::start_in(Network::Private)
    }

    /// Starts an engine in a network namespace of this kind.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn start_in(network: Network) -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "only root can start a Docker engine"
        );
        // The path is short, since the path of a Unix socket is limited to 107 bytes.
        let dir = tempfile::Builder::new().prefix("hf-docker-").tempdir()?;
        let mut command = Command::new("unshare");
        command.args(["--pid", "--mount", "--fork", "--kill-child"]);
        if network == Network::Private {
            command.arg("--net");
        }
        command.arg(tools::root().join("tests/tools/docker-engine"));
        command.arg(dir.path());
        command.arg(match network {
            Network::Private => "private",
            Network::Host => "host",
        });
        let addresses = Addresses::claim()?;
        command.arg(&addresses.pool);
        let errors = std::fs::File::create(dir.path().join("log"))?;
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(errors);
        let mut process = Process::spawn("the Docker engine", &mut command)?;
        let commands = process.take_stdin();
        let mut engine = Self {
            commands,
            process,
            dir,
            _addresses: addresses,
        };
        engine.restart()?;
        engine.import_image()?;
        Ok(engine)
    }

    /// Returns the path of the engine's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    /// Returns the engine's address, as in `DOCKER_HOST`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Returns the folder on the host with the files of a volume of the local driver.
    #[must_use]
    pub fn volume_folder(&self, volume: &str) -> PathBuf {
        self.dir.path().join("data/volumes").join(volume).join("_data")
    }

    /// Returns a `docker` command for this engine.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", self.host());
        // Keeps the settings of this machine's user out.
        command.env("DOCKER_CONFIG", self.dir.path().join("config"));
        command.env_remove("DOCKER_CONTEXT").env_remove("DOCKER_TLS_VERIFY");
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs `docker` and returns its output, without the last line end.
    ///
    /// # Errors
    /// If the command fails. The error has its message.
    pub fn docker<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<String> {
        let mut command = self.command(arguments);
        let shown = format!("{:?}", command.get_args().collect::<Vec<_>>());
        let text = tools::text_of(&mut command).with_context(|| format!("docker {shown}"))?;
        Ok(text.trim_end().to_owned())
    }

    /// Starts a PostgreSQL server in a container, with the programs of this machine and a volume for its data, and waits
    /// until it answers. The user `postgres` has this password.
    ///
    /// # Errors
    /// If the container does not start, or the server does not answer. The error has the server's log.
    pub fn start_postgres(&self, container: &str, volume: &str, password: &str, options: &[&str]) -> Result<()> {
        let bin = tools::postgres_bin()?;
        let bin = bin.display();
        let data = "/var/lib/postgresql/data";
        let script = format!(
            "exec 2>&1; if [ ! -e {data}/pgdata ]; then \
                 echo \"$POSTGRES_PASSWORD\" >/tmp/password && \
                 {bin}/initdb --pgdata={data}/pgdata --username=postgres --pwfile=/tmp/password --auth=scram-sha-256 \
                     --encoding=UTF8 --locale=C >/dev/null && \
                 echo 'host all all all scram-sha-256' >>{data}/pgdata/pg_hba.conf; fi; \
             exec {bin}/postgres -D {data}/pgdata -k /tmp -c listen_addresses='*' -c dynamic_shared_memory_type=mmap"
        );
        self.docker(["volume", "create", volume])?;
        // The volume's folder belongs to the user that runs the server.
        tools::text_of(Command::new("chown").arg(NOBODY).arg(self.volume_folder(volume)))?;
        let password = format!("POSTGRES_PASSWORD={password}");
        let pgdata = format!("PGDATA={data}/pgdata");
        let mount = format!("{volume}:{data}");
        let fixed = [
            "run", "--detach", "--name", container, "--user", NOBODY, "--env", &password, "--env", &pgdata,
        ];
        let mounts = [
            "-v",
            &mount,
            "-v",
            "/usr:/usr:ro",
            "-v",
            "/lib:/lib:ro",
            "-v",
            "/lib64:/lib64:ro",
        ];
        let command = [IMAGE, "sh", "-c", &script];
        self.docker([&fixed[..], &mounts, options, &command].concat())?;
        let ask = format!("{bin}/pg_isready -h /tmp");
        let ready = wait_until("PostgreSQL answers", DEADLINE, || {
            Ok(self.docker(["exec", container, "sh", "-c", &ask]).is_ok())
        });
        ready.with_context(|| self.docker(["logs", container]).unwrap_or_default())
    }

    /// Starts the engine again, after [`Engine::kill`] or [`Engine::stop`].
    ///
    /// # Errors
    /// If the engine does not start. The error has its log.
    pub fn restart(&mut self) -> Result<()> {
        self.tell("start")?;
        let answers = wait_until("dockerd answers", DEADLINE, || {
            ensure!(self.process.ended()?.is_none(), "the engine's supervisor has ended");
            Ok(self.command(["version"]).output()?.status.success())
        });
        answers.with_context(|| format!("start dockerd; its log: {}", self.log()))
    }

    /// Stops the engine in the way in which its service restarts: containers are stopped, and remembered as running.
    ///
    /// # Errors
    /// If the engine does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.end("TERM")
    }

    /// Kills the engine by SIGKILL. Its containers run on until the engine is started again.
    ///
    /// # Errors
    /// If the engine does not end.
    pub fn kill(&mut self) -> Result<()> {
        self.end("KILL")
    }

    /// Freezes the engine: its socket accepts connections, and nothing answers.
    ///
    /// # Errors
    /// If the engine's supervisor has ended.
    pub fn pause(&mut self) -> Result<()> {
        self.tell("signal STOP")
    }

    /// Continues the engine after [`Engine::pause`].
    ///
    /// # Errors
    /// If the engine's supervisor has ended.
    pub fn resume(&mut self) -> Result<()> {
        self.tell("signal CONT")
    }

    fn end(&mut self, signal: &str) -> Result<()> {
        let ended = self.dir.path().join("ended");
        self.tell(&format!("signal {signal}\nwait"))?;
        wait_until("dockerd ends", DEADLINE, || Ok(ended.exists()))
            .with_context(|| format!("end dockerd; its log: {}", self.log()))?;
        std::fs::remove_file(ended).context("forget that dockerd ended")
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let commands = self.commands.as_mut().context("the engine's supervisor has ended")?;
        writeln!(commands, "{line}").context("speak to the engine's supervisor")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn import_image(&self) -> Result<()> {
        let root = self.dir.path().join("image");
        make_image(&root)?;
        let tar = self.dir.path().join("image.tar");
        tools::text_of(
            Command::new("tar")
                .arg("--create")
                .arg("--file")
                .arg(&tar)
                .arg("--directory")
                .arg(&root)
                .arg("."),
        )?;
        let import = ["import", "--change", "CMD [\"/bin/sh\"]"].map(OsStr::new);
        self.docker(import.into_iter().chain([tar.as_os_str(), OsStr::new(IMAGE)]))?;
        std::fs::remove_dir_all(&root)?;
        Ok(std::fs::remove_file(&tar)?)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The supervisor ends with its standard input, and everything else with the supervisor, even a frozen dockerd.
        drop(self.commands.take());
        if self.process.wait(DEADLINE).is_err() {
            self.process.kill();
        }
        if let Some(name) = self.dir.path().file_name() {
            // The kernel may need a moment to notice that the control groups are empty.
            let removed = wait_until("control groups are removed", DEADLINE, || Ok(remove_cgroups(name)));
            if let Err(error) = removed {
                eprintln!("{error}");
            }
        }
    }
}

/// Addresses for the networks of one engine, from the range that is reserved for tests of networks (RFC 2544). Otherwise
/// engines in the host's network that make networks at the same time could choose the same addresses.
#[derive(Debug)]
struct Addresses {
    /// The pool as `dockerd` takes it.
    pool: String,
    /// The claim, which ends with this value or with its process.
    _claim: UnixListener,
}

impl Addresses {
    /// Claims addresses that no other engine of this machine's tests has, in whatever process it is.
    fn claim() -> Result<Self> {
        for number in 0..128 {
            let name = SocketAddr::from_abstract_name(format!("holdfast-tests-addresses-{number}"))?;
            if let Ok(claim) = UnixListener::bind_addr(&name) {
                return Ok(Self {
                    pool: format!("base=198.{}.{}.0/22,size=26", 18 + number / 64, number % 64 * 4),
                    _claim: claim,
                });
            }
        }
        bail!("128 engines of tests run already")
    }
}

/// Makes a root file system with busybox alone.
fn make_image(root: &Path) -> Result<()> {
    let busybox = std::env::var_os("HOLDFAST_BUSYBOX").map_or_else(|| PathBuf::from("/bin/busybox"), PathBuf::from);
    let program = std::fs::read(&busybox)
        .with_context(|| format!("read {} (Debian's package busybox-static)", busybox.display()))?;
    let dynamic = program.windows(8).take(4096).any(|bytes| bytes == b"ld-linux");
    ensure!(!dynamic, "{} is not statically linked", busybox.display());
    let bin = root.join("bin");
    std::fs::create_dir_all(&bin)?;
    for folder in ["etc", "tmp", "root", "proc", "sys", "dev"] {
        std::fs::create_dir_all(root.join(folder))?;
    }
    // As in every image, everybody may write to this folder.
    std::fs::set_permissions(root.join("tmp"), std::fs::Permissions::from_mode(0o1777))?;
    std::fs::write(
        root.join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    )?;
    std::fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    std::fs::copy(&busybox, bin.join("busybox"))?;
    for applet in tools::text_of(Command::new(&busybox).arg("--list"))?.lines() {
        if applet != "busybox" {
            symlink("busybox", bin.join(applet)).with_context(|| format!("link {applet}"))?;
        }
    }
    Ok(())
}

/// Removes the empty control groups that the kernel keeps of containers whose engine was killed. Returns true if none
/// is left.
fn remove_cgroups(name: &OsStr) -> bool {
    let base = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(base).into_iter().flatten().flatten();
    let folders = hierarchies
        .map(|entry| entry.path())
        .chain([base.to_owned()])
        .map(|folder| folder.join(name));
    folders.fold(true, |none, folder| {
        remove_folders(&folder);
        none & !folder.exists()
    })
}

fn remove_folders(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_folders(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(folder);
}
