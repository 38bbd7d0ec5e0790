//! `holdfast rebuild`: the state in NATS, made again from the repository.

use std::collections::HashSet;

use clap::Args;
use holdfast_config::SecretSection;
use holdfast_service::{Context, Reconciler, bus_options, proven_facts, unfinished};
use holdfast_session::open_staging;
use serde::Serialize;

use crate::assembly::stages;
use crate::logs::Logs;
use crate::output::Output;
use crate::{CliError, Exit, Global, access, human};

/// Arguments of `rebuild`.
#[derive(Debug, Args)]
pub(crate) struct RebuildArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Serialize)]
struct Report {
    runs: Vec<holdfast_format::RunId>,
    facts: usize,
    works: usize,
}

/// Tells the facts that the repository proves about unfinished runs, and asks for the work of this site that they lack.
/// Services do the same at their start and every minute; this does it now.
pub(crate) async fn run(global: &Global, args: &RebuildArgs) -> Result<Exit, CliError> {
    let settings = access::load(global, SecretSection::ALL)?;
    let logs = Logs::start(global, Some(&settings), None)?;
    let Some(url) = settings.nats.url.clone() else {
        return Err(CliError::Usage(
            "nats.url is not set: a private server's state is made again by `holdfast up` or `holdfast run` at their start"
                .to_owned(),
        ));
    };
    let cx = Context::open(settings.clone(), &bus_options(&settings, url.as_str(), "holdfast-cli")).await?;
    let mut runs = Vec::new();
    let mut facts = 0;
    for run in unfinished(&cx, &mut HashSet::new()).await? {
        if let Some(found) = proven_facts(&cx.catalogue, run).await? {
            cx.bus.publish_facts(&found.facts).await?;
            facts += found.facts.len();
            runs.push(run);
        }
    }
    let staging = open_staging(&settings)?;
    let stages = stages(&cx, staging).await?;
    let works = Reconciler::new(cx.clone(), stages).once().await?;
    let report = Report { runs, facts, works };
    Output::new(args.json).print(&report, |_| {
        let runs = human::count(report.runs.len() as u64, "unfinished run");
        let facts = human::count(facts as u64, "fact");
        format!(
            "{runs}: {facts} told again, {} asked for\n",
            human::count(works as u64, "job")
        )
    });
    logs.end().await;
    Ok(Exit::Good)
}
