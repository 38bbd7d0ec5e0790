//! Errors of the bus, one variant per operation.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::jetstream;
use holdfast_events::CodecError;
use holdfast_fault::{Retry, Retryable};
use holdfast_format::RunId;

/// The words of the NATS client. Its errors print their sources and offer them too; a cause prints them once.
#[derive(Debug)]
pub struct BusCause(Box<dyn std::error::Error + Send + Sync>);

impl BusCause {
    pub(crate) fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for BusCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for BusCause {}

/// The server did not do what its API was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server refused.
    #[error("the server says: {0}")]
    Server(jetstream::Error),
    /// JetStream is not there, or not yet.
    #[error("JetStream does not answer")]
    NoResponders,
    /// The server gave no answer in time.
    #[error("the server did not answer in time")]
    TimedOut,
    /// The client failed otherwise.
    #[error("{0}")]
    Client(BusCause),
}

impl ApiError {
    /// Returns the server's code, if it refused.
    pub(crate) fn code(&self) -> Option<u64> {
        match self {
            Self::Server(error) => Some(error.error_code().0),
            _ => None,
        }
    }
}

impl Retryable for ApiError {
    /// Repeats no request that makes no sense (4xx). A thing that was not found can be made again, and all else may
    /// pass.
    fn retry(&self) -> Retry {
        match self {
            Self::Server(error) => Retry::later_if(error.code() >= 500 || error.code() == 404),
            Self::NoResponders | Self::TimedOut | Self::Client(_) => Retry::Later,
        }
    }
}

/// A failure of the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// No server answered in time.
    #[error("cannot reach the NATS server at {url}: is it running, and is nats.url right?")]
    Unreachable {
        /// The address that was tried.
        url: String,
        #[source]
        source: BusCause,
    },
    /// The server refuses our credentials.
    #[error(
        "the NATS server at {url} refuses our credentials: check nats.user and nats.password, or the token, \
         credentials file or nkey given instead"
    )]
    Refused {
        url: String,
        #[source]
        source: BusCause,
    },
    /// No secure connection could be made.
    #[error("no secure connection to the NATS server at {url}: check its certificate and nats.tls_ca")]
    Tls {
        url: String,
        #[source]
        source: BusCause,
    },
    /// The address is no URL of a NATS server.
    #[error("{url:?} is no address of a NATS server: write nats://host:4222 or tls://host:4222")]
    Url {
        url: String,
        #[source]
        source: BusCause,
    },
    /// The credentials file cannot be used.
    #[error("read the NATS credentials file {}", path.display())]
    CredentialsFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The server is too old.
    #[error("the NATS server at {url} is version {found}, but holdfast needs {needed} or newer: update nats-server")]
    TooOld {
        url: String,
        /// The version of the server.
        found: String,
        /// The oldest version that will do.
        needed: &'static str,
    },
    /// The server keeps no streams for us.
    #[error(
        "JetStream is not enabled for our account on the NATS server at {url}: add a `jetstream` block to its configuration"
    )]
    NoJetStream { url: String },
    /// A stream is not as it must be.
    #[error("set up the stream {stream}{}", hint(source))]
    Topology {
        stream: String,
        #[source]
        source: ApiError,
    },
    /// A stream has a property that cannot be changed, and holds what must not be thrown away.
    #[error(
        "the stream {stream} has another {property} than holdfast needs: rename or delete it, or choose another nats.prefix"
    )]
    Foreign { stream: String, property: &'static str },
    /// A consumer is not as it must be.
    #[error("set up the consumer {consumer} of the stream {stream}")]
    Consumer {
        stream: String,
        consumer: String,
        #[source]
        source: ApiError,
    },
    /// A message cannot be encoded.
    #[error("encode a message for {subject}")]
    Encode {
        subject: String,
        #[source]
        source: CodecError,
    },
    /// A message was not confirmed by the server. It may be there all the same.
    #[error("publish to {subject}")]
    Publish {
        subject: String,
        /// [`Retry::Never`] if the server refused the message, [`Retry::Later`] if it did not answer.
        retry: Retry,
        #[source]
        source: BusCause,
    },
    /// A stream is full.
    #[error("the stream {stream} is full: are the workers of its stages running?")]
    Full { stream: String },
    /// The client could not subscribe.
    #[error("subscribe to {subject}")]
    Subscribe {
        subject: String,
        #[source]
        source: BusCause,
    },
    /// No scheduler is connected.
    #[error("nobody answers: no scheduler is connected to this NATS server")]
    NobodyAnswers,
    /// The scheduler did not answer in time. It may have started the run all the same.
    #[error("the scheduler did not answer within {} s", timeout.as_secs())]
    NotInTime {
        /// The time that was waited.
        timeout: Duration,
    },
    /// The request was not sent.
    #[error("ask the scheduler for a run")]
    Request {
        #[source]
        source: BusCause,
    },
    /// The answer cannot be read.
    #[error("read the scheduler's answer")]
    Reply {
        #[source]
        source: CodecError,
    },
    /// A run's waiting work is still there.
    #[error("remove the waiting work of run {run}")]
    Forget {
        run: RunId,
        #[source]
        source: ApiError,
    },
    /// An exhausted message is still there.
    #[error("remove message {sequence} from the stream {stream}")]
    Remove {
        stream: String,
        /// Number of the message in the stream.
        sequence: u64,
        #[source]
        source: ApiError,
    },
    /// The connection was closed for good.
    #[error("the connection to the NATS server is closed")]
    Closed,
}

impl Retryable for BusError {
    fn retry(&self) -> Retry {
        match self {
            Self::Unreachable { .. }
            | Self::Full { .. }
            | Self::Subscribe { .. }
            | Self::NobodyAnswers
            | Self::NotInTime { .. }
            | Self::Request { .. } => Retry::Later,
            Self::Refused { .. }
            | Self::Tls { .. }
            | Self::Url { .. }
            | Self::TooOld { .. }
            | Self::NoJetStream { .. }
            | Self::Foreign { .. }
            | Self::Encode { .. }
            | Self::Reply { .. }
            | Self::Closed => Retry::Never,
            Self::CredentialsFile { source, .. } => Retry::of_io(source),
            Self::Publish { retry, .. } => *retry,
            Self::Topology { source, .. }
            | Self::Consumer { source, .. }
            | Self::Forget { source, .. }
            | Self::Remove { source, .. } => source.retry(),
        }
    }
}

/// Adds what to do about the two refusals that people meet when they set a server up.
fn hint(error: &ApiError) -> &'static str {
    const NO_STORAGE: u64 = 10047;
    const REPLICAS: u64 = 10074;
    match error.code() {
        Some(NO_STORAGE) => ": the server's max_file_store is too small for it",
        Some(REPLICAS) => ": nats.replicas over 1 needs a cluster",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_request_that_makes_no_sense_is_not_sent_again() {
        let refused = |status: u64| {
            let error = serde_json::json!({"code": status, "err_code": 1, "description": "said the server"});
            ApiError::Server(serde_json::from_value(error).unwrap()).retry()
        };
        for status in [400, 403, 409] {
            assert_eq!(refused(status), Retry::Never, "{status}");
        }
        for status in [404, 500, 503] {
            assert_eq!(refused(status), Retry::Later, "{status}");
        }
        assert_eq!(ApiError::NoResponders.retry(), Retry::Later);
        assert_eq!(ApiError::TimedOut.retry(), Retry::Later);
    }
}
