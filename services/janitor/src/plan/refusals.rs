//! What retention would have done and did not, in words.

use std::collections::BTreeMap;

use super::Keep;

/// How many runs that stay for the same reason are told one by one.
const TOLD: usize = 10;

/// Collects the runs that are past their time and stay. Of many that stay for the same reason the first are told, and how
/// many more there are: a report is written after every run.
#[derive(Default)]
pub(super) struct Refusals {
    lines: Vec<String>,
    stay: BTreeMap<String, usize>,
}

impl Refusals {
    pub(super) fn add(&mut self, what: &str, why: &Keep) {
        let why = why.to_string();
        let stay = self.stay.entry(why.clone()).or_default();
        *stay += 1;
        if *stay <= TOLD {
            self.lines.push(format!("{what}: {why}"));
        }
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        let Self { mut lines, stay } = self;
        let more = stay.into_iter().filter(|(_, stay)| *stay > TOLD);
        lines.extend(more.map(|(why, stay)| format!("{} past their time stay: {why}", more_runs(stay - TOLD))));
        lines
    }
}

fn more_runs(count: usize) -> String {
    format!("{count} more {}", if count == 1 { "run" } else { "runs" })
}
