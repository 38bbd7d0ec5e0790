//! The deletions that retention refuses, in words.

use std::collections::BTreeMap;

use super::Keep;

/// The largest number of runs with the same reason that are listed one by one.
const LISTED_MAX: usize = 10;

/// Collects the runs that are too old and stay. Of many with the same reason, only the first are listed, and the others
/// are counted, since a report is written after every run.
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
        if *stay <= LISTED_MAX {
            self.lines.push(format!("{what}: {why}"));
        }
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        let Self { mut lines, stay } = self;
        let more = stay.into_iter().filter(|(_, stay)| *stay > LISTED_MAX);
        lines.extend(more.map(|(why, stay)| format!("{} past their time stay: {why}", more_runs(stay - LISTED_MAX))));
        lines
    }
}

fn more_runs(count: usize) -> String {
    format!("{count} more {}", if count == 1 { "run" } else { "runs" })
}
