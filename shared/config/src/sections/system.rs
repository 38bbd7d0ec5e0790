//! `[system]`: the system's configuration, which backups of type `full` capture.

use std::path::PathBuf;

use holdfast_format::{Site, SourceName};
use serde::Serialize;

use crate::table::Table;
use crate::values::period::Period;

/// `[system]`: files and directories of the system.
#[derive(Clone, Debug, Serialize)]
pub struct System {
    /// The source's name. Default: `system`.
    pub name: SourceName,
    /// The site whose workers capture the files. Default: the configuration's `site`.
    pub site: Option<Site>,
    /// The greatest age that the newest good backup may have. Default: by the schedules that capture the source.
    pub max_age: Option<Period>,
    /// Files and directories to back up; at least one. Required.
    pub paths: Vec<PathBuf>,
    /// Patterns of paths to leave out. Default: none.
    pub exclude: Vec<String>,
}

impl System {
    pub(crate) fn read(mut table: Table<'_>) -> Option<Self> {
        let name = table.or_name("name", "system");
        let site = table.optional("site");
        let max_age = table.max_age();
        let paths: Option<Vec<PathBuf>> = table.required("paths");
        if paths.as_ref().is_some_and(Vec::is_empty) {
            table.fault("paths", "must name at least one path");
        }
        let exclude = table.globs("exclude", &[]);
        table.finish();
        Some(Self {
            name: name?,
            site,
            max_age,
            paths: paths?,
            exclude,
        })
    }
}
