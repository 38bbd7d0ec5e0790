//! Trace context in and out of headers, in W3C's form (`traceparent`, `tracestate`).
//!
//! Works with and without an exporter: a span has its ids as soon as [`crate::init`] ran.

use std::collections::BTreeMap;

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Returns the headers that carry `span` to another process; empty if the span is disabled.
fn inject(span: &Span) -> BTreeMap<String, String> {
    let mut headers = Headers(BTreeMap::new());
    TraceContextPropagator::new().inject_context(&span.context(), &mut headers);
    // An empty state says nothing.
    headers.0.retain(|_, value| !value.is_empty());
    headers.0
}

/// Returns the headers that carry the current span to another process.
#[must_use]
pub fn inject_current() -> BTreeMap<String, String> {
    inject(&Span::current())
}

/// Makes `span` a child of the one in `headers`, across processes. Returns true if that was done.
///
/// Call it before the span is entered and before its ids are asked for, which start it. Headers without a valid
/// context leave the span as it is.
pub fn set_parent(span: &Span, headers: &BTreeMap<String, String>) -> bool {
    let context = extract(headers);
    context.span().span_context().is_valid() && span.set_parent(context).is_ok()
}

/// Links `span` to the one in `headers` without making it a child: for spans that come much later, such as a verification
/// days after the run. Returns true if the headers had a valid context.
pub fn link(span: &Span, headers: &BTreeMap<String, String>) -> bool {
    let context = extract(headers).span().span_context().clone();
    let valid = context.is_valid();
    if valid {
        span.add_link(context);
    }
    valid
}

/// Returns the id of the trace that `span` belongs to, as 32 hex digits. Starts the span, so [`set_parent`] comes first.
#[must_use]
pub fn trace_id(span: &Span) -> Option<String> {
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    context.is_valid().then(|| context.trace_id().to_string())
}

fn extract(headers: &BTreeMap<String, String>) -> Context {
    // Onto an empty context: headers without one must not inherit whatever span happens to be current.
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Borrowed(headers))
}

struct Headers(BTreeMap<String, String>);

impl Injector for Headers {
    fn set(&mut self, key: &str, value: String) {
        self.0.insert(key.to_owned(), value);
    }
}

struct Borrowed<'a>(&'a BTreeMap<String, String>);

impl Extractor for Borrowed<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        // Other clients may write the names with capitals.
        self.0
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| value.as_str())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing::info_span;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn traced(test: impl FnOnce()) {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), test);
    }

    #[test]
    fn a_trace_goes_through_headers() {
        traced(|| {
            let sender = info_span!("sender");
            let headers = inject(&sender);
            let id = trace_id(&sender).unwrap();
            assert_eq!(id.len(), 32);
            assert!(headers["traceparent"].contains(&id), "{headers:?}");
            assert_eq!(headers.keys().collect::<Vec<_>>(), ["traceparent"]);

            let receiver = info_span!("receiver");
            assert!(set_parent(&receiver, &headers));
            assert_eq!(trace_id(&receiver).unwrap(), id);
            let inner = receiver.in_scope(|| info_span!("inner"));
            assert_eq!(trace_id(&inner).unwrap(), id);
            assert_eq!(
                receiver.in_scope(inject_current)["traceparent"][..36],
                headers["traceparent"][..36]
            );
        });
    }

    #[test]
    fn capitals_do_not_matter_and_state_is_carried() {
        traced(|| {
            let headers = BTreeMap::from([
                (
                    "Traceparent".to_owned(),
                    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
                ),
                ("Tracestate".to_owned(), "vendor=x".to_owned()),
            ]);
            let span = info_span!("receiver");
            assert!(set_parent(&span, &headers));
            assert_eq!(trace_id(&span).unwrap(), "0af7651916cd43dd8448eb211c80319c");
            assert_eq!(inject(&span)["tracestate"], "vendor=x");
        });
    }

    #[test]
    fn a_link_keeps_traces_apart() {
        traced(|| {
            let run = info_span!("run");
            let verification = info_span!("verification");
            assert!(link(&verification, &inject(&run)));
            assert_ne!(trace_id(&verification), trace_id(&run));
        });
    }

    #[test]
    fn bad_headers_and_missing_tracing_are_harmless() {
        traced(|| {
            let outer = info_span!("outer").entered();
            let span = info_span!(parent: None, "receiver");
            for value in ["", "garbage", "00-00000000000000000000000000000000-0000000000000000-01"] {
                let headers = BTreeMap::from([("traceparent".to_owned(), value.to_owned())]);
                assert!(!set_parent(&span, &headers) && !link(&span, &headers), "{value}");
            }
            assert!(!set_parent(&span, &BTreeMap::new()));
            assert_ne!(trace_id(&span), trace_id(&outer));
        });
        let span = info_span!("nobody listens");
        assert_eq!((trace_id(&span), inject(&span)), (None, BTreeMap::new()));
    }
}
