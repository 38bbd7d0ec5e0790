//! A server, a connection to it, and handlers to try.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use holdfast_bus::{Bus, BusError, BusOptions, Delivery, Disposition, Handler, PrivateServer, WorkerOptions};
use holdfast_events::{Job, Work, WorkStage};
use holdfast_format::{ArtefactId, BusUser, PackId, RunId, Site};
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The program under all tests.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tools/nats-server-path");
        let output = Command::new(script).output().expect("run nats-server-path");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

/// A server in a folder of its own.
pub(crate) struct Rig {
    pub(crate) dir: TempDir,
    server: Option<PrivateServer>,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let server = Some(
            PrivateServer::start(Some(binary()), dir.path())
                .await
                .expect("start a server"),
        );
        Self { dir, server }
    }

    pub(crate) fn server(&self) -> &PrivateServer {
        self.server.as_ref().unwrap()
    }

    pub(crate) fn options(&self) -> BusOptions {
        let mut options = BusOptions::new(self.server().url());
        options.auth = self.server().auth();
        options
    }

    /// A connection with the streams set up.
    pub(crate) async fn bus(&self) -> Bus {
        let bus = Bus::connect(&self.options()).await.expect("connect");
        bus.ensure_topology().await.expect("set the streams up");
        bus
    }

    /// A plain client, for what the bus does not do.
    pub(crate) async fn raw(&self) -> async_nats::jetstream::Context {
        let holdfast_bus::Auth::Password { user, password } = self.server().auth() else {
            panic!("no password")
        };
        let inbox = BusUser::new(&user).inbox();
        let options = async_nats::ConnectOptions::with_user_and_password(user, password.expose_secret().to_owned());
        let options = options.custom_inbox_prefix(inbox);
        async_nats::jetstream::new(options.connect(self.server().url()).await.unwrap())
    }

    pub(crate) async fn stop(&mut self) {
        self.server.take().unwrap().stop().await;
    }

    /// Starts it again on the same port.
    pub(crate) async fn again(&mut self) {
        self.server = Some(
            PrivateServer::start(Some(binary()), self.dir.path())
                .await
                .expect("start it again"),
        );
    }

    /// Deletes all that the stopped server has stored.
    pub(crate) fn wipe(&self) {
        std::fs::remove_dir_all(self.dir.path().join("jetstream")).unwrap();
    }

    /// Copies what the stopped server has stored of the work stream, consumers apart.
    pub(crate) fn copy_work(&self) -> TempDir {
        let copy = TempDir::new().unwrap();
        copy_files(&self.work(), copy.path());
        copy
    }

    /// Puts such a copy in the place of what the stopped server has stored meanwhile.
    pub(crate) fn put_work_back(&self, copy: &TempDir) {
        std::fs::remove_dir_all(self.work()).unwrap();
        copy_files(copy.path(), &self.work());
    }

    /// The folder of the work stream's messages.
    fn work(&self) -> PathBuf {
        let streams = "jetstream/jetstream/$G/streams";
        self.dir.path().join(streams).join("HOLDFAST_WORK/msgs")
    }

    /// Kills the server as a crash would; it is started again by its keeper.
    pub(crate) async fn kill(&self) {
        let pid = self.server().pid();
        kill(pid);
        eventually("the server is started again", || async { self.server().pid() != pid }).await;
    }
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

pub(crate) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
}

/// Waits for a condition, at most half a minute.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl FnMut() -> F) {
    within(Duration::from_secs(30), what, condition).await;
}

pub(crate) async fn within<F: Future<Output = bool>>(time: Duration, what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + time;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {time:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn site() -> Site {
    "host-a".parse().unwrap()
}

pub(crate) fn run() -> RunId {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let mut random = [0; 10];
    random[..4].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    RunId::new(1_790_000_000_000, random)
}

pub(crate) fn artefact(n: u8) -> ArtefactId {
    ArtefactId::from_bytes([n; 16])
}

/// A seal job; each `n` is another.
pub(crate) fn seal(run: RunId, n: u32) -> Work {
    let mut pack = [0; 32];
    pack[..4].copy_from_slice(&n.to_be_bytes());
    Work {
        run,
        site: site(),
        job: Job::Seal {
            artefact: artefact(7),
            attempt: 1,
            pack: PackId::from_bytes(pack),
        },
    }
}

pub(crate) struct Do<F>(pub(crate) F);

#[async_trait]
impl<F, Fut> Handler for Do<F>
where
    F: Fn(Work, Delivery) -> Fut + Send + Sync,
    Fut: Future<Output = Disposition> + Send,
{
    async fn handle(&self, work: Work, delivery: &Delivery) -> Disposition {
        (self.0)(work, delivery.clone()).await
    }
}

/// Options for the seal stage, with little patience.
pub(crate) fn quick(parallel: usize) -> WorkerOptions {
    let mut options = WorkerOptions::new(WorkStage::Seal, site(), None, parallel);
    options.ack_wait = Duration::from_secs(2);
    options.progress_every = Duration::from_millis(300);
    options
}

/// A worker that runs.
pub(crate) struct Running {
    pub(crate) drain: CancellationToken,
    task: JoinHandle<Result<(), BusError>>,
}

impl Running {
    pub(crate) fn start<F, Fut>(bus: &Bus, options: WorkerOptions, handle: F) -> Self
    where
        F: Fn(Work, Delivery) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Disposition> + Send + 'static,
    {
        let bus = bus.clone();
        let drain = CancellationToken::new();
        let token = drain.clone();
        let handler = Arc::new(Do(handle));
        let task = tokio::spawn(async move { bus.run_worker(options, handler, token).await });
        Self { drain, task }
    }

    pub(crate) async fn drained(self) {
        self.drain.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// Messages that a stream holds.
pub(crate) async fn held(context: &async_nats::jetstream::Context, stream: &str) -> u64 {
    match context.get_stream(stream).await {
        Ok(mut stream) => stream.info().await.map_or(u64::MAX, |info| info.state.messages),
        Err(_) => u64::MAX,
    }
}

pub(crate) async fn is_empty(context: &async_nats::jetstream::Context, stream: &str) -> bool {
    held(context, stream).await == 0
}
