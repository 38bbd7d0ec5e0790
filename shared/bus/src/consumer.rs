//! Consumers: made where they are missing, changed where they differ.

use async_nats::jetstream::consumer::{Config, Info};
use async_nats::jetstream::stream::DeleteStatus;
use serde::Serialize;

use crate::code;
use crate::connection::Bus;
use crate::error::{ApiError, BusError};

#[derive(Serialize)]
struct CreateRequest<'a> {
    stream_name: &'a str,
    config: &'a Config,
}

impl Bus {
    /// Makes the consumer as it should be. A stream that is gone is set up again first.
    pub(crate) async fn ensure_consumer(&self, stream: &str, config: &Config) -> Result<(), BusError> {
        let name = config.name.clone().unwrap_or_default();
        let failed = |source| BusError::Consumer {
            stream: stream.to_owned(),
            consumer: name.clone(),
            source,
        };
        let mut tries = 0;
        loop {
            tries += 1;
            let outcome = match self.consumer_info(stream, &name).await {
                Ok(info) if same(config, &info.config) => return Ok(()),
                Ok(_) => self.replace_consumer(stream, &name, config).await,
                Err(error) if error.code() == Some(code::CONSUMER_NOT_FOUND) => {
                    self.create_consumer(stream, &name, config).await.map(|_| ())
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) if tries < 3 && error.code() == Some(code::STREAM_NOT_FOUND) => {
                    tracing::warn!(stream, "the stream is gone; setting the streams up again");
                    self.ensure_topology().await?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    pub(crate) async fn consumer_info(&self, stream: &str, consumer: &str) -> Result<Info, ApiError> {
        self.api(format!("CONSUMER.INFO.{stream}.{consumer}"), &()).await
    }

    /// Creates it, or changes it in place where the server allows that.
    pub(crate) async fn create_consumer(&self, stream: &str, name: &str, config: &Config) -> Result<Info, ApiError> {
        // The filter is part of the subject, so that a server can be told which stages a user may read.
        let subject = match config.filter_subject.as_str() {
            "" => format!("CONSUMER.CREATE.{stream}.{name}"),
            filter => format!("CONSUMER.CREATE.{stream}.{name}.{filter}"),
        };
        let request = CreateRequest {
            stream_name: stream,
            config,
        };
        self.api(subject, &request).await
    }

    async fn replace_consumer(&self, stream: &str, name: &str, config: &Config) -> Result<(), ApiError> {
        tracing::info!(stream, consumer = name, "consumer is brought up to date");
        let Err(error) = self.create_consumer(stream, name, config).await else {
            return Ok(());
        };
        tracing::info!(stream, consumer = name, %error, "consumer cannot be changed in place and is made anew");
        self.delete_consumer(stream, name).await?;
        self.create_consumer(stream, name, config).await.map(|_| ())
    }

    pub(crate) async fn delete_consumer(&self, stream: &str, name: &str) -> Result<(), ApiError> {
        let deleted = self
            .api::<_, DeleteStatus>(format!("CONSUMER.DELETE.{stream}.{name}"), &())
            .await;
        match deleted {
            Err(error) if error.code() != Some(code::CONSUMER_NOT_FOUND) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Tells whether all that we set is as we set it; the server fills in the rest.
fn same(wanted: &Config, existing: &Config) -> bool {
    wanted.filter_subject == existing.filter_subject
        && wanted.filter_subjects == existing.filter_subjects
        && wanted.ack_policy == existing.ack_policy
        && wanted.ack_wait == existing.ack_wait
        && wanted.max_deliver == existing.max_deliver
        && wanted.max_ack_pending == existing.max_ack_pending
        && wanted.deliver_policy == existing.deliver_policy
        && wanted.inactive_threshold == existing.inactive_threshold
        && existing.backoff.is_empty()
}
