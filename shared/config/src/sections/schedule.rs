//! `[[schedule]]`: the times of backups, and their content.

use holdfast_format::{Class, Level, ScheduleName, SourceName, word_enum};
use serde::Serialize;

use crate::defined_names::DefinedNames;
use crate::reader::read_words;
use crate::table::Table;
use crate::values::period::Period;

word_enum! {
    /// The sources that a run captures.
    BackupType {
        /// Captures databases and volumes. The default.
        All = "all",
        /// Captures PostgreSQL servers alone.
        Databases = "databases",
        /// Captures volumes and directories alone.
        Volumes = "volumes",
        /// Captures databases, volumes and the system's configuration.
        Full = "full",
    }
}

read_words!(BackupType);

/// The section `[[schedule]]`: one schedule.
#[derive(Clone, Debug, Serialize)]
pub struct Schedule {
    /// The schedule's name. Required.
    pub name: ScheduleName,
    /// Five fields: minute, hour, day of month, month, day of week. Required. The scheduler checks the syntax.
    pub cron: String,
    /// The time zone of `cron`, such as `Europe/Berlin`. Default: `UTC`.
    pub timezone: String,
    /// `all`, `databases`, `volumes` or `full`. Default: `all`.
    pub backup_type: BackupType,
    /// Names of the sources to back up. Default: none, which means all sources of the backup type.
    pub sources: Vec<SourceName>,
    /// The level to verify to afterwards. Default: none.
    pub verify: Option<Level>,
    /// True to copy to the off-site targets afterwards. Default: true if there are any.
    pub sync_offsite: bool,
    /// True to apply retention afterwards. Default: true.
    pub cleanup: bool,
    /// The longest random delay of the start. Default: `0s`.
    pub jitter: Period,
    /// True to run once at start if a run was missed. Default: true.
    pub catch_up: bool,
    /// The time after which a run that has not ended counts as failed. Must be shorter than `janitor.grace`. Default:
    /// `12h`.
    pub timeout: Period,
    /// The class for retention: `daily`, `weekly` or `monthly`. Default: none; then the scheduler decides by date.
    pub class: Option<Class>,
}

impl Schedule {
    /// Reads a schedule. `known` holds the configured sources.
    pub(crate) fn read(mut table: Table<'_>, known: &DefinedNames<SourceName>, any_target: bool) -> Option<Self> {
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

fn sources(table: &mut Table<'_>, known: &DefinedNames<SourceName>) -> Vec<SourceName> {
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
