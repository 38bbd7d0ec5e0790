//! `[[requester]]`: the users of NATS who may ask for runs, and for what.

use holdfast_format::{BusUser, Class, SourceName};
use serde::Serialize;

use crate::table::Table;
use crate::values::period::Period;

/// The section `[[requester]]`: what one user of NATS may ask for. The defaults are those of deploy tools; of the user
/// `operator`, who may ask for everything, each key that is given is a limit.
#[derive(Clone, Debug, Serialize)]
pub struct Requester {
    /// The name of the NATS user. Required.
    pub name: BusUser,
    /// Shell-like patterns of the stacks that the user may ask for. Default: `["*"]`, all of them.
    pub stacks: Vec<String>,
    /// Shell-like patterns of the sources that the user may name. A request that names neither a stack nor a source is
    /// for all of them, and needs `"*"` here. Default: none.
    pub sources: Vec<String>,
    /// The longest time that a run may be held. Default: `30d`.
    pub max_hold: Option<Period>,
    /// The classes for retention that may be asked for. Default: none; then the calendar decides.
    pub classes: Vec<Class>,
    /// True if captures without parents may be asked for, which store everything anew. Default: false.
    pub fresh: bool,
    /// True if retention may be asked for. Default: false.
    pub cleanup: bool,
    /// The number of runs that the user may start in an hour. Default: 12.
    pub per_hour: Option<u32>,
}

impl Requester {
    /// The rights of a user before any key of the configuration. The operator has them all.
    fn before(name: BusUser) -> Self {
        if name == BusUser::operator() {
            return Self {
                name,
                stacks: everything(),
                sources: everything(),
                max_hold: None,
                classes: Class::ALL.to_vec(),
                fresh: true,
                cleanup: true,
                per_hour: None,
            };
        }
        Self {
            name,
            stacks: everything(),
            sources: Vec::new(),
            max_hold: Some(Period::seconds(30 * 24 * 3_600)),
            classes: Vec::new(),
            fresh: false,
            cleanup: false,
            per_hour: Some(12),
        }
    }

    /// Returns the rights of a user whom the configuration does not name; `None` for a user who may ask for nothing.
    pub(crate) fn unnamed(user: &BusUser) -> Option<Self> {
        [BusUser::operator(), BusUser::gate()]
            .contains(user)
            .then(|| Self::before(user.clone()))
    }

    pub(crate) fn read(mut table: Table<'_>) -> Option<Self> {
        let name: Option<BusUser> = table.required("name");
        // Without a name the section is at fault; its other keys are looked at all the same.
        let before = Self::before(name.clone().unwrap_or_else(BusUser::gate));
        let stacks: Vec<&str> = before.stacks.iter().map(String::as_str).collect();
        let stacks = table.globs("stacks", &stacks);
        let sources: Vec<&str> = before.sources.iter().map(String::as_str).collect();
        let sources = table.globs("sources", &sources);
        let max_hold = table.optional("max_hold").or(before.max_hold);
        let classes = table.or("classes", before.classes);
        let fresh = table.or("fresh", before.fresh);
        let cleanup = table.or("cleanup", before.cleanup);
        let per_hour = if table.has("per_hour") {
            Some(table.number("per_hour", 12, 1, 100_000))
        } else {
            before.per_hour
        };
        table.finish();
        Some(Self {
            name: name?,
            stacks,
            sources,
            max_hold,
            classes,
            fresh,
            cleanup,
            per_hour,
        })
    }

    /// True if the user may ask for this stack.
    #[must_use]
    pub fn may_ask_for_stack(&self, stack: &str) -> bool {
        matches(&self.stacks, stack)
    }

    /// True if the user may name this source.
    #[must_use]
    pub fn may_name(&self, source: &SourceName) -> bool {
        matches(&self.sources, source.as_str())
    }

    /// True if the user may ask for all sources by naming none.
    #[must_use]
    pub fn may_ask_for_all(&self) -> bool {
        self.sources.iter().any(|pattern| pattern == "*")
    }
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

/// True if one of the patterns, which were checked when they were read, fits the name.
fn matches(patterns: &[String], name: &str) -> bool {
    let fits = |pattern: &String| glob::Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(name));
    patterns.iter().any(fits)
}
