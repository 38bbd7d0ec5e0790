//! Events of the engine, as they happen.

use std::collections::HashMap;

use bollard::models::EventMessageTypeEnum;
use bollard::query_parameters::EventsOptionsBuilder;
use futures::{Stream, StreamExt};

use super::{Engine, EngineError};
use crate::labels;

/// An event of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Time of the event by the engine's clock, in seconds since 1970.
    pub at: i64,
    /// The kind of event, with its details.
    pub kind: EventKind,
}

/// The kinds of events that Holdfast follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// An image was pulled.
    ImagePulled {
        /// The image's reference, as it was asked for.
        image: String,
    },
    /// A container was started.
    ContainerStarted {
        id: String,
        name: String,
        /// The reference of the container's image, as it was asked for.
        image: String,
        /// The Compose project that the container belongs to.
        stack: Option<String>,
    },
}

impl Engine {
    /// Follows image pulls and container starts from now on, or from `since` (in seconds since 1970) as far back as the
    /// engine remembers. The stream ends when the connection does; call again with the time of the last event to go on.
    pub fn events(&self, since: Option<i64>) -> impl Stream<Item = Result<Event, EngineError>> + Send + Unpin + use<> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let filters = HashMap::from([
            ("type".to_owned(), words(&["image", "container"])),
            ("event".to_owned(), words(&["pull", "start"])),
        ]);
        let mut options = EventsOptionsBuilder::default().filters(&filters);
        if let Some(since) = since {
            options = options.since(&since.to_string());
        }
        let client = self.client.clone();
        let messages = client.events(Some(options.build()));
        let events = messages.filter_map(|message| async {
            match message {
                Ok(message) => event(message).map(Ok),
                Err(source) => Some(Err(EngineError::of_bollard("watch", "the Docker engine", source))),
            }
        });
        Box::pin(events)
    }
}

fn event(message: bollard::models::EventMessage) -> Option<Event> {
    let actor = message.actor?;
    let mut attributes = actor.attributes.unwrap_or_default();
    let mut attribute = |name: &str| attributes.remove(name);
    let kind = match (message.typ?, message.action?.as_str()) {
        (EventMessageTypeEnum::IMAGE, "pull") => EventKind::ImagePulled { image: actor.id? },
        (EventMessageTypeEnum::CONTAINER, "start") => EventKind::ContainerStarted {
            id: actor.id?,
            name: attribute("name").unwrap_or_default(),
            image: attribute("image").unwrap_or_default(),
            stack: attribute(labels::PROJECT),
        },
        _ => return None,
    };
    Some(Event {
        at: message.time.unwrap_or_default(),
        kind,
    })
}
