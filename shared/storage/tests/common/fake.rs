//! An S3 server that answers as a test says: for the mistakes that real servers make too seldom.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn is_conditional(&self) -> bool {
        self.headers.contains("if-none-match: *")
    }
}

/// An answer. `declared` is the length that the answer claims, if it is not that of the body.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    pub declared: Option<usize>,
    /// Close the connection without any answer.
    pub hang_up: bool,
}

pub fn status(status: u16) -> Answer {
    Answer {
        status,
        body: Vec::new(),
        declared: None,
        hang_up: false,
    }
}

pub fn hang_up() -> Answer {
    Answer {
        hang_up: true,
        ..status(500)
    }
}

pub struct Fake {
    pub port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Fake {
    /// `answer` gets each request and its number, from 0.
    pub async fn start(answer: impl FnMut(usize, &Request) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(Mutex::new(answer));
        let requests = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let requests = Arc::clone(&requests);
                let answer = Arc::clone(&answer);
                tokio::spawn(async move {
                    while let Some(request) = read_request(&mut stream).await {
                        let answer = {
                            let mut requests = requests.lock().unwrap();
                            let number = requests.len();
                            requests.push(request.clone());
                            (answer.lock().unwrap())(number, &request)
                        };
                        if answer.hang_up || !send(&mut stream, &request, &answer).await {
                            break;
                        }
                    }
                });
            }
        });
        Self { port, seen, task }
    }

    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// Returns the number of requests of this method.
    pub fn count(&self, method: &str) -> usize {
        self.seen().iter().filter(|request| request.method == method).count()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let (line, headers) = text.split_once("\r\n").unwrap();
    let mut words = line.split(' ');
    let length = headers
        .lines()
        .find_map(|header| header.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request {
        method: words.next().unwrap().to_ascii_uppercase(),
        target: words.next().unwrap().to_owned(),
        headers: headers.to_owned(),
        body,
    })
}

/// Sends an answer. Returns true if the connection can go on.
async fn send(stream: &mut TcpStream, request: &Request, answer: &Answer) -> bool {
    let declared = answer.declared.unwrap_or(answer.body.len());
    let head = format!(
        "HTTP/1.1 {} X\r\nContent-Length: {declared}\r\nETag: \"x\"\r\n\
         Last-Modified: Tue, 24 Nov 2026 02:00:00 GMT\r\n\r\n",
        answer.status
    );
    stream.write_all(head.as_bytes()).await.ok();
    if request.method != "HEAD" {
        stream.write_all(&answer.body).await.ok();
    }
    stream.flush().await.ok();
    request.method == "HEAD" || declared == answer.body.len()
}
