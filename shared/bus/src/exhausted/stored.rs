//! Messages as they stand in the work stream: read, and removed by their whole name.

use async_nats::datetime::{DateTime, parse_rfc3339};
use bytes::Bytes;
use serde::{Deserialize, Deserializer};

use super::rules::MessageId;
use crate::code;
use crate::connection::Bus;
use crate::error::{ApiError, BusError};

/// A message of the work stream.
pub(super) struct Stored {
    pub(super) id: MessageId,
    pub(super) body: Bytes,
}

/// A question for one message.
pub(super) enum Ask<'a> {
    Number(u64),
    /// The first from this number on whose subject matches.
    Next(u64, &'a str),
}

#[derive(Deserialize)]
struct Answer {
    message: Raw,
}

#[derive(Deserialize)]
struct Raw {
    subject: String,
    seq: u64,
    #[serde(deserialize_with = "time")]
    time: DateTime,
    #[serde(default)]
    data: String,
}

/// Reads a time as the server writes it.
pub(super) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_rfc3339(&text).map_err(serde::de::Error::custom)
}

impl Bus {
    /// Reads a message; `None` if there is none, or no stream.
    pub(super) async fn stored(&self, ask: Ask<'_>) -> Result<Option<Stored>, ApiError> {
        let request = match ask {
            Ask::Number(sequence) => serde_json::json!({ "seq": sequence }),
            Ask::Next(from, filter) => serde_json::json!({ "seq": from, "next_by_subj": filter }),
        };
        let subject = format!("STREAM.MSG.GET.{}", self.names().work);
        match self.api::<_, Answer>(subject, &request).await {
            Ok(Answer { message }) => Ok(Some(Stored {
                id: MessageId {
                    sequence: message.seq,
                    subject: message.subject,
                    stored: message.time,
                },
                body: unwrapped(&message.data),
            })),
            Err(error) if matches!(error.code(), Some(code::NO_MESSAGE | code::STREAM_NOT_FOUND)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes a message if it is still the one that is meant. Returns true if it was there.
    pub(super) async fn remove_message(&self, id: &MessageId) -> Result<bool, BusError> {
        let stream = &self.names().work;
        let failed = |source| BusError::Remove {
            stream: stream.clone(),
            sequence: id.sequence,
            source,
        };
        let stored = self.stored(Ask::Number(id.sequence)).await.map_err(failed)?;
        if stored.is_none_or(|stored| stored.id != *id) {
            return Ok(false);
        }
        let request = serde_json::json!({ "seq": id.sequence, "no_erase": true });
        let deleted = self
            .api::<_, serde_json::Value>(format!("STREAM.MSG.DELETE.{stream}"), &request)
            .await;
        match deleted {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.code(), Some(code::NO_MESSAGE | code::SEQUENCE_NOT_FOUND)) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }
}

fn unwrapped(base64: &str) -> Bytes {
    use base64::Engine;
    // What the server wraps it also unwraps; an empty body is no work, and is treated as such.
    let body = base64::engine::general_purpose::STANDARD.decode(base64);
    body.unwrap_or_default().into()
}
