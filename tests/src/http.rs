//! A minimal HTTP client, for the S3 server and for `/metrics`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// An answer to a request.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl Response {
    /// Returns the body as text. Bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends a request to a port of 127.0.0.1, and reads the whole answer. `path` must be percent-encoded already.
///
/// # Errors
/// If the server does not answer within 30 seconds, or the answer is not HTTP.
pub fn request(port: u16, method: &str, path: &str, body: &[u8]) -> Result<Response> {
    send(port, method, path, "", body)
}

/// Sends a request as [`request`] does, with additional header fields, each ended by `\r\n`.
///
/// # Errors
/// As [`request`].
pub fn send(port: u16, method: &str, path: &str, fields: &str, body: &[u8]) -> Result<Response> {
    let mut stream =
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("connect to port {port}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    // With HTTP/1.0 the answer ends with the connection.
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {}\r\n{fields}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("read the answer")?;
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .context("an answer without a head")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split_whitespace().nth(1).context("an answer without a status")?;
    Ok(Response {
        status: status.parse()?,
        body: answer.split_off(end + 4),
    })
}
