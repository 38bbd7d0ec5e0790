//! Forwards HTTP/1, request by request.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::relay::{Meddler, exactly, until_end};
use super::{Fault, Shared, Way};

/// The longest head that is read, in bytes; longer than any that Holdfast's client sends.
const LONGEST_HEAD: usize = 64 * 1024;

/// The ways in which a message's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Length(u64),
    Chunked,
    /// The body ends with the connection.
    UntilEnd,
}

/// The first line and the fields of a request or answer.
#[derive(Debug)]
struct Head {
    bytes: Vec<u8>,
    first: String,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
}

impl Head {
    /// Reads a head. `None` if the connection ended before one began.
    async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Self>> {
        let mut bytes = Vec::new();
        loop {
            let before = bytes.len();
            if from.read_until(b'\n', &mut bytes).await? == 0 {
                return if before == 0 {
                    Ok(None)
                } else {
                    Err(ErrorKind::UnexpectedEof.into())
                };
            }
            if matches!(&bytes[before..], b"\r\n" | b"\n") {
                return Ok(Some(Self::parse(bytes)));
            }
            if bytes.len() > LONGEST_HEAD {
                return Err(Error::new(ErrorKind::InvalidData, "the head is too long"));
            }
        }
    }

    fn parse(bytes: Vec<u8>) -> Self {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default().to_owned();
        let field = |wanted: &str| {
            let mut fields = lines.clone().filter_map(|line| line.split_once(':'));
            let found = fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.trim().to_ascii_lowercase())
        };
        let connection = field("connection").unwrap_or_default();
        Self {
            length: field("content-length").and_then(|value| value.parse().ok()),
            chunked: field("transfer-encoding").is_some_and(|value| value.contains("chunked")),
            close: connection.contains("close") || (first.contains("HTTP/1.0") && !connection.contains("keep-alive")),
            keep_alive: connection.contains("keep-alive"),
            expects_continue: field("expect").is_some_and(|value| value == "100-continue"),
            bytes,
            first,
        }
    }

    fn word(&self, index: usize) -> &str {
        self.first.split_whitespace().nth(index).unwrap_or_default()
    }

    fn request_body(&self) -> Body {
        if self.chunked {
            Body::Chunked
        } else {
            Body::Length(self.length.unwrap_or(0))
        }
    }

    /// Returns the kind of body of this answer to a request of `method`.
    fn response_body(&self, method: &str) -> Body {
        let status = self.word(1);
        if method == "HEAD" || status.starts_with('1') || matches!(status, "204" | "304") {
            return Body::Length(0);
        }
        match (self.chunked, self.length) {
            (true, _) => Body::Chunked,
            (false, Some(length)) => Body::Length(length),
            (false, None) => Body::UntilEnd,
        }
    }
}

struct Upstream {
    from: BufReader<OwnedReadHalf>,
    to: OwnedWriteHalf,
}

impl Upstream {
    async fn connect(address: SocketAddr) -> Result<Self> {
        let (from, to) = TcpStream::connect(address).await?.into_split();
        Ok(Self {
            from: BufReader::new(from),
            to,
        })
    }
}

/// Serves one client's connection until it ends.
pub(super) async fn serve(client: TcpStream, upstream: SocketAddr, shared: &Shared) -> Result<()> {
    client.set_nodelay(true)?;
    let (from, mut to) = client.into_split();
    let mut from = BufReader::new(from);
    let mut server: Option<Upstream> = None;
    while let Some(head) = Head::read(&mut from).await? {
        if head.expects_continue {
            to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let method = head.word(0).to_owned();
        let path = head.word(1).to_owned();
        let fault = shared.decide(&method, &path);
        match fault {
            Some(Fault::Refuse) => return Ok(()),
            Some(Fault::Silence) => std::future::pending::<()>().await,
            Some(Fault::Status(status)) => {
                // The whole request is read first. Otherwise a client that is still sending would see a broken
                // connection.
                body(
                    &mut from,
                    &mut tokio::io::sink(),
                    head.request_body(),
                    None,
                    Way::Request,
                )
                .await?;
                refuse(&mut to, status).await?;
                if head.close {
                    return to.shutdown().await;
                }
                continue;
            }
            _ => {}
        }
        let mut connection = match server.take() {
            Some(connection) => connection,
            None => Upstream::connect(upstream).await?,
        };
        connection.to.write_all(&head.bytes).await?;
        body(&mut from, &mut connection.to, head.request_body(), fault, Way::Request).await?;
        let keep = answer(&mut connection, &mut to, &method, fault).await?;
        if !keep || head.close {
            return to.shutdown().await;
        }
        server = Some(connection);
    }
    Ok(())
}

/// Forwards the answer. Returns true if both connections may be used again.
async fn answer(server: &mut Upstream, to: &mut OwnedWriteHalf, method: &str, fault: Option<Fault>) -> Result<bool> {
    let head = loop {
        let head = Head::read(&mut server.from).await?.ok_or(ErrorKind::UnexpectedEof)?;
        if !head.word(1).starts_with('1') {
            break head;
        }
    };
    let kind = head.response_body(method);
    if let Some(Fault::StatusAfter(status)) = fault {
        body(&mut server.from, &mut tokio::io::sink(), kind, None, Way::Response).await?;
        refuse(to, status).await?;
        return Ok(false);
    }
    to.write_all(&head.bytes).await?;
    body(&mut server.from, to, kind, fault, Way::Response).await?;
    let keep = kind != Body::UntilEnd && (!head.close || head.keep_alive);
    Ok(keep)
}

/// Answers with an error in the form that S3 uses.
async fn refuse(to: &mut OwnedWriteHalf, status: u16) -> Result<()> {
    let code = match status {
        403 => "AccessDenied",
        404 => "NoSuchKey",
        409 => "ConditionalRequestConflict",
        412 => "PreconditionFailed",
        501 => "NotImplemented",
        503 => "SlowDown",
        507 => "InsufficientStorage",
        _ => "InternalError",
    };
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>said by the proxy</Message></Error>");
    let head = format!(
        "HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    to.write_all(head.as_bytes()).await?;
    to.write_all(body.as_bytes()).await
}

async fn body(
    from: &mut (impl AsyncBufRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    kind: Body,
    fault: Option<Fault>,
    way: Way,
) -> Result<()> {
    let meddler = Meddler::new(fault, way);
    match kind {
        Body::Length(length) => {
            exactly(from, to, length, &mut meddler.with_length(Some(length))).await?;
            to.flush().await
        }
        Body::Chunked => chunks(from, to, meddler).await,
        Body::UntilEnd => until_end(from, to, meddler).await,
    }
}

async fn chunks(
    from: &mut (impl AsyncBufRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut meddler: Meddler,
) -> Result<()> {
    loop {
        let mut line = Vec::new();
        from.read_until(b'\n', &mut line).await?;
        let text = String::from_utf8_lossy(&line);
        let digits = text.split(';').next().unwrap_or_default().trim();
        let length = u64::from_str_radix(digits, 16).map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
        to.write_all(&line).await?;
        if length == 0 {
            break;
        }
        exactly(from, to, length, &mut meddler).await?;
        let mut end = [0; 2];
        from.read_exact(&mut end).await?;
        to.write_all(&end).await?;
    }
    // The trailers, if there are any, and the empty line.
    loop {
        let mut line = Vec::new();
        let read = from.read_until(b'\n', &mut line).await?;
        to.write_all(&line).await?;
        if read == 0 || matches!(line.as_slice(), b"\r\n" | b"\n") {
            return to.flush().await;
        }
    }
}
