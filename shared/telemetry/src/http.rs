//! `/metrics` and `/healthz`.

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

/// How long an answer under way may hold back the shutdown.
const DRAIN: Duration = Duration::from_secs(3);

/// Named checks of the parts of a process; clones share them.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, Probe>>>);

/// Tells whether a part is fine, or why not.
type Probe = Box<dyn Fn() -> Result<(), String> + Send>;

/// What `/healthz` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether every check is fine.
    pub healthy: bool,
    /// The checks, by name.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is checked, such as `nats`.
    pub name: String,
    /// Whether it is fine.
    pub ok: bool,
    /// Why it is not; no secrets, since anyone who reaches the port can read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Health {
    /// No checks yet, which counts as healthy.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the state of a check: fine, or the reason why not.
    pub fn set(&self, name: &str, state: Result<(), String>) {
        self.ask(name, move || state.clone());
    }

    /// A check whose state is asked whenever somebody wants to know: `probe` must be quick.
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

    /// The present state.
    #[must_use]
    pub fn report(&self) -> Report {
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
        Report {
            healthy: checks.iter().all(|check| check.ok),
            checks,
        }
    }
}

/// The port cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("serve /metrics and /healthz on {listen} (telemetry.listen)")]
pub struct ServeError {
    listen: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// A served port.
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// The address that is served: with the port that was chosen, if port 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Waits until the server has ended, at most a few seconds after its `shutdown` came.
    pub async fn ended(self) {
        // It ends without a panic of ours; one of a library's is no reason to fail the shutdown.
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
