//! Requests to JetStream's own API, with one kind of error for all of them.
//!
//! The client's typed calls have an error type each and hide the server's code in some of them; here the code is what
//! every decision goes by.

use std::time::Duration;

use async_nats::RequestErrorKind;
use async_nats::jetstream;
use async_nats::jetstream::response::Response;
use holdfast_fault::{Retry, Retryable};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connection::Bus;
use crate::error::Cause;

/// Error codes of the server that decide what is done next.
pub(crate) mod code {
    pub(crate) const CONSUMER_NOT_FOUND: u64 = 10014;
    pub(crate) const NO_MESSAGE: u64 = 10037;
    pub(crate) const NOT_ENABLED_FOR_ACCOUNT: u64 = 10039;
    pub(crate) const SEQUENCE_NOT_FOUND: u64 = 10043;
    pub(crate) const STREAM_NAME_IN_USE: u64 = 10058;
    pub(crate) const STREAM_NOT_FOUND: u64 = 10059;
    pub(crate) const NOT_ENABLED: u64 = 10076;
    pub(crate) const STORE_FAILED: u64 = 10077;
}

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
    Client(Cause),
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

impl Bus {
    /// Sends one request to `$JS.API.<subject>`. The payload `()` is sent as an empty one: some requests must not have
    /// any.
    pub(crate) async fn api<T, V>(&self, subject: String, payload: &T) -> Result<V, ApiError>
    where
        T: Serialize + ?Sized,
        V: DeserializeOwned,
    {
        let client_error = |error: serde_json::Error| ApiError::Client(Cause::new(error));
        let mut body = serde_json::to_vec(payload).map_err(client_error)?;
        if body == b"null" {
            body.clear();
        }
        let request = async_nats::Request::new().payload(body.into()).timeout(Some(ANSWER));
        let answer = self.client().send_request(format!("$JS.API.{subject}"), request).await;
        let message = answer.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => ApiError::NoResponders,
            RequestErrorKind::TimedOut => ApiError::TimedOut,
            RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::Other => {
                ApiError::Client(Cause::new(error))
            }
        })?;
        match serde_json::from_slice(&message.payload).map_err(client_error)? {
            Response::Ok(value) => Ok(value),
            Response::Err { error } => Err(ApiError::Server(error)),
        }
    }
}

/// The time to wait for the server where a caller gives no time of its own: publishes, acknowledgements.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);

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
