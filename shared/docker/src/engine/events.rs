//! What happens in the engine, as it happens.

use std::collections::HashMap;

use bollard::models::EventMessageTypeEnum;
use bollard::query_parameters::EventsOptionsBuilder;
use futures::{Stream, StreamExt};

use super::{Engine, EngineError};

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in seconds since 1970, by the engine's clock.
    pub at: i64,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// An image was pulled.
    ImagePulled {
        /// Its reference, as it was asked for.
        image: String,
    },
    /// A container was started.
    ContainerStarted {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
        /// Its image, as it was asked for.
        image: String,
        /// Its stack.
        stack: Option<String>,
    },
}

impl Engine {
    /// Images that are pulled and containers that are started, from now on, or from `since` (seconds since 1970) if the
    /// engine still knows. Ends with the connection: who wants more asks again, from the last event on.
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
            stack: attribute("com.docker.compose.project"),
        },
        _ => return None,
    };
    Some(Event {
        at: message.time.unwrap_or_default(),
        kind,
    })
}
