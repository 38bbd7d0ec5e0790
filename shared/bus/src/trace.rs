//! Trace context in message headers.

use std::collections::BTreeMap;

use async_nats::{HeaderMap, HeaderValue};
use holdfast_telemetry::propagate;
use tracing::Span;

/// Headers that carry the current span's context; empty without one.
pub(crate) fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in propagate::inject_current() {
        // Names are those of the propagator; a value that is no header value is of no use to a receiver either.
        if let Ok(value) = value.parse::<HeaderValue>() {
            headers.insert(name.as_str(), value);
        }
    }
    headers
}

/// Makes the span a child of the context in the headers, if there is one.
pub(crate) fn set_parent(span: &Span, headers: Option<&HeaderMap>) {
    let Some(headers) = headers else { return };
    let carried: BTreeMap<String, String> = headers
        .iter()
        .filter_map(|(name, values)| Some((name.to_string().to_ascii_lowercase(), values.first()?.to_string())))
        .collect();
    if !carried.is_empty() {
        propagate::set_parent(span, &carried);
    }
}
