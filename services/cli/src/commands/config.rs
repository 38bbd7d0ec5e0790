//! `holdfast config`: checks or shows the configuration.

use clap::{Args, Subcommand};
use holdfast_config::{SecretSection, Settings};
use holdfast_events::Refusal;
use holdfast_format::{AskedBy, Class, Reason};
use holdfast_scheduler::{Known, Schedule, Start, expect, new_run_id, trigger_of};
use serde::Serialize;

use crate::output::Output;
use crate::{CliError, Exit, Global, checks, human};

/// Commands of `config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read the configuration, its secrets and keys, and report every fault.
    Check(CheckArgs),
    /// Print the configuration in force, with defaults and environment; secrets are shown as ***.
    Show(ShowArgs),
}

/// Arguments of `config check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `config show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Default, Serialize)]
struct Report {
    /// The file that was read.
    file: Option<String>,
    good: bool,
    faults: Vec<Fault>,
}

#[derive(Serialize)]
struct Fault {
    file: String,
    line: Option<usize>,
    key: String,
    rule: String,
}

pub(crate) fn run(global: &Global, command: &ConfigCommand) -> Result<Exit, CliError> {
    match command {
        ConfigCommand::Check(args) => Ok(check(global, Output::new(args.json))),
        ConfigCommand::Show(args) => {
            let path = Settings::find(global.config.as_deref())?;
            let settings = Settings::load(&path, &Settings::environment())?;
            Output::new(args.json).print(&settings, |_| settings.to_toml());
            Ok(Exit::Good)
        }
    }
}

fn check(global: &Global, out: Output) -> Exit {
    let report = report(global);
    let exit = if report.good { Exit::Good } else { Exit::Usage };
    out.print(&report, |_| text(&report));
    exit
}

/// Returns the text that `config check` prints about this file.
#[cfg(test)]
pub(crate) fn checked(path: Option<&std::path::Path>) -> String {
    let global = Global {
        config: path.map(std::path::Path::to_owned),
        ..Global::default()
    };
    text(&report(&global))
}

fn report(global: &Global) -> Report {
    let path = match Settings::find(global.config.as_deref()) {
        Ok(path) => path,
        Err(error) => {
            return Report {
                faults: faults(error),
                ..Report::default()
            };
        }
    };
    let file = path.display().to_string();
    let faults = match Settings::load_for(&path, &Settings::environment(), SecretSection::ALL) {
        Ok(settings) => beyond_sections(&file, &settings),
        Err(error) => faults(error),
    };
    Report {
        good: faults.is_empty(),
        file: Some(file),
        faults,
    }
}

fn faults(error: holdfast_config::ConfigError) -> Vec<Fault> {
    let fault = |f: holdfast_config::Fault| Fault {
        file: f.file,
        line: f.line,
        key: f.key,
        rule: f.rule,
    };
    error.faults.into_iter().map(fault).collect()
}

/// Finds the faults that the configuration's own rules cannot tell: in cron expressions, and in the keys in the files that it names.
fn beyond_sections(file: &str, settings: &Settings) -> Vec<Fault> {
    let fault = |(key, rule): (String, String)| Fault {
        file: file.to_owned(),
        line: None,
        key,
        rule,
    };
    schedule_faults(settings)
        .into_iter()
        .chain(checks::keys::faults(settings))
        .map(fault)
        .collect()
}

/// Schedules whose expression, time zone or request is not good: key and rule.
pub(crate) fn schedule_faults(settings: &Settings) -> Vec<(String, String)> {
    let check = |(index, schedule): (usize, &holdfast_config::Schedule)| {
        if let Err(error) = Schedule::of(schedule) {
            let rule = holdfast_fault::chain(&error).to_string();
            return Some((format!("schedule[{index}].cron"), rule));
        }
        let rule = refusal(settings, schedule)?;
        Some((format!("schedule[{index}]"), rule))
    };
    settings.schedule.iter().enumerate().filter_map(check).collect()
}

/// Returns the reason why the runs of a schedule would be refused.
fn refusal(settings: &Settings, schedule: &holdfast_config::Schedule) -> Option<String> {
    let trigger = trigger_of(schedule);
    let known = Known::of(settings);
    let now = jiff::Timestamp::now();
    let start = Start {
        run: new_run_id(now),
        now,
        reason: Reason::Manual,
        requester: AskedBy::Schedule(schedule.name.clone()),
        class: Class::Daily,
    };
    match expect(&trigger, &known, start) {
        Err(Refusal::Invalid(rule)) => Some(rule),
        _ => None,
    }
}

fn text(report: &Report) -> String {
    if report.good {
        return format!("{}: good\n", report.file.as_deref().unwrap_or_default());
    }
    let count = human::count(report.faults.len() as u64, "fault");
    let mut text = format!("{count}:\n");
    for fault in &report.faults {
        let line = fault.line.map(|line| format!(":{line}")).unwrap_or_default();
        let key = if fault.key.is_empty() {
            String::new()
        } else {
            format!(" {}:", fault.key)
        };
        text.push_str(&format!("  {}{line}:{key} {}\n", fault.file, human::shown(&fault.rule)));
    }
    text
}
