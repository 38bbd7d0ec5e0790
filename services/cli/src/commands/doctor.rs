//! `holdfast doctor`: whether everything that a backup needs is there and works.

use clap::Args;
use holdfast_config::SecretSection;
use serde::Serialize;

use crate::checks::{self, Check};
use crate::logs::Logs;
use crate::output::Output;
use crate::{CliError, Exit, Global, access};

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Serialize)]
struct Report {
    good: bool,
    checks: Vec<Check>,
}

/// Looks at configuration, keys, places, sources and this host. Writes nothing but a probe that it removes.
pub(crate) async fn run(global: &Global, args: &DoctorArgs) -> Result<Exit, CliError> {
    let settings = access::load(global, SecretSection::ALL)?;
    let _logs = Logs::start(global, Some(&settings), None)?;
    let mut all = vec![Check::ok("configuration", format!("site {}", settings.site))];
    all.extend(
        super::config::schedule_faults(&settings)
            .into_iter()
            .map(|(key, rule)| Check::fail(key, rule, "")),
    );
    all.extend(checks::keys::all(&settings));
    all.extend(checks::host::all(&settings).await);
    all.extend(checks::places::all(&settings).await);
    all.extend(checks::sources::all(&settings).await);
    let report = Report {
        good: checks::is_good(&all),
        checks: all,
    };
    Output::new(args.json).print(&report, |out| checks::text(out, &report.checks));
    Ok(Exit::good_if(report.good))
}
