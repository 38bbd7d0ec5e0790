//! Requests to JetStream's own API, with one kind of error for all of them.
//!
//! The client's typed calls have an error type each and hide the server's code in some of them; here the code is what
//! every decision goes by.

use async_nats::RequestErrorKind;
use async_nats::jetstream::response::Response;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connection::{ANSWER, Bus};
use crate::error::{ApiError, BusCause};

impl Bus {
    /// Sends one request to `$JS.API.<subject>`. The payload `()` is sent as an empty one: some requests must not have
    /// any.
    pub(crate) async fn api<T, V>(&self, subject: String, payload: &T) -> Result<V, ApiError>
    where
        T: Serialize + ?Sized,
        V: DeserializeOwned,
    {
        let client_error = |error: serde_json::Error| ApiError::Client(BusCause::new(error));
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
                ApiError::Client(BusCause::new(error))
            }
        })?;
        match serde_json::from_slice(&message.payload).map_err(client_error)? {
            Response::Ok(value) => Ok(value),
            Response::Err { error } => Err(ApiError::Server(error)),
        }
    }
}
