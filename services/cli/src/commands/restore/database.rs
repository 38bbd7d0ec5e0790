//! Databases and roles.

use std::path::PathBuf;

use clap::Args;
use holdfast_config::Secret;
use holdfast_format::ArtefactKind;
use holdfast_postgres::{PgError, Server};
use holdfast_restore::{
    ContainerError, DatabaseError, DatabaseOptions, GlobalsOptions, restore_database, restore_globals, try_database,
    try_globals,
};
use serde::Serialize;

use super::{Attended, Common, Opened, SourceArgs};
use crate::error::file_error;
use crate::output::Output;
use crate::{CliError, Exit, Global, human};

/// The server to restore into.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The server and database to restore into: postgres://user@host:port/database.
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
    /// A file with the user's password; else the variable PGPASSWORD. In --to, others on this host could see it.
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
}

impl ServerArgs {
    fn server(&self) -> Result<Server, CliError> {
        let password = match &self.password_file {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(file_error("read the password in", path))?;
                Some(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            None => std::env::var("PGPASSWORD").ok().filter(|password| !password.is_empty()),
        };
        let fault = |error: PgError| CliError::Usage(format!("--to: {}", holdfast_fault::chain(&error)));
        let server = Server::from_url(&self.to, None).map_err(fault)?;
        // A password in the URL is more particular than the environment's.
        Ok(match password {
            Some(password) if self.password_file.is_some() || !server.has_password() => {
                server.with_password(Secret::new(password))
            }
            _ => server,
        })
    }
}

/// Arguments of `restore database`.
#[derive(Debug, Args)]
pub(crate) struct DatabaseArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    server: ServerArgs,
    /// Make the database if it does not exist: with the encoding, locale, owner, privileges and settings that it had.
    #[arg(long)]
    create: bool,
    /// Restore into a database that is not empty: objects of the backup are replaced, others stay.
    #[arg(long)]
    overwrite: bool,
    /// Give everything to the connecting user and leave privileges out: for a server without the backup's roles.
    #[arg(long)]
    no_owner: bool,
}

/// Arguments of `restore globals`.
#[derive(Debug, Args)]
pub(crate) struct GlobalsArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    server: ServerArgs,
    /// Give roles that exist the captured attributes and passwords, too.
    #[arg(long)]
    overwrite: bool,
}

pub(crate) async fn run_database(global: &Global, args: &DatabaseArgs) -> Result<Exit, CliError> {
    let server = args.server.server()?;
    let opened = args.source.open(global, &[ArtefactKind::Database]).await?;
    let out = Output::new(args.source.json);
    let to = format!("{} of {}", server.database(), server.describe());
    let common = Common::new(&opened, to.clone(), args.source.dry_run);
    let options = DatabaseOptions {
        create: args.create,
        overwrite: args.overwrite,
        no_owner: args.no_owner,
        client_dirs: opened.client_dirs(),
        ..DatabaseOptions::default()
    };
    if args.source.dry_run {
        let tried = try_database(opened.artefact.clone(), &server, &options).await;
        tried.map_err(database_error)?;
        out.print(&common, |_| format!("would restore {} into {to}\n", opened.describe()));
        return Ok(Exit::Good);
    }
    eprintln!("restoring {} into {to}", opened.describe());
    let attended = Attended::whole(&opened);
    let restoring = restore_database(opened.artefact.clone(), &server, &options, attended.progress());
    let done = match Box::pin(restoring).await {
        Ok(done) => done,
        // A database that was made for it is removed again.
        Err(_) if attended.is_stopped() => {
            return Err(CliError::failed(
                "stopped: the transaction is rolled back, nothing was restored",
            ));
        }
        Err(error) => return Err(database_error(error)),
    };
    drop(attended);
    let report = DatabaseReport {
        common,
        created: done.created,
        warnings: done.warnings,
    };
    out.print(&report, |_| database_text(&report, &opened, &to));
    Ok(Exit::Good)
}

#[derive(Serialize)]
struct DatabaseReport {
    #[serde(flatten)]
    common: Common,
    /// True if the database was made.
    created: bool,
    /// Properties that could not be applied.
    warnings: Vec<String>,
}

fn database_text(report: &DatabaseReport, opened: &Opened, to: &str) -> String {
    let mut text = format!("restored {} into {to}\n", opened.describe());
    for warning in &report.warnings {
        text.push_str(&format!("warning: {}\n", human::shown(warning)));
    }
    if report.warnings.iter().any(|warning| names_missing_role(warning)) {
        text.push_str("roles come with `holdfast restore globals`; --no-owner leaves owner and privileges out\n");
    }
    text
}

/// True if the server said that a role is missing.
fn names_missing_role(said: &str) -> bool {
    said.contains("role \"") && said.contains("\" does not exist")
}

/// Says what to do about a container whose databases were not restored.
pub(crate) fn container_error(error: ContainerError) -> CliError {
    match error {
        ContainerError::Reach(error) => CliError::failed(holdfast_fault::chain(&error).to_string()),
        ContainerError::Server { source, .. } => server_error(*source),
        ContainerError::Restore { source, .. } => database_error(*source),
    }
}

fn server_error(error: PgError) -> CliError {
    match error {
        error if error.is_no_answer() => CliError::NoAnswer(holdfast_fault::chain(&error).to_string()),
        PgError::Address { .. } | PgError::NoService { .. } | PgError::File { .. } => {
            CliError::Usage(holdfast_fault::chain(&error).to_string())
        }
        error if error.is_denied() => CliError::Usage(holdfast_fault::chain(&error).to_string()),
        error @ (PgError::NoProgram { .. } | PgError::Run { .. }) => {
            CliError::because("the database was not restored", error)
        }
        error => CliError::because("the server cannot be used", error),
    }
}

fn database_error(error: DatabaseError) -> CliError {
    match error {
        DatabaseError::Postgres(error) => server_error(error),
        DatabaseError::NoDatabase { .. } => CliError::refused(error.to_string(), "add --create to have it made"),
        DatabaseError::OtherEncoding { .. } => CliError::refused(
            error.to_string(),
            "name a database that does not exist and add --create, which makes it with the encoding of the backup",
        ),
        DatabaseError::Restore { ref said, .. } if names_missing_role(said) => CliError::because(
            "the database was not restored: make the roles first with `holdfast restore globals`, or add --no-owner",
            error,
        ),
        error if error.is_refusal() => CliError::refused(
            error.to_string(),
            "name another database, or add --overwrite to replace what the backup holds",
        ),
        error => CliError::because("the database was not restored", error),
    }
}

#[derive(Serialize)]
struct GlobalsReport {
    #[serde(flatten)]
    common: Common,
    statements: u64,
    existing_roles: Vec<String>,
    failed: Vec<FailedStatement>,
}

#[derive(Serialize)]
struct FailedStatement {
    statement: String,
    reason: String,
}

pub(crate) async fn run_globals(global: &Global, args: &GlobalsArgs) -> Result<Exit, CliError> {
    let server = args.server.server()?;
    let opened = args.source.open(global, &[ArtefactKind::Globals]).await?;
    let out = Output::new(args.source.json);
    let to = server.describe();
    let common = Common::new(&opened, to.clone(), args.source.dry_run);
    if args.source.dry_run {
        let tried = try_globals(opened.artefact.clone(), &server).await;
        tried.map_err(database_error)?;
        out.print(&common, |_| format!("would restore {} into {to}\n", opened.describe()));
        return Ok(Exit::Good);
    }
    eprintln!("restoring {} into {to}", opened.describe());
    let done = restore_globals(
        opened.artefact.clone(),
        &server,
        GlobalsOptions {
            overwrite: args.overwrite,
        },
    )
    .await;
    let done = done.map_err(database_error)?;
    let failed = done
        .failed
        .into_iter()
        .map(|(statement, reason)| FailedStatement { statement, reason });
    let report = GlobalsReport {
        common,
        statements: done.done,
        existing_roles: done.existing,
        failed: failed.collect(),
    };
    out.print(&report, |_| globals_text(&report, &opened, args.overwrite));
    Ok(Exit::good_if(report.failed.is_empty()))
}

fn globals_text(report: &GlobalsReport, opened: &Opened, overwrite: bool) -> String {
    let mut text = format!(
        "restored {}: {} run\n",
        opened.describe(),
        human::count(report.statements, "statement")
    );
    if !report.existing_roles.is_empty() {
        let roles: Vec<String> = report.existing_roles.iter().map(|role| human::shown(role)).collect();
        let kept = if overwrite {
            "were there and have the captured attributes now"
        } else {
            "were there and stay as they are"
        };
        text.push_str(&format!("roles that {kept}: {}\n", roles.join(", ")));
    }
    for failed in &report.failed {
        text.push_str(&format!(
            "failed: {}: {}\n",
            human::shown(&failed.statement),
            human::shown(&failed.reason)
        ));
    }
    text
}
