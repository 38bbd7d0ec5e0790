//! `[[schedule]]`: when to back up what.

use holdfast_format::{Class, Level, ScheduleName, SourceName};
use serde::Serialize;

use crate::choice::choice;
use crate::known::Known;
use crate::table::Table;
use crate::values::period::Period;

choice! {
    /// What a run captures.
    BackupType {
        /// Databases and volumes. The default.
        All = "all",
        /// PostgreSQL servers alone.
        Databases = "databases",
        /// Volumes and directories alone.
        Volumes = "volumes",
        /// All, and the system's configuration.
        Full = "full",
    }
}

/// `[[schedule]]`
#[derive(Clone, Debug, Serialize)]
pub struct Schedule {
    /// The schedule's name. Required.
    pub name: ScheduleName,
    /// Five fields: minute, hour, day of month, month, day of week. Required. (Its syntax is the scheduler's to check.)
    pub cron: String,
    /// The time zone that `cron` is read in, such as `Europe/Berlin`. Default: `UTC`.
    pub timezone: String,
    /// `all`, `databases`, `volumes` or `full`. Default: `all`.
    pub backup_type: BackupType,
    /// Names of the sources to back up. Default: none named, which means all of the backup type.
    pub sources: Vec<SourceName>,
    /// Verify afterwards, and how. Default: none.
    pub verify: Option<Level>,
    /// Copy to the off-site targets afterwards. Default: true if there are any.
    pub sync_offsite: bool,
    /// Apply retention afterwards. Default: true.
    pub cleanup: bool,
    /// Start at a random time up to this much later. Default: `0s`.
    pub jitter: Period,
    /// Run once at start if a run was missed. Default: true.
    pub catch_up: bool,
    /// When a run that has not finished counts as failed. Default: `12h`; shorter than `janitor.grace`.
    pub timeout: Period,
    /// `daily`, `weekly` or `monthly`: what retention takes the run for. Default: none, the scheduler tells by date.
    pub class: Option<Class>,
}

impl Schedule {
    /// `known` are the configured sources.
    pub(crate) fn read(mut table: Table<'_>, known: &Known<SourceName>, any_target: bool) -> Option<Self> {
        let name = table.required("name");
        let cron = table.required("cron");
        let timezone = table.or("timezone", "UTC".to_owned());
        let backup_type = table.or("backup_type", BackupType::All);
        let sources = sources(&mut table, known);
        let verify = table.optional("verify");
        let sync_offsite = table.or("sync_offsite", any_target);
        if sync_offsite && !any_target {
            table.fault("sync_offsite", "must not be true without a [[target]]");
        }
        let cleanup = table.or("cleanup", true);
        let jitter = table.or("jitter", Period::seconds(0));
        let catch_up = table.or("catch_up", true);
        let timeout = table.or("timeout", Period::seconds(12 * 3_600));
        if timeout == Period::seconds(0) {
            table.fault("timeout", "must not be zero");
        }
        let class = table.optional("class");
        if class == Some(Class::Pinned) {
            table.fault(
                "class",
                "must be one of daily, weekly, monthly: what is pinned is never deleted",
            );
        }
        table.finish();
        Some(Self {
            name: name?,
            cron: cron?,
            timezone,
            backup_type,
            sources,
            verify,
            sync_offsite,
            cleanup,
            jitter,
            catch_up,
            timeout,
            class,
        })
    }
}

fn sources(table: &mut Table<'_>, known: &Known<SourceName>) -> Vec<SourceName> {
    let named: Vec<String> = table.or("sources", Vec::new());
    let source = |(index, name): (usize, &String)| {
        let fault = |hint| {
            table.fault(
                &format!("sources[{index}]"),
                format!("must name a configured source{hint}"),
            )
        };
        known.find(name).map_err(fault).ok()
    };
    named.iter().enumerate().filter_map(source).collect()
}
