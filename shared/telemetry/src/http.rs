//! The HTTP port of a process: `/metrics` and `/healthz`.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::metrics;

/// The longest time that an answer under way holds back the shutdown.
const DRAIN: Duration = Duration::from_secs(3);

/// Named checks of the parts of a process; clones share them.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, Probe>>>);

/// Tells whether a part is fine, or why not.
type Probe = Box<dyn Fn() -> Result<(), String> + Send>;

/// The state of a process, as `/healthz` answers it in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthReport {
    /// True if every check is fine.
    pub healthy: bool,
    /// All checks, sorted by name.
    pub checks: Vec<Check>,
}

/// The state of one part of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The part, such as `nats`.
    pub name: String,
    pub ok: bool,
    /// The reason why the part is not fine. Holds no secrets, since anyone who reaches the port can read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Health {
    /// Makes a set without checks, which counts as healthy.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the state of a check: fine, or the reason why not.
    pub fn set(&self, name: &str, state: Result<(), String>) {
        self.ask(name, move || state.clone());
    }

    /// Adds a check whose state is asked whenever somebody reads the report. `probe` must be quick.
    pub fn ask(&self, name: &str, probe: impl Fn() -> Result<(), String> + Send + 'static) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), Box::new(probe));
    }

    /// Forgets a check, as when the part that it is about has ended.
    pub fn remove(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Asks every check for its state.
    #[must_use]
    pub fn report(&self) -> HealthReport {
        let checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let check = |(name, probe): (&String, &Probe)| {
            let reason = probe().err();
            Check {
                name: name.clone(),
                ok: reason.is_none(),
                reason,
            }
        };
        let checks: Vec<Check> = checks.iter().map(check).collect();
        HealthReport {
            healthy: checks.iter().all(|check| check.ok),
            checks,
        }
    }
}

/// The port for metrics and health cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("serve /metrics and /healthz on {listen} (telemetry.listen)")]
pub struct ServeError {
    listen: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// A running server of `/metrics` and `/healthz`.
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Returns the address that is served, with the port that was chosen if port 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Waits until the server has ended, at most a few seconds after its `shutdown` came.
    pub async fn ended(self) {
        // The task ends without a panic of ours; one of a library's is no reason to fail the shutdown.
        let _ = self.task.await;
    }
}

/// Serves the process's metrics and `health` on `listen` until `shutdown` comes.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(
    listen: SocketAddr,
    health: Health,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<Server, ServeError> {
    let failed = |source| ServeError { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let local_addr = listener.local_addr().map_err(failed)?;
    let router = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(show_health))
        .with_state(health);
    let task = tokio::spawn(async move {
        let (stop, mut stopped) = watch::channel(false);
        let stopping = async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let serving = axum::serve(listener, router).with_graceful_shutdown(stopping);
        let limit = async {
            shutdown.await;
            let _ = stop.send(true);
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            result = serving.into_future() => {
                if let Err(error) = result {
                    tracing::error!("serve /metrics and /healthz: {}", holdfast_fault::chain(&error));
                }
            }
            () = limit => {}
        }
    });
    Ok(Server { local_addr, task })
}

async fn show_metrics() -> Response {
    match metrics::global().text() {
        Ok(text) => (
            [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
            text,
        )
            .into_response(),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            holdfast_fault::chain(&error).to_string(),
        )
            .into_response(),
    }
}

async fn show_health(State(health): State<Health>) -> Response {
    let report = health.report();
    let status = if report.healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    match serde_json::to_string(&report) {
        Ok(json) => (status, [(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests;
