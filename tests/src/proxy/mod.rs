//! A proxy on 127.0.0.1 that misbehaves on demand, between Holdfast and an S3 server, PostgreSQL or NATS.
//!
//! [`Proxy::http`] understands HTTP/1. Its faults can be limited to requests by method and path, and it damages bodies,
//! not heads. [`Proxy::tcp`] forwards bytes, and its faults count them from the beginning of each connection.

mod http;
mod relay;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Request,
    /// From the server to the client.
    Response,
}

/// A fault. Offsets are in the body (HTTP) or in the connection (TCP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this status, and never asks the server. HTTP only; a TCP connection is closed.
    Status(u16),
    /// Forwards the request, and answers with this status whatever the server said. HTTP only; a TCP connection is
    /// closed.
    StatusAfter(u16),
    /// Closes the connection after this many bytes.
    Cut(Way, u64),
    /// Forwards this many bytes per second, in both directions.
    Slow(u64),
    /// Flips a bit of the byte at this offset, or of the last one if the body is shorter.
    Flip(Way, u64),
    /// Closes the connection at once.
    Refuse,
    /// Keeps the connection open and does nothing.
    Silence,
}

/// A fault, and the requests or connections that it applies to.
#[derive(Clone, Debug)]
pub struct Rule {
    method: Option<String>,
    path: String,
    left: Option<u32>,
    fault: Fault,
}

impl Rule {
    /// Makes a rule that applies to everything, without end.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self {
            method: None,
            path: String::new(),
            left: None,
            fault,
        }
    }

    /// Limits the rule to requests of this method. HTTP only.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Limits the rule to requests whose path (with its query) contains this text. HTTP only.
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        part.clone_into(&mut self.path);
        self
    }

    /// Limits the rule to the first `count` requests (or connections) that it applies to.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.left = Some(count);
        self
    }

    fn fits(&self, method: &str, path: &str) -> bool {
        let method_fits = self.method.as_deref().is_none_or(|wanted| wanted == method);
        method_fits && path.contains(&self.path) && self.left != Some(0)
    }
}

/// A request or connection that the proxy has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The request's method; empty for a TCP connection.
    pub method: String,
    /// The request's path with its query; empty for a TCP connection.
    pub path: String,
    /// The fault that was applied, if any.
    pub fault: Option<Fault>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    seen: Vec<Seen>,
}

#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<State>>);

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records a request, and returns the fault of the first rule that applies to it.
    fn decide(&self, method: &str, path: &str) -> Option<Fault> {
        self.with(|state| {
            let rule = state.rules.iter_mut().find(|rule| rule.fits(method, path));
            let fault = rule.map(|rule| {
                rule.left = rule.left.map(|left| left - 1);
                rule.fault
            });
            state.seen.push(Seen {
                method: method.to_owned(),
                path: path.to_owned(),
                fault,
            });
            fault
        })
    }
}

/// A proxy. Dropping the value ends it, with all its connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Shared,
    runtime: Option<Runtime>,
}

impl Proxy {
    /// Starts a proxy for HTTP/1 to a port of 127.0.0.1.
    ///
    /// # Errors
    /// If no port can be listened on.
    pub fn http(upstream: u16) -> Result<Self> {
        Self::start(upstream, true)
    }

    /// Starts a proxy for any protocol to a port of 127.0.0.1.
    ///
    /// # Errors
    /// If no port can be listened on.
    pub fn tcp(upstream: u16) -> Result<Self> {
        Self::start(upstream, false)
    }

    fn start(upstream: u16, http: bool) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("proxy")
            .enable_all()
            .build()
            .context("start the proxy's runtime")?;
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .context("listen for the proxy")?;
        let port = listener.local_addr()?.port();
        let shared = Shared::default();
        let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, upstream));
        runtime.spawn(accept(listener, upstream, http, shared.clone()));
        Ok(Self {
            port,
            shared,
            runtime: Some(runtime),
        })
    }

    /// Returns the port that the proxy listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Replaces all rules. Connections that are open keep the fault that they have.
    pub fn set(&self, rules: impl IntoIterator<Item = Rule>) {
        let rules = rules.into_iter().collect();
        self.shared.with(|state| state.rules = rules);
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.set([]);
    }

    /// Returns the requests since the last call.
    #[must_use]
    pub fn take_seen(&self) -> Vec<Seen> {
        self.shared.with(|state| std::mem::take(&mut state.seen))
    }

    /// Returns the requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.with(|state| state.seen.clone())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, http: bool, shared: Shared) {
    while let Ok((client, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            // An error means that the connection ended. Client and server notice that themselves.
            let _ = if http {
                http::serve(client, upstream, &shared).await
            } else {
                serve_tcp(client, upstream, &shared).await
            };
        });
    }
}

async fn serve_tcp(client: TcpStream, upstream: SocketAddr, shared: &Shared) -> std::io::Result<()> {
    let fault = shared.decide("", "");
    match fault {
        Some(Fault::Refuse | Fault::Status(_) | Fault::StatusAfter(_)) => Ok(()),
        Some(Fault::Silence) => std::future::pending().await,
        _ => {
            let server = TcpStream::connect(upstream).await?;
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let up = relay::until_end(
                &mut from_client,
                &mut to_server,
                relay::Meddler::new(fault, Way::Request),
            );
            let down = relay::until_end(
                &mut from_server,
                &mut to_client,
                relay::Meddler::new(fault, Way::Response),
            );
            // One direction may end well before the other (a client that has sent all it has). An error ends both.
            tokio::try_join!(up, down).map(|_| ())
        }
    }
}

#[cfg(test)]
mod tests;
