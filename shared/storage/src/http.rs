//! A layer over the HTTP client. It adds patience that grows with a request's size, conditional completion of multipart
//! uploads, and an end to retries of what will never work.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use object_store::HeaderValue;
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};

/// A link slower than this many bytes a second counts as broken. A time limit for the whole request, as the client
/// has, would fail every pack on a slow line; a limit between reads runs while a body is sent, and would do the same.
const SLOWEST: u64 = 16 << 10;

/// A final answer that the client library would take for a passing one, or would not name.
#[derive(Debug)]
pub(crate) struct HttpStatus {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl fmt::Display for HttpStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP status {}: {}", self.status, self.text)
    }
}

impl std::error::Error for HttpStatus {}

#[derive(Debug)]
struct Silence(Duration);

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer within {} s", self.0.as_secs())
    }
}

impl std::error::Error for Silence {}

/// Connects through [`Service`].
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) timeout: Duration,
    pub(crate) conditional: Arc<AtomicBool>,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service {
            inner: ReqwestConnector::default().connect(options)?,
            timeout: self.timeout,
            conditional: Arc::clone(&self.conditional),
        }))
    }
}

#[derive(Debug)]
struct Service {
    inner: HttpClient,
    timeout: Duration,
    conditional: Arc<AtomicBool>,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // The library sends no condition with the request that makes a multipart upload an object. The header needs no
        // signature, so it can be added here.
        if self.conditional.load(Ordering::Relaxed) && completes_upload(&request) {
            request
                .headers_mut()
                .insert("if-none-match", HeaderValue::from_static("*"));
        }
        let listing = request.method().as_str() == "GET" && query(&request).contains("list-type=2");
        let patience = self.timeout + Duration::from_secs(request.body().content_length() as u64 / SLOWEST);
        let response = within(patience, self.inner.execute(request)).await?;
        let status = response.status().as_u16();
        if is_left_to_the_library(status, listing) {
            return Ok(response);
        }
        let body = within(self.timeout, response.into_body().bytes()).await?;
        let text = String::from_utf8_lossy(&body).into_owned();
        Err(HttpError::new(HttpErrorKind::Unknown, HttpStatus { status, text }))
    }
}

async fn within<T>(patience: Duration, what: impl Future<Output = Result<T, HttpError>>) -> Result<T, HttpError> {
    match tokio::time::timeout(patience, what).await {
        Ok(result) => result,
        Err(_) => Err(HttpError::new(HttpErrorKind::Timeout, Silence(patience))),
    }
}

fn query(request: &HttpRequest) -> &str {
    request.uri().query().unwrap_or_default()
}

fn completes_upload(request: &HttpRequest) -> bool {
    request.method().as_str() == "POST" && query(request).contains("uploadId=")
}

/// Tells whether an answer goes to the client library as it is: success, answers that the library gives a name to, and
/// those that it retries with good reason. 501 and 507 are not among them: the library would retry those as well.
fn is_left_to_the_library(status: u16, listing: bool) -> bool {
    match status {
        401 | 403 | 404 => !listing,
        200..=299 | 304 | 408 | 409 | 412 | 429 | 500 | 502 | 503 | 504 => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hopeless_answers_are_not_retried() {
        for status in [501, 507, 400, 301] {
            assert!(!is_left_to_the_library(status, false), "{status}");
        }
        for status in [200, 404, 403, 500, 503, 429] {
            assert!(is_left_to_the_library(status, false), "{status}");
        }
        assert!(!is_left_to_the_library(403, true));
    }
}
