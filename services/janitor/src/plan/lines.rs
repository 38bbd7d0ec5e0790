//! Prints a plan.

use std::fmt;

use super::{Described, Removal, RetentionPlan};

impl RetentionPlan {
    /// Returns the plan as lines of text for people. The same plan gives the same lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("retention at {}, {}", self.place, self.at)];
        lines.extend(self.keep.iter().map(|(run, why)| format!("keep     {run}: {why}")));
        lines.extend(self.finish.iter().map(|r| removal("finish   ", r)));
        lines.extend(self.expire.iter().map(|r| removal("give up  ", r)));
        lines.extend(
            self.spare
                .iter()
                .map(|(pack, why)| format!("spare    pack {pack}: {why}")),
        );
        lines.extend(packs(
            "condemn  ",
            &self.condemn,
            "no manifest names them; they go after the grace",
        ));
        lines.extend(packs(
            "delete   ",
            &self.delete_packs,
            "condemned, and the grace is over",
        ));
        if !self.waiting.is_empty() {
            let count = self.waiting.len();
            lines.push(format!(
                "wait     {}: a run that began before they were condemned goes on",
                counted(count, "pack")
            ));
        }
        lines.extend(
            self.forget
                .iter()
                .map(|run| format!("forget   tombstone of run {run}: nothing is left of it")),
        );
        let orphan = |id| format!("orphan   artefact {id}: its run has no record here; it stays");
        lines.extend(self.orphans.iter().map(orphan));
        lines.extend(self.refused.iter().map(|why| format!("refused  {why}")));
        lines.push(self.summary());
        lines
    }

    fn summary(&self) -> String {
        if self.is_idle() {
            return "nothing is to be done".to_owned();
        }
        let removed = self.finish.iter().chain(&self.expire).flat_map(|r| &r.objects);
        let (objects, bytes) = removed.fold((0, 0u64), |(n, bytes), o| (n + 1, bytes.saturating_add(o.size)));
        let packs = bytes_of(&self.delete_packs);
        let deleted = counted(objects + self.delete_packs.len(), "object");
        format!(
            "{deleted} would be deleted, {} bytes freed",
            bytes.saturating_add(packs)
        )
    }
}

impl fmt::Display for RetentionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines() {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} of {} ({}", self.run, self.started, self.class)?;
        match &self.label {
            Some(label) => write!(f, ", {label:?})"),
            None => f.write_str(")"),
        }
    }
}

fn removal(verb: &str, removal: &Removal) -> String {
    let objects = counted(removal.objects.len(), "object");
    let artefacts = counted(removal.artefacts.len(), "artefact");
    format!("{verb}{}: {}; {artefacts}, {objects}", removal.run, removal.rule)
}

fn packs(verb: &str, packs: &super::PackSizes, why: &str) -> Option<String> {
    let bytes = bytes_of(packs);
    (!packs.is_empty()).then(|| format!("{verb}{}, {bytes} bytes: {why}", counted(packs.len(), "pack")))
}

fn bytes_of(packs: &super::PackSizes) -> u64 {
    packs.iter().fold(0, |sum, (_, size)| sum.saturating_add(*size))
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
