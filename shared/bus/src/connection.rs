//! The connection to the server.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, account::Account};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use holdfast_events::Subjects;
use holdfast_fault::Retryable as _;
use holdfast_format::BusUser;
use secrecy::ExposeSecret;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::backoff::{self, Backoff};
use crate::code;
use crate::error::{ApiError, BusCause, BusError};
use crate::names::Names;
use crate::options::{Auth, BusOptions};

const NEEDED: &str = "2.10.0";

/// The time to wait for the server where a caller gives no time of its own: publishes, acknowledgements.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);

/// A connection to the bus. Cheap to clone; clones share one connection, which is mended without end when it is lost.
#[derive(Clone)]
pub struct Bus {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    jetstream: jetstream::Context,
    /// The user that the server knows us as, if it has users.
    user: Option<BusUser>,
    subjects: Subjects,
    names: Names,
    replicas: usize,
    prompts: Arc<watch::Sender<u64>>,
    topology: Mutex<()>,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus")
            .field("names", &self.inner.names)
            .finish_non_exhaustive()
    }
}

impl Bus {
    /// Connects, and checks that the server is new enough and keeps streams for us. Tries until
    /// [`BusOptions::connect_timeout`] has passed; an error that trying again cannot mend is returned at once.
    ///
    /// # Errors
    /// [`BusError::Unreachable`], [`BusError::Refused`], [`BusError::Tls`], [`BusError::Url`],
    /// [`BusError::CredentialsFile`], [`BusError::TooOld`], [`BusError::NoJetStream`].
    pub async fn connect(options: &BusOptions) -> Result<Self, BusError> {
        let prompts = Arc::new(watch::Sender::new(0));
        let client = dial(options, &prompts).await?;
        check_version(&client, options)?;
        let context = jetstream::ContextBuilder::new().timeout(ANSWER).build(client.clone());
        let bus = Self {
            inner: Arc::new(Inner {
                client,
                jetstream: context,
                user: options.user(),
                subjects: Subjects::new(&options.prefix),
                names: Names::new(&options.prefix),
                replicas: options.replicas,
                prompts,
                topology: Mutex::new(()),
            }),
        };
        bus.check_jetstream(options).await?;
        Ok(bus)
    }

    /// Counts the times that work may have to be published again: every connection made, the first included, and every
    /// stream that had to be made again. A reconciler waits for changes of it.
    #[must_use]
    pub fn reconnected(&self) -> watch::Receiver<u64> {
        self.inner.prompts.subscribe()
    }

    /// Tells whether the server can be reached now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.inner.client.connection_state() == State::Connected
    }

    /// Returns the subjects and names that this connection uses.
    #[must_use]
    pub fn subjects(&self) -> &Subjects {
        &self.inner.subjects
    }

    /// Returns the version that the server states.
    #[must_use]
    pub fn server_version(&self) -> String {
        self.inner.client.server_info().version
    }

    pub(crate) fn user(&self) -> Option<&BusUser> {
        self.inner.user.as_ref()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.inner.client
    }

    pub(crate) fn jetstream(&self) -> &jetstream::Context {
        &self.inner.jetstream
    }

    pub(crate) fn names(&self) -> &Names {
        &self.inner.names
    }

    pub(crate) fn replicas(&self) -> usize {
        self.inner.replicas
    }

    pub(crate) fn topology_lock(&self) -> &Mutex<()> {
        &self.inner.topology
    }

    /// Tells reconcilers that work may be missing.
    pub(crate) fn prompt(&self) {
        self.inner.prompts.send_modify(|count| *count += 1);
    }

    /// Waits until the server can be reached, but not beyond `deadline`. Publishing while it cannot would queue copies in
    /// the client that all arrive later.
    pub(crate) async fn wait_connected(&self, deadline: Instant) {
        let mut prompts = self.reconnected();
        while !self.is_connected() && Instant::now() < deadline {
            // The state is read anew now and then too: an event of the client can be lost when it has many.
            let look_again = (Instant::now() + Duration::from_millis(500)).min(deadline);
            let _ = tokio::time::timeout_at(look_again, prompts.changed()).await;
        }
    }

    async fn check_jetstream(&self, options: &BusOptions) -> Result<(), BusError> {
        match self.api::<_, Account>("INFO".to_owned(), &()).await {
            Ok(_) => Ok(()),
            Err(error)
                if matches!(error, ApiError::NoResponders)
                    || matches!(error.code(), Some(code::NOT_ENABLED | code::NOT_ENABLED_FOR_ACCOUNT)) =>
            {
                Err(BusError::NoJetStream {
                    url: options.shown_url(),
                })
            }
            Err(error) => {
                // A user who may not ask for account information can still be allowed all that we need.
                tracing::debug!(%error, "the server does not tell about our account; going on");
                Ok(())
            }
        }
    }
}

async fn dial(options: &BusOptions, prompts: &Arc<watch::Sender<u64>>) -> Result<Client, BusError> {
    let deadline = Instant::now() + options.connect_timeout;
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    loop {
        let attempt = (deadline - Instant::now()).clamp(Duration::from_millis(100), ANSWER);
        let client = client_options(options, attempt, prompts).await?;
        let servers: Vec<&str> = std::iter::once(&options.url)
            .chain(&options.servers)
            .map(String::as_str)
            .collect();
        let error = match client.connect(servers).await {
            Ok(client) => return Ok(client),
            Err(error) => connect_error(options, error),
        };
        let delay = backoff.next();
        if !error.retry().is_later() || Instant::now() + delay >= deadline {
            return Err(error);
        }
        tracing::debug!(url = options.shown_url(), "no NATS server yet, trying again");
        tokio::time::sleep(delay).await;
    }
}

async fn client_options(
    options: &BusOptions,
    attempt: Duration,
    prompts: &Arc<watch::Sender<u64>>,
) -> Result<ConnectOptions, BusError> {
    let prompts = prompts.clone();
    let mut client = ConnectOptions::new()
        .name(&options.name)
        .connection_timeout(attempt)
        .ping_interval(Duration::from_secs(20))
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| {
            let failures = u32::try_from(attempts).unwrap_or(u32::MAX);
            match failures {
                0 | 1 => Duration::ZERO,
                _ => backoff::jittered(backoff::delay(
                    Duration::from_millis(50),
                    Duration::from_secs(4),
                    failures - 2,
                )),
            }
        })
        .event_callback(move |event| {
            let prompts = prompts.clone();
            async move { on_event(&event, &prompts) }
        });
    if let Some(user) = options.user() {
        client = client.custom_inbox_prefix(user.inbox());
    }
    if let Some(ca) = &options.tls_ca {
        client = client.add_root_certificates(ca.clone());
    }
    Ok(match &options.auth {
        Auth::None => client,
        Auth::Password { user, password } => {
            client.user_and_password(user.clone(), password.expose_secret().to_owned())
        }
        Auth::Token(token) => client.token(token.expose_secret().to_owned()),
        Auth::Nkey(seed) => client.nkey(seed.expose_secret().to_owned()),
        Auth::CredentialsFile(path) => {
            client
                .credentials_file(path)
                .await
                .map_err(|source| BusError::CredentialsFile {
                    path: path.clone(),
                    source,
                })?
        }
    })
}

fn on_event(event: &Event, prompts: &watch::Sender<u64>) {
    match event {
        Event::Connected => {
            tracing::info!("connected to the NATS server");
            prompts.send_modify(|count| *count += 1);
        }
        Event::Disconnected => tracing::warn!("the connection to the NATS server is lost; connecting again"),
        Event::ServerError(error) => tracing::warn!(%error, "the NATS server reports an error"),
        other => tracing::debug!(event = %other, "the NATS client reports"),
    }
}

fn connect_error(options: &BusOptions, error: async_nats::ConnectError) -> BusError {
    let url = options.shown_url();
    let kind = error.kind();
    let source = BusCause::new(error);
    match kind {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            BusError::Refused { url, source }
        }
        ConnectErrorKind::Tls => BusError::Tls { url, source },
        ConnectErrorKind::ServerParse => BusError::Url { url, source },
        // A handshake that fails on a certificate comes as an I/O error; a server that is away does too.
        ConnectErrorKind::Io if source.to_string().contains("certificate") => BusError::Tls { url, source },
        ConnectErrorKind::Dns | ConnectErrorKind::TimedOut | ConnectErrorKind::Io | ConnectErrorKind::MaxReconnects => {
            BusError::Unreachable { url, source }
        }
    }
}

fn check_version(client: &Client, options: &BusOptions) -> Result<(), BusError> {
    if client.is_server_compatible(2, 10, 0) {
        return Ok(());
    }
    Err(BusError::TooOld {
        url: options.shown_url(),
        found: client.server_info().version,
        needed: NEEDED,
    })
}
