//! Copies of messages that nobody can handle, kept for a person to look at.

use async_nats::HeaderMap;
use bytes::Bytes;
use holdfast_events::{MAX_MESSAGE, WorkStage};

use crate::connection::Bus;
use crate::error::BusError;

/// Bytes of the longest reason that is kept: a longer one is a log.
const MAX_REASON: usize = 1024;

/// The header with the reason for parking.
const REASON: &str = "Holdfast-Reason";
/// The header with the subject that the message had.
const SUBJECT: &str = "Holdfast-Subject";
/// The header with the size of the message, if only its beginning was kept.
const TRUNCATED: &str = "Holdfast-Truncated-From";

impl Bus {
    /// Keeps a copy of a message, at most [`MAX_MESSAGE`] bytes of it.
    pub(crate) async fn park(
        &self,
        stage: WorkStage,
        subject: &str,
        body: &Bytes,
        reason: &str,
    ) -> Result<(), BusError> {
        let mut headers = HeaderMap::new();
        headers.insert(REASON, one_line(reason));
        headers.insert(SUBJECT, one_line(subject));
        if body.len() > MAX_MESSAGE {
            headers.insert(TRUNCATED, body.len().to_string());
        }
        headers.insert(
            async_nats::header::NATS_MESSAGE_ID,
            uuid::Uuid::new_v4().simple().to_string(),
        );
        let body = body.slice(..body.len().min(MAX_MESSAGE));
        self.publish_confirmed(&self.names().parked, &self.subjects().parked(stage), headers, body)
            .await?;
        Ok(())
    }
}

/// Makes a text fit for a header.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_REASON)
        .collect::<String>()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_bounded_line() {
        assert_eq!(one_line("a\r\nInjected: header\0"), "a  Injected: header");
        assert_eq!(one_line(&"x".repeat(5000)).len(), MAX_REASON);
        assert!(one_line("ümläut").parse::<async_nats::HeaderValue>().is_ok());
    }
}
