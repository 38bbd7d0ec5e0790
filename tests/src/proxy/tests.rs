#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::{Fault, Proxy, Rule, Way};
use crate::http::request;

/// Starts a server that answers every HTTP request with the body that it got, or with `hello`, by HTTP/1.0.
fn echo_http() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(stream));
        }
    });
    port
}

fn answer(mut stream: TcpStream) {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).unwrap_or(0);
        all.extend_from_slice(&buffer[..read]);
        let head = all.windows(4).position(|four| four == b"\r\n\r\n");
        let wanted = head.map(|head| {
            let text = String::from_utf8_lossy(&all[..head]).into_owned();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: ").map(str::to_owned));
            (
                head + 4,
                length.and_then(|length| length.parse::<usize>().ok()).unwrap_or(0),
            )
        });
        match wanted {
            Some((start, length)) if all.len() >= start + length => {
                let body = if length == 0 {
                    b"hello".to_vec()
                } else {
                    all[start..].to_vec()
                };
                let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(&[head.as_bytes(), &body].concat());
                return;
            }
            _ if read == 0 => return,
            _ => {}
        }
    }
}

/// Starts a server that sends back the bytes that it gets.
fn echo_tcp() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..read]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[test]
fn http_passes_as_it_is() {
    let proxy = Proxy::http(echo_http()).unwrap();
    assert_eq!(request(proxy.port(), "GET", "/a", b"").unwrap().text(), "hello");
    let long = vec![7; 300_000];
    assert_eq!(request(proxy.port(), "PUT", "/b?c", &long).unwrap().body, long);
    let seen: Vec<_> = proxy.seen().into_iter().map(|seen| (seen.method, seen.path)).collect();
    assert_eq!(seen, [("GET".into(), "/a".into()), ("PUT".into(), "/b?c".into())]);
}

#[test]
fn a_rule_befalls_what_it_names_as_often_as_it_says() {
    let proxy = Proxy::http(echo_http()).unwrap();
    proxy.set([Rule::new(Fault::Status(503)).method("PUT").path("/packs/").times(2)]);
    let status = |method: &str, path: &str| request(proxy.port(), method, path, b"x").unwrap().status;
    assert_eq!(status("GET", "/packs/1"), 200);
    assert_eq!(status("PUT", "/runs/1"), 200);
    assert_eq!(status("PUT", "/packs/1"), 503);
    assert_eq!(status("PUT", "/packs/1"), 503);
    assert_eq!(status("PUT", "/packs/1"), 200);
}

#[test]
fn a_flip_hits_one_bit_of_the_body() {
    let proxy = Proxy::http(echo_http()).unwrap();
    proxy.set([Rule::new(Fault::Flip(Way::Request, 1))]);
    assert_eq!(request(proxy.port(), "PUT", "/", b"abc").unwrap().body, b"acc");
    proxy.set([Rule::new(Fault::Flip(Way::Response, 99))]);
    assert_eq!(request(proxy.port(), "PUT", "/", b"abc").unwrap().body, b"abb");
    proxy.clear();
    assert_eq!(request(proxy.port(), "PUT", "/", b"abc").unwrap().body, b"abc");
}

#[test]
fn a_cut_answer_is_short_and_a_refused_one_is_none() {
    let proxy = Proxy::http(echo_http()).unwrap();
    proxy.set([Rule::new(Fault::Cut(Way::Response, 2))]);
    assert_eq!(request(proxy.port(), "GET", "/", b"").unwrap().body, b"he");
    proxy.set([Rule::new(Fault::Refuse)]);
    assert!(request(proxy.port(), "GET", "/", b"").is_err());
    proxy.set([Rule::new(Fault::StatusAfter(500))]);
    assert_eq!(request(proxy.port(), "GET", "/", b"").unwrap().status, 500);
}

#[test]
fn tcp_is_cut_flipped_and_slowed() {
    let proxy = Proxy::tcp(echo_tcp()).unwrap();
    let exchange = |bytes: &[u8]| {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut back = vec![0; bytes.len()];
        stream.read_exact(&mut back).map(|()| back)
    };
    assert_eq!(exchange(b"hello").unwrap(), b"hello");
    proxy.set([Rule::new(Fault::Flip(Way::Response, 0)).times(1)]);
    assert_eq!(exchange(b"hello").unwrap(), b"iello");
    assert_eq!(exchange(b"hello").unwrap(), b"hello");
    proxy.set([Rule::new(Fault::Cut(Way::Request, 3))]);
    assert!(exchange(b"hello").is_err());
    proxy.set([Rule::new(Fault::Slow(100))]);
    let start = Instant::now();
    assert_eq!(exchange(&[1; 20]).unwrap(), [1; 20]);
    assert!(start.elapsed() >= Duration::from_millis(400));
}
