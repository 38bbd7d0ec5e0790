//! A real S3 server for tests.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::http;
use crate::postgres::percent_encoded;
use crate::process::Process;
use crate::tools;

/// Long, since the first start on a machine installs the server.
const START: Duration = Duration::from_secs(300);

/// A key id for requests. Any would do, since the server checks no signatures.
pub const ACCESS_KEY_ID: &str = "AKIAHOLDFASTTESTS";
/// The key that belongs to [`ACCESS_KEY_ID`]. A test may search for it in places where it must not be.
pub const SECRET_ACCESS_KEY: &str = "secret-key-that-must-not-be-printed";

/// The header that names a user: the server does not let anonymous users read, and believes any name.
const AUTHORIZATION: &str = "Authorization: AWS4-HMAC-SHA256 Credential=AKIAHOLDFASTTESTS/20261124/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\n";

/// An S3 server on a free port of 127.0.0.1, which keeps its objects in memory.
#[derive(Debug)]
pub struct Server {
    port: u16,
    _process: Process,
}

impl Server {
    /// Starts a server.
    ///
    /// # Errors
    /// If the server does not report its port in time.
    pub fn start() -> Result<Self> {
        let mut command = Command::new(tools::s3_server());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = Process::spawn("the S3 server", &mut command)?;
        let stdout = process.take_stdout().context("the S3 server has no output")?;
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(port) = line.strip_prefix("listening ") {
                    let _ = sender.send(port.trim().to_owned());
                }
            }
        });
        let port = receiver.recv_timeout(START).context("the S3 server did not start")?;
        Ok(Self {
            port: port.parse()?,
            _process: process,
        })
    }

    /// Returns the port that the server listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Creates a bucket.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn create_bucket(&self, bucket: &str) -> Result<()> {
        self.call("PUT", &format!("/{bucket}"), b"")?;
        Ok(())
    }

    /// Returns the keys in a bucket, sorted.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn keys(&self, bucket: &str) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut more = String::new();
        loop {
            let page = self.call("GET", &format!("/{bucket}?list-type=2{more}"), b"")?.text();
            keys.extend(elements(&page, "Key"));
            match elements(&page, "NextContinuationToken").first() {
                Some(token) => more = format!("&continuation-token={}", percent_encoded(token)),
                None => break,
            }
        }
        keys.sort();
        Ok(keys)
    }

    /// Returns an object's bytes.
    ///
    /// # Errors
    /// If there is no such object.
    pub fn get(&self, bucket: &str, key: &str) -> Result<Vec<u8>> {
        Ok(self.call("GET", &path(bucket, key), b"")?.body)
    }

    /// Writes an object, and replaces any that is there.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn put(&self, bucket: &str, key: &str, bytes: &[u8]) -> Result<()> {
        self.call("PUT", &path(bucket, key), bytes)?;
        Ok(())
    }

    /// Removes an object.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn delete(&self, bucket: &str, key: &str) -> Result<()> {
        self.call("DELETE", &path(bucket, key), b"")?;
        Ok(())
    }

    fn call(&self, method: &str, path: &str, body: &[u8]) -> Result<http::Response> {
        let response = http::send(self.port, method, path, AUTHORIZATION, body)?;
        ensure!(
            (200..300).contains(&response.status),
            "{method} {path}: {} {}",
            response.status,
            response.text()
        );
        Ok(response)
    }
}

fn path(bucket: &str, key: &str) -> String {
    let key: Vec<String> = key.split('/').map(percent_encoded).collect();
    format!("/{bucket}/{}", key.join("/"))
}

/// Returns the texts of an XML element without attributes. Keys of this format contain no characters that XML escapes,
/// except `&`.
fn elements(xml: &str, name: &str) -> Vec<String> {
    let open = format!("<{name}>");
    let close = format!("</{name}>");
    let texts = xml.split(&open).skip(1).filter_map(|rest| rest.split(&close).next());
    texts.map(|text| text.replace("&amp;", "&")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn objects_are_kept_through_a_proxy_too() {
        let server = Server::start().unwrap();
        server.create_bucket("bucket").unwrap();
        server.put("bucket", "a/b c&d", b"text").unwrap();
        assert_eq!(server.keys("bucket").unwrap(), ["a/b c&d"]);
        let proxy = crate::proxy::Proxy::http(server.port()).unwrap();
        let answer = http::send(proxy.port(), "GET", "/bucket/a/b%20c%26d", AUTHORIZATION, b"").unwrap();
        assert_eq!(answer.text(), "text");
        server.delete("bucket", "a/b c&d").unwrap();
        assert!(server.get("bucket", "a/b c&d").is_err());
    }
}
