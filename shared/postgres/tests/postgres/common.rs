//! Helpers that ask a server one question by the driver and by a program.

use std::process::Stdio;

use holdfast_config::Secret;
use holdfast_postgres::{Client, Ended, Ender, PgError, Programs, Running, Server};
use holdfast_tests::postgres::PASSWORD;
use tokio::runtime::Runtime;

pub(crate) fn runtime() -> Runtime {
    Runtime::new().unwrap()
}

/// The server of this address, with the password that every user of a test has.
pub(crate) fn server(url: &str) -> Server {
    Server::from_url(url, Some(Secret::new(PASSWORD))).unwrap()
}

/// Returns the driver's answer to a question.
pub(crate) fn by_driver(runtime: &Runtime, server: &Server, question: &str) -> Result<String, PgError> {
    runtime.block_on(async {
        let client = server.connect().await?;
        let row = client.query_one(question, &[]).await;
        row.map(|row| row.get(0)).map_err(server.query_error("ask"))
    })
}

/// Returns the answer of `psql` to a question.
pub(crate) fn by_program(server: &Server, question: &str) -> Result<String, String> {
    let program = Programs::in_dirs(&[]).find("psql", 10, None).unwrap();
    let mut command = program.command();
    command.args(["-X", "-A", "-t", "-w", "-c", question]);
    let files = server.lead(&mut command, "UTF8").map_err(|error| error.to_string())?;
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = Running::start(command, Some(files), &Ender::default()).unwrap();
    let said = std::io::read_to_string(running.stdout().unwrap()).unwrap();
    let Ended {
        status,
        said: complaint,
    } = running.finish().unwrap();
    if status.success() {
        Ok(said.trim().to_owned())
    } else {
        Err(complaint)
    }
}

/// Runs statements, one after the other.
pub(crate) async fn run(client: &Client, statements: &[&[u8]]) {
    for statement in statements {
        holdfast_postgres::sql::run(client, statement).await.unwrap();
    }
}
