//! A collector of traces: accepts them over OTLP, as protobuf over HTTP, and keeps them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as proto;
use prost::Message;
use tokio::net::TcpListener;
use tokio::runtime::{self, Runtime};

const PROTOBUF: &str = "application/x-protobuf";

/// A span as it was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The service that exported it.
    pub service: String,
    /// The span's name.
    pub name: String,
    /// The id of the trace that the span belongs to: 32 hex digits.
    pub trace: String,
    /// The span's id: 16 hex digits.
    pub id: String,
    /// The id of the parent span; `None` for the root of a trace.
    pub parent: Option<String>,
    /// The span's attributes, as text.
    pub attributes: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct Kept {
    spans: Vec<Span>,
    requests: Vec<Bytes>,
    refused: Vec<String>,
}

/// A collector on a free port of 127.0.0.1. Stopped when the value is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    _runtime: Runtime,
}

impl Collector {
    /// Starts a collector.
    ///
    /// # Errors
    /// If no port can be listened on.
    pub fn start() -> Result<Self> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("start the collector's runtime")?;
        let listening = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listening.context("listen as the collector")?;
        let address = listener.local_addr()?;
        let kept = Arc::new(Mutex::new(Kept::default()));
        let router = Router::new()
            .route("/v1/traces", post(take))
            .layer(DefaultBodyLimit::disable())
            .with_state(kept.clone());
        runtime.spawn(axum::serve(listener, router).into_future());
        Ok(Self {
            address,
            kept,
            _runtime: runtime,
        })
    }

    /// Returns the collector's address, for `telemetry.otlp_endpoint`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns all spans so far, in the order of their arrival.
    ///
    /// # Errors
    /// If a request was refused because it was not an export of traces.
    pub fn spans(&self) -> Result<Vec<Span>> {
        let kept = lock(&self.kept);
        ensure!(kept.refused.is_empty(), "refused by the collector: {:?}", kept.refused);
        Ok(kept.spans.clone())
    }

    /// True if a request so far contained the bytes of this text, in a name, an attribute, an event or a resource.
    #[must_use]
    pub fn has_seen(&self, text: &str) -> bool {
        let holds = |request: &Bytes| request.windows(text.len()).any(|window| window == text.as_bytes());
        lock(&self.kept).requests.iter().any(holds)
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

type Answer = (StatusCode, [(header::HeaderName, &'static str); 1], Vec<u8>);

async fn take(State(kept): State<Arc<Mutex<Kept>>>, headers: HeaderMap, body: Bytes) -> Answer {
    let mut kept = lock(&kept);
    let (status, form, answer) = match read(&headers, &body) {
        Ok(spans) => {
            kept.spans.extend(spans);
            kept.requests.push(body);
            let answer = ExportTraceServiceResponse::default().encode_to_vec();
            (StatusCode::OK, PROTOBUF, answer)
        }
        Err(error) => {
            let reason = format!("{error:#}");
            kept.refused.push(reason.clone());
            (StatusCode::BAD_REQUEST, "text/plain", reason.into_bytes())
        }
    };
    (status, [(header::CONTENT_TYPE, form)], answer)
}

fn read(headers: &HeaderMap, body: &Bytes) -> Result<Vec<Span>> {
    let form = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    ensure!(form == Some(PROTOBUF.as_bytes()), "a request that is not in protobuf");
    ensure!(
        !headers.contains_key(header::CONTENT_ENCODING),
        "a request that is compressed"
    );
    let request = ExportTraceServiceRequest::decode(body.clone()).context("read an export of traces")?;
    let mut spans = Vec::new();
    for exported in request.resource_spans {
        let resource = exported.resource.map(|resource| texts(resource.attributes));
        let service = resource.and_then(|mut attributes| attributes.remove("service.name"));
        let service = service.context("spans of no service")?;
        let scopes = exported.scope_spans.into_iter();
        let exported = scopes.flat_map(|scope| scope.spans);
        spans.extend(exported.map(|one| span(service.clone(), one)));
    }
    Ok(spans)
}

fn span(service: String, span: proto::Span) -> Span {
    Span {
        service,
        name: span.name,
        trace: hex::encode(span.trace_id),
        id: hex::encode(span.span_id),
        parent: (!span.parent_span_id.is_empty()).then(|| hex::encode(span.parent_span_id)),
        attributes: texts(span.attributes),
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    let attributes = attributes.into_iter();
    attributes.map(|pair| (pair.key, text(pair.value))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use opentelemetry_proto::tonic::resource::v1::Resource;

    use super::*;
    use crate::http;

    fn named(key: &str, value: &str) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue {
                value: Some(any_value::Value::StringValue(value.to_owned())),
            }),
            ..KeyValue::default()
        }
    }

    #[test]
    fn spans_are_kept_and_what_is_none_is_refused() {
        let collector = Collector::start().unwrap();
        let request = ExportTraceServiceRequest {
            resource_spans: vec![proto::ResourceSpans {
                resource: Some(Resource {
                    attributes: vec![named("service.name", "holdfast")],
                    ..Resource::default()
                }),
                scope_spans: vec![proto::ScopeSpans {
                    spans: vec![proto::Span {
                        trace_id: vec![1; 16],
                        span_id: vec![2; 8],
                        name: "seal".to_owned(),
                        attributes: vec![named("run", "r-1")],
                        ..proto::Span::default()
                    }],
                    ..proto::ScopeSpans::default()
                }],
                ..proto::ResourceSpans::default()
            }],
        };
        let send = |fields: &str, body: &[u8]| {
            let port = collector.address.port();
            http::send(port, "POST", "/v1/traces", fields, body).unwrap().status
        };
        let protobuf = format!("Content-Type: {PROTOBUF}\r\n");
        assert_eq!(send(&protobuf, &request.encode_to_vec()), 200);
        let expected = Span {
            service: "holdfast".to_owned(),
            name: "seal".to_owned(),
            trace: "01".repeat(16),
            id: "02".repeat(8),
            parent: None,
            attributes: BTreeMap::from([("run".to_owned(), "r-1".to_owned())]),
        };
        assert_eq!(collector.spans().unwrap(), [expected]);
        assert!(collector.has_seen("r-1") && !collector.has_seen("r-2"));

        assert_eq!(send(&protobuf, b"no protobuf"), 400);
        assert_eq!(send("", &request.encode_to_vec()), 400);
        assert!(collector.spans().unwrap_err().to_string().contains("not in protobuf"));
    }
}
