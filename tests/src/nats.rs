//! Real NATS servers, and enough of a client to misuse them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::process::{Process, Signal, free_port};
use crate::{tools, wait_until};

/// The number of attempts to start, since another process may take the port meanwhile.
const ATTEMPTS: u32 = 5;

/// A `nats-server` with JetStream, on a port of 127.0.0.1 that it keeps when it is restarted.
#[derive(Debug)]
pub struct Server {
    binary: PathBuf,
    port: u16,
    /// The part of the configuration that makes the server a node of a cluster; empty for a single server.
    cluster: String,
    process: Option<Process>,
    dir: TempDir,
}

impl Server {
    /// Starts a server with an empty store.
    ///
    /// # Errors
    /// If there is no `nats-server`, or it does not start. The error has its log.
    pub fn start() -> Result<Self> {
        Self::start_as(String::new())
    }

    /// Starts the nodes of a cluster, named `n0`, `n1` and so on, and waits until they have a leader.
    ///
    /// # Errors
    /// As [`Server::start`], or if the nodes do not find each other.
    pub fn cluster(nodes: usize) -> Result<Vec<Self>> {
        let ports: Vec<u16> = (0..nodes).map(|_| free_port()).collect::<Result<_>>()?;
        let routes: Vec<String> = ports
            .iter()
            .map(|port| format!("\"nats://127.0.0.1:{port}\""))
            .collect();
        let start = |(number, port): (usize, &u16)| {
            Self::start_as(format!(
                "server_name: n{number}\ncluster {{\n  name: tests\n  listen: \"127.0.0.1:{port}\"\n  routes: [{}]\n}}\n",
                routes.join(", ")
            ))
        };
        let servers: Vec<Self> = ports.iter().enumerate().map(start).collect::<Result<_>>()?;
        wait_until("the cluster has a leader", Duration::from_secs(60), || {
            let answers = |server: &Self| server.client()?.jetstream("INFO", &serde_json::Value::Null);
            Ok(servers.iter().all(|server| answers(server).is_ok()))
        })?;
        Ok(servers)
    }

    fn start_as(cluster: String) -> Result<Self> {
        let mut server = Self {
            binary: tools::nats_server()?,
            port: 0,
            cluster,
            process: None,
            dir: tempfile::Builder::new().prefix("hf-nats-").tempdir()?,
        };
        server.restart()?;
        Ok(server)
    }

    /// Returns the port that the server listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the server's address, for `nats.url`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Starts the server again, after [`Server::kill`] or [`Server::stop`].
    ///
    /// # Errors
    /// If the server is running, or does not start. The error has its log.
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "nats-server is running already");
        for _ in 0..ATTEMPTS {
            let fresh = self.port == 0;
            if fresh {
                self.port = free_port()?;
            }
            let mut process = self.spawn()?;
            let answers = wait_until("nats-server answers", Duration::from_secs(30), || {
                Ok(process.ended()?.is_some() || self.client().is_ok_and(|client| client.has_jetstream()))
            });
            if answers.is_ok() && process.ended()?.is_none() {
                self.process = Some(process);
                return Ok(());
            }
            let log = std::fs::read_to_string(self.log_file()).unwrap_or_default();
            if !(fresh && log.contains("address already in use")) {
                bail!("nats-server did not start: {log}");
            }
            self.port = 0;
        }
        bail!("nats-server found no free port in {ATTEMPTS} attempts")
    }

    fn spawn(&self) -> Result<Process> {
        let config = self.dir.path().join("nats.conf");
        let text = format!(
            "listen: \"127.0.0.1:{}\"\njetstream {{\n  store_dir: \"{}\"\n  sync_interval: always\n}}\n{}",
            self.port,
            self.dir.path().join("store").display(),
            self.cluster
        );
        std::fs::write(&config, text)?;
        let log = std::fs::File::create(self.log_file())?;
        let mut command = Command::new(&self.binary);
        command.arg("-c").arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Process::spawn("nats-server", &mut command)
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }

    /// Kills the server by SIGKILL.
    pub fn kill(&mut self) {
        drop(self.process.take());
    }

    /// Stops the server as its operator would.
    ///
    /// # Errors
    /// If the server had to be killed.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.stop(Signal::TERM, Duration::from_secs(30))?;
        }
        Ok(())
    }

    /// Removes everything that the server has stored. The server must not be running.
    ///
    /// # Errors
    /// If the server is running, or the files cannot be removed.
    pub fn wipe(&self) -> Result<()> {
        ensure!(self.process.is_none(), "nats-server is running");
        let store = self.dir.path().join("store");
        if store.exists() {
            std::fs::remove_dir_all(&store).context("remove the store of nats-server")?;
        }
        Ok(())
    }

    /// Freezes the server: connections stay open, and nothing answers.
    ///
    /// # Errors
    /// If the server is not running.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Continues the server after [`Server::pause`].
    ///
    /// # Errors
    /// If the server is not running.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process.as_ref().context("nats-server is not running")?;
        process.signal(signal)
    }

    /// Connects a client to the server.
    ///
    /// # Errors
    /// If the port does not answer like a NATS server.
    pub fn client(&self) -> Result<Client> {
        Client::connect(self.port)
    }
}

/// A connection that publishes raw bytes, to send what no well-behaved program would.
#[derive(Debug)]
pub struct Client {
    info: serde_json::Value,
    stream: BufReader<TcpStream>,
    requests: u64,
}

impl Client {
    /// Connects to a server on 127.0.0.1.
    ///
    /// # Errors
    /// If the port does not answer like a NATS server.
    pub fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect to nats-server")?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut client = Self {
            info: serde_json::Value::Null,
            stream: BufReader::new(stream),
            requests: 0,
        };
        let line = client.line()?;
        let info = line
            .strip_prefix("INFO ")
            .context("nats-server did not introduce itself")?;
        client.info = serde_json::from_str(info)?;
        client.send(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"name\":\"holdfast-tests\",\"lang\":\"none\",\"version\":\"0\",\"headers\":true,\"no_responders\":true}\r\n")?;
        client.settle()?;
        Ok(client)
    }

    /// True if the server has JetStream.
    #[must_use]
    pub fn has_jetstream(&self) -> bool {
        self.info["jetstream"] == true
    }

    /// Publishes a message, and waits until the server has read it.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn publish(&mut self, subject: &str, payload: &[u8]) -> Result<()> {
        self.send(format!("PUB {subject} {}\r\n", payload.len()).as_bytes())?;
        self.send(payload)?;
        self.send(b"\r\n")?;
        self.settle()
    }

    /// Publishes a request, and returns the payload of the first answer.
    ///
    /// # Errors
    /// If no answer comes within ten seconds.
    pub fn request(&mut self, subject: &str, payload: &[u8]) -> Result<Vec<u8>> {
        self.requests += 1;
        let inbox = format!("_INBOX.tests.{}", self.requests);
        let sid = self.requests;
        self.send(format!("SUB {inbox} {sid}\r\nUNSUB {sid} 1\r\n").as_bytes())?;
        self.send(format!("PUB {subject} {inbox} {}\r\n", payload.len()).as_bytes())?;
        self.send(payload)?;
        self.send(b"\r\n")?;
        loop {
            let line = self.line()?;
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.first() {
                Some(&"MSG") => {
                    let mut body = self.body(words.last())?;
                    body.truncate(body.len().saturating_sub(2));
                    return Ok(body);
                }
                // A message with headers and without a body is the server's answer if nothing listens at the subject.
                Some(&"HMSG") => bail!("nobody answered at {subject}"),
                Some(&"PING") => self.send(b"PONG\r\n")?,
                Some(&"-ERR") => bail!("nats-server says {line}"),
                _ => {}
            }
        }
    }

    /// Sends a request to JetStream's API, and returns the answer.
    ///
    /// # Errors
    /// If no answer comes, or the answer is an error.
    pub fn jetstream(&mut self, call: &str, payload: &serde_json::Value) -> Result<serde_json::Value> {
        let payload = if payload.is_null() {
            Vec::new()
        } else {
            serde_json::to_vec(payload)?
        };
        let answer = self.request(&format!("$JS.API.{call}"), &payload)?;
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        ensure!(answer["error"].is_null(), "{call}: {}", answer["error"]);
        Ok(answer)
    }

    fn body(&mut self, length: Option<&&str>) -> Result<Vec<u8>> {
        let length: usize = length.context("a message without a length")?.parse()?;
        let mut body = vec![0; length + 2];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    fn settle(&mut self) -> Result<()> {
        self.send(b"PING\r\n")?;
        loop {
            match self.line()?.as_str() {
                "PONG" => return Ok(()),
                "PING" => self.send(b"PONG\r\n")?,
                line if line.starts_with("-ERR") => bail!("nats-server says {line}"),
                _ => {}
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(bytes).context("write to nats-server")
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).context("read from nats-server")?;
        ensure!(read > 0, "nats-server closed the connection");
        Ok(line.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stream_outlives_a_kill_and_not_a_wipe() {
        let mut server = Server::start().unwrap();
        let port = server.port();
        let stream = json!({"name": "S", "subjects": ["s.>"], "storage": "file"});
        server.client().unwrap().jetstream("STREAM.CREATE.S", &stream).unwrap();
        server.client().unwrap().publish("s.one", b"text").unwrap();
        let stored = |server: &Server| {
            let info = server.client()?.jetstream("STREAM.INFO.S", &serde_json::Value::Null)?;
            info["state"]["messages"].as_u64().context("no count")
        };
        wait_until("it is stored", Duration::from_secs(10), || Ok(stored(&server)? == 1)).unwrap();
        server.kill();
        server.restart().unwrap();
        assert_eq!(server.port(), port);
        assert_eq!(stored(&server).unwrap(), 1);
        server.stop().unwrap();
        server.wipe().unwrap();
        server.restart().unwrap();
        assert!(stored(&server).is_err());
    }
}
