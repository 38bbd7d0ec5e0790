//! A proxy on 127.0.0.1 that misbehaves on demand: between Holdfast and an S3 server, PostgreSQL or NATS.
//!
//! [`Proxy::http`] understands HTTP/1: faults can be aimed at requests by method and path, and damage hits bodies, not
//! heads. [`Proxy::tcp`] passes bytes, and its faults count them from the beginning of each connection.

mod http;
mod relay;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Request,
    /// From the server to the client.
    Response,
}

/// What goes wrong. Offsets are in the body (HTTP) or in the connection (TCP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answer with this status and never ask the server. HTTP only; a TCP connection is closed.
    Status(u16),
    /// Pass it to the server, and answer with this status whatever it said. HTTP only; a TCP connection is closed.
    StatusAfter(u16),
    /// Close the connection after this many bytes.
    Cut(Way, u64),
    /// Pass this many bytes a second, in both directions.
    Slow(u64),
    /// Flip a bit of the byte at this offset, or of the last one if the body is shorter.
    Flip(Way, u64),
    /// Close the connection at once.
    Refuse,
    /// Keep the connection open and do nothing.
    Silence,
}

/// A fault, and what it befalls.
#[derive(Clone, Debug)]
pub struct Rule {
    method: Option<String>,
    path: String,
    left: Option<u32>,
    fault: Fault,
}

impl Rule {
    /// Befalls everything, for ever.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self {
            method: None,
            path: String::new(),
            left: None,
            fault,
        }
    }

    /// Only requests of this method. HTTP only.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only requests whose path (with its query) holds this text. HTTP only.
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        part.clone_into(&mut self.path);
        self
    }

    /// Only the first `count` requests (or connections) that it fits.
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

/// A request that passed through, or was answered here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its method; empty for a TCP connection.
    pub method: String,
    /// Its path with its query; empty for a TCP connection.
    pub path: String,
    /// What befell it.
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

    /// Notes a request, and decides what befalls it: the first rule that fits.
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

/// The proxy. It ends, with all its connections, when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Shared,
    runtime: Option<Runtime>,
}

impl Proxy {
    /// A proxy for HTTP/1 to a port of 127.0.0.1.
    ///
    /// # Errors
    /// If no port can be listened on.
    pub fn http(upstream: u16) -> Result<Self> {
        Self::start(upstream, true)
    }

    /// A proxy for any protocol to a port of 127.0.0.1.
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

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Replaces all rules; connections that are open keep what befell them.
    pub fn set(&self, rules: impl IntoIterator<Item = Rule>) {
        let rules = rules.into_iter().collect();
        self.shared.with(|state| state.rules = rules);
    }

    /// Passes everything from now on.
    pub fn clear(&self) {
        self.set([]);
    }

    /// What came since it was last asked.
    #[must_use]
    pub fn take_seen(&self) -> Vec<Seen> {
        self.shared.with(|state| std::mem::take(&mut state.seen))
    }

    /// What came so far.
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
            // An error is a connection that ended: the client and the server see it, and nobody else has to.
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
            // One direction may end well before the other (a client that has sent all it has); an error ends both.
            tokio::try_join!(up, down).map(|_| ())
        }
    }
}

#[cfg(test)]
mod tests;
