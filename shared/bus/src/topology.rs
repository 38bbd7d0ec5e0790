//! The streams: made where they are missing, changed where they differ.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DeleteStatus, DiscardPolicy, Info, RetentionPolicy, StorageType};

use crate::code;
use crate::connection::Bus;
use crate::error::{ApiError, BusError};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MIB: i64 = 1024 * 1024;

/// One stream as it should be.
struct Definition {
    config: Config,
    /// True if the content can be made again, so that the stream may be deleted to change what is fixed at creation.
    disposable: bool,
}

impl Bus {
    /// Makes the streams as they should be: creates those that are missing, changes those that differ. Several services
    /// may do it at once. What an operator made larger stays larger.
    ///
    /// # Errors
    /// [`BusError::Topology`] if the server refuses; [`BusError::Foreign`] if a stream that must be kept has another
    /// retention or storage.
    pub async fn ensure_topology(&self) -> Result<(), BusError> {
        let _one_at_a_time = self.topology_lock().lock().await;
        let mut created = false;
        for definition in self.definitions() {
            created |= self.ensure_stream(&definition).await?;
        }
        if created {
            self.prompt();
        }
        Ok(())
    }

    fn definitions(&self) -> [Definition; 4] {
        [self.work(), self.events(), self.parked(), self.advisories()]
    }

    /// Work that waits. The limit of one message per subject is what keeps a job from being queued twice. Unlike a window of
    /// message ids it survives a restart of the server. There is no age limit: it would drop jobs silently.
    fn work(&self) -> Definition {
        let subjects = vec![self.subjects().all_work()];
        let waits = self.stream(&self.names().work, subjects, 256 * MIB, "holdfast: work that waits");
        Definition {
            config: Config {
                retention: RetentionPolicy::WorkQueue,
                discard: DiscardPolicy::New,
                discard_new_per_subject: true,
                max_messages_per_subject: 1,
                ..waits
            },
            disposable: true,
        }
    }

    fn events(&self) -> Definition {
        let subjects = vec![self.subjects().all_facts()];
        let happened = self.stream(&self.names().events, subjects, 512 * MIB, "holdfast: what happened");
        Definition {
            config: Config {
                max_age: 90 * DAY,
                deny_delete: true,
                ..happened
            },
            disposable: false,
        }
    }

    fn parked(&self) -> Definition {
        let subjects = vec![self.names().all_parked()];
        let description = "holdfast: messages nobody can handle";
        let parked = self.stream(&self.names().parked, subjects, 64 * MIB, description);
        Definition {
            config: Config {
                max_age: 30 * DAY,
                ..parked
            },
            disposable: false,
        }
    }

    fn advisories(&self) -> Definition {
        let subjects = vec![self.names().max_deliveries(), self.names().terminated()];
        let description = "holdfast: what the server says about work";
        let advised = self.stream(&self.names().advisories, subjects, 16 * MIB, description);
        Definition {
            config: Config {
                max_age: 30 * DAY,
                ..advised
            },
            disposable: true,
        }
    }

    /// A stream in a file, of at most so many bytes, that drops the oldest messages to take new ones.
    fn stream(&self, name: &str, subjects: Vec<String>, max_bytes: i64, description: &str) -> Config {
        Config {
            name: name.to_owned(),
            subjects,
            max_bytes,
            max_messages: -1,
            max_messages_per_subject: -1,
            max_consumers: -1,
            num_replicas: self.replicas(),
            storage: StorageType::File,
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            description: Some(description.to_owned()),
            ..Config::default()
        }
    }

    /// Returns true if the stream had to be created.
    async fn ensure_stream(&self, definition: &Definition) -> Result<bool, BusError> {
        let name = &definition.config.name;
        let failed = |source: ApiError| BusError::Topology {
            stream: name.clone(),
            source,
        };
        // Another service may create or delete it between our question and our answer to it: then ask again.
        let mut tries = 0;
        loop {
            tries += 1;
            let outcome = match self.api::<_, Info>(format!("STREAM.INFO.{name}"), &()).await {
                Ok(info) => self.migrate(definition, info.config).await?,
                Err(error) if error.code() == Some(code::STREAM_NOT_FOUND) => {
                    let created = self
                        .api::<_, Info>(format!("STREAM.CREATE.{name}"), &definition.config)
                        .await;
                    created.map(|_| Migrated::Created)
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(Migrated::Created) => {
                    tracing::info!(stream = name, "stream created");
                    return Ok(true);
                }
                Ok(Migrated::Stands) => return Ok(false),
                Ok(Migrated::AskAgain) if tries < 5 => {}
                Ok(Migrated::AskAgain) => return Err(failed(ApiError::TimedOut)),
                Err(error) if tries < 5 && raced(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    async fn migrate(&self, definition: &Definition, existing: Config) -> Result<Result<Migrated, ApiError>, BusError> {
        let name = &existing.name;
        if let Some(property) = fixed_difference(&definition.config, &existing) {
            if !definition.disposable {
                return Err(BusError::Foreign {
                    stream: name.clone(),
                    property,
                });
            }
            tracing::warn!(
                stream = name,
                property,
                "stream is made anew to change what cannot be changed in place"
            );
            let deleted = self.api::<_, DeleteStatus>(format!("STREAM.DELETE.{name}"), &()).await;
            return Ok(deleted.map(|_| Migrated::AskAgain));
        }
        let wanted = merged(&definition.config, &existing);
        if wanted == existing {
            return Ok(Ok(Migrated::Stands));
        }
        tracing::info!(stream = name, "stream is brought up to date");
        let updated = self.api::<_, Info>(format!("STREAM.UPDATE.{name}"), &wanted).await;
        Ok(updated.map(|_| Migrated::Stands))
    }
}

enum Migrated {
    Created,
    Stands,
    AskAgain,
}

/// Tells whether another service was quicker.
fn raced(error: &ApiError) -> bool {
    matches!(error.code(), Some(code::STREAM_NAME_IN_USE | code::STREAM_NOT_FOUND))
}

/// Names the first difference that cannot be changed.
fn fixed_difference(wanted: &Config, existing: &Config) -> Option<&'static str> {
    if wanted.retention != existing.retention {
        Some("retention policy")
    } else if wanted.storage != existing.storage {
        Some("storage")
    } else {
        None
    }
}

/// The existing configuration with what we rely on put right. Anything else (placement, compression, what a newer server
/// adds) stays as it is.
fn merged(wanted: &Config, existing: &Config) -> Config {
    Config {
        subjects: wanted.subjects.clone(),
        max_bytes: if existing.max_bytes <= 0 {
            existing.max_bytes
        } else {
            existing.max_bytes.max(wanted.max_bytes)
        },
        max_messages: wanted.max_messages,
        max_messages_per_subject: wanted.max_messages_per_subject,
        max_age: wanted.max_age,
        discard: wanted.discard,
        discard_new_per_subject: wanted.discard_new_per_subject,
        num_replicas: wanted.num_replicas,
        // Once denied, it cannot be allowed again.
        deny_delete: wanted.deny_delete || existing.deny_delete,
        description: wanted.description.clone(),
        ..existing.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_keeps_what_the_operator_set() {
        let wanted = Config {
            name: "A".into(),
            max_bytes: 10,
            max_messages_per_subject: 1,
            ..Config::default()
        };
        let existing = Config {
            name: "A".into(),
            max_bytes: 20,
            max_messages_per_subject: -1,
            duplicate_window: Duration::from_secs(120),
            ..Config::default()
        };
        let merged = merged(&wanted, &existing);
        assert_eq!(merged.max_bytes, 20);
        assert_eq!(merged.max_messages_per_subject, 1);
        assert_eq!(merged.duplicate_window, Duration::from_secs(120));
        assert_eq!(fixed_difference(&wanted, &existing), None);
    }
}
