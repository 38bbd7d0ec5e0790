//! A Docker engine that is none: it answers as one does, keeps what containers are told, and can be held or made to fail.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// A container of the engine.
struct Container {
    labels: BTreeMap<String, String>,
    volumes: Vec<String>,
    running: bool,
    paused: bool,
    /// The number of its starts.
    starts: u32,
}

/// The test that waits for a call to come, and lets it go on.
struct Hold {
    reached: oneshot::Sender<()>,
    go_on: oneshot::Receiver<()>,
}

#[derive(Default)]
struct Inside {
    containers: BTreeMap<String, Container>,
    volumes: BTreeMap<String, BTreeMap<String, String>>,
    /// The actions on containers so far, in order: `stop db`.
    done: Vec<String>,
    held: HashMap<String, Hold>,
    /// Calls that fail, with how many times they still do.
    failing: HashMap<String, u32>,
}

/// The engine, on a port of its own.
#[derive(Clone)]
pub struct Engine {
    inside: Arc<Mutex<Inside>>,
    volumes_dir: PathBuf,
    port: u16,
}

/// A call that is held before it is done.
pub struct Held {
    reached: oneshot::Receiver<()>,
    go_on: oneshot::Sender<()>,
}

impl Held {
    /// Waits until the call has come.
    pub async fn reached(&mut self) {
        let reached = tokio::time::timeout(super::SOON, &mut self.reached).await;
        reached.expect("the call comes").unwrap();
    }

    /// Lets the call go on.
    pub fn go_on(self) {
        let _ = self.go_on.send(());
    }

    /// Lets the call go on up to another one, which is held.
    pub async fn go_on_up_to(self, engine: &Engine, call: &str) -> Self {
        let mut next = engine.hold(call);
        self.go_on();
        next.reached().await;
        next
    }
}

impl Engine {
    /// Starts an engine whose volumes lie below `volumes_dir`, as Docker's do.
    pub async fn start(volumes_dir: &Path) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let engine = Self {
            inside: Arc::default(),
            volumes_dir: volumes_dir.to_owned(),
            port: listener.local_addr().unwrap().port(),
        };
        let app = axum::Router::new().fallback(answer).with_state(engine.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        engine
    }

    /// For `docker.host`.
    pub fn url(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// Makes a volume, and gives the folder of its files.
    pub fn volume(&self, name: &str, labels: &[(&str, &str)]) -> PathBuf {
        let folder = self.folder(name);
        std::fs::create_dir_all(&folder).unwrap();
        self.lock().volumes.insert(name.to_owned(), owned(labels));
        folder
    }

    /// Makes a container that runs, with these volumes.
    pub fn container(&self, name: &str, volumes: &[&str], labels: &[(&str, &str)]) {
        let container = Container {
            labels: owned(labels),
            volumes: volumes.iter().map(|&volume| volume.to_owned()).collect(),
            running: true,
            paused: false,
            starts: 1,
        };
        self.lock().containers.insert(name.to_owned(), container);
    }

    /// Holds the next such call (`stop db`) before it is done.
    pub fn hold(&self, call: &str) -> Held {
        let (reached, is_reached) = oneshot::channel();
        let (go_on, may_go_on) = oneshot::channel();
        let hold = Hold {
            reached,
            go_on: may_go_on,
        };
        self.lock().held.insert(call.to_owned(), hold);
        Held {
            reached: is_reached,
            go_on,
        }
    }

    /// Lets the next calls of this kind fail, so many times.
    pub fn fail(&self, call: &str, times: u32) {
        self.lock().failing.insert(call.to_owned(), times);
    }

    /// Returns the actions on containers so far, in order.
    pub fn done(&self) -> Vec<String> {
        self.lock().done.clone()
    }

    /// Names of containers that do not run now.
    pub fn quiet(&self) -> Vec<String> {
        let inside = self.lock();
        let quiet = inside.containers.iter().filter(|(_, one)| !one.running || one.paused);
        quiet.map(|(name, _)| name.clone()).collect()
    }

    /// Starts a container behind everybody's back, as a restart policy does.
    pub fn start_behind(&self, name: &str) {
        let mut inside = self.lock();
        let container = inside.containers.get_mut(name).unwrap();
        container.running = true;
        container.starts += 1;
    }

    fn folder(&self, volume: &str) -> PathBuf {
        self.volumes_dir.join(volume).join("_data")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    /// Waits if the call is held; `false` if it is to fail.
    async fn pass(&self, call: &str) -> bool {
        let hold = self.lock().held.remove(call);
        if let Some(hold) = hold {
            let _ = hold.reached.send(());
            let _ = hold.go_on.await;
        }
        let mut inside = self.lock();
        match inside.failing.get_mut(call) {
            Some(left) if *left > 0 => {
                *left -= 1;
                false
            }
            _ => true,
        }
    }

    fn inspect(&self, name: &str, container: &Container) -> Value {
        let mounts = container.volumes.iter().map(|volume| {
            json!({
                "Type": "volume", "Name": volume, "Source": self.folder(volume),
                "Destination": format!("/{volume}"), "RW": true,
            })
        });
        json!({
            "Id": name, "Name": format!("/{name}"), "Image": "sha256:1",
            "State": {
                "Running": container.running, "Paused": container.paused, "Restarting": false,
                "StartedAt": format!("2026-11-24T02:00:{:02}Z", container.starts), "ExitCode": 0,
            },
            "Config": {"Image": "probe:1", "Labels": container.labels, "StopTimeout": 1},
            "HostConfig": {"NetworkMode": "bridge"},
            "Mounts": mounts.collect::<Vec<_>>(),
            "NetworkSettings": {"Networks": {}},
        })
    }

    fn describe(&self, name: &str, labels: &BTreeMap<String, String>) -> Value {
        json!({
            "Name": name, "Driver": "local", "Mountpoint": self.folder(name), "Labels": labels, "Options": {},
            "Scope": "local",
        })
    }

    /// Does something to a container.
    fn act(&self, action: &str, name: &str) -> StatusCode {
        let mut inside = self.lock();
        let Some(container) = inside.containers.get_mut(name) else {
            return StatusCode::NOT_FOUND;
        };
        match action {
            "stop" if container.running => container.running = false,
            "start" if !container.running => {
                container.running = true;
                container.starts += 1;
            }
            "pause" if !container.paused => container.paused = true,
            "unpause" if container.paused => container.paused = false,
            "stop" | "start" => return StatusCode::NOT_MODIFIED,
            _ => return StatusCode::CONFLICT,
        }
        inside.done.push(format!("{action} {name}"));
        StatusCode::NO_CONTENT
    }

    /// The files of a container's volume, as a tar archive.
    fn archive(&self, query: &str) -> Vec<u8> {
        let volume = query.trim_start_matches("path=").replace("%2F", "/");
        let volume = volume.trim_matches(['/', '.']).to_owned();
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_dir(".", self.folder(&volume)).unwrap();
        let mut files: Vec<_> = std::fs::read_dir(self.folder(&volume)).unwrap().flatten().collect();
        files.sort_by_key(std::fs::DirEntry::file_name);
        for file in files {
            let name = Path::new(".").join(file.file_name());
            archive.append_path_with_name(file.path(), name).unwrap();
        }
        archive.into_inner().unwrap()
    }
}

fn owned(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn told(answer: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
}

fn said(status: StatusCode, text: &str) -> Response {
    (status, told(&json!({"message": text}))).into_response()
}

async fn answer(State(engine): State<Engine>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let mut parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    if parts.first().is_some_and(|part| part.starts_with("v1.")) {
        parts.remove(0);
    }
    match (request.method(), &parts[..]) {
        (_, ["_ping"]) => "OK".into_response(),
        (_, ["version"]) => told(&json!({"Version": "20.10.24", "ApiVersion": "1.41", "Os": "linux", "Arch": "amd64"})),
        (_, ["volumes"]) => {
            let inside = engine.lock();
            let volumes = inside
                .volumes
                .iter()
                .map(|(name, labels)| engine.describe(name, labels));
            told(&json!({"Volumes": volumes.collect::<Vec<_>>(), "Warnings": []}))
        }
        (_, ["containers", "json"]) => {
            if !engine.pass("list").await {
                return said(StatusCode::INTERNAL_SERVER_ERROR, "the engine is told to fail");
            }
            let inside = engine.lock();
            let ids = inside.containers.keys().map(|name| json!({"Id": name}));
            told(&ids.collect())
        }
        (_, ["containers", name, "json"]) => {
            let inside = engine.lock();
            match inside.containers.get(*name) {
                Some(container) => told(&engine.inspect(name, container)),
                None => said(StatusCode::NOT_FOUND, "no such container"),
            }
        }
        (&Method::GET, ["containers", name, "archive"]) => {
            if !engine.pass(&format!("archive {name}")).await {
                return said(StatusCode::INTERNAL_SERVER_ERROR, "the engine is told to fail");
            }
            let query = request.uri().query().unwrap_or_default();
            Body::from(engine.archive(query)).into_response()
        }
        (&Method::POST, ["containers", name, action]) => {
            if !engine.pass(&format!("{action} {name}")).await {
                return said(StatusCode::INTERNAL_SERVER_ERROR, "the engine is told to fail");
            }
            engine.act(action, name).into_response()
        }
        (method, _) => said(StatusCode::NOT_FOUND, &format!("no such call: {method} {path}")),
    }
}
