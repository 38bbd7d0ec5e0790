//! `[system]`: the system's configuration, which backups of type `full` capture.

use std::path::PathBuf;

use holdfast_format::{Site, SourceName};
use serde::Serialize;

use crate::table::Table;

/// `[system]`: files and directories of the system.
#[derive(Clone, Debug, Serialize)]
pub struct System {
    /// The source's name. Default: `system`.
    pub name: SourceName,
    /// The site whose workers capture the files. Default: the configuration's `site`.
    pub site: Option<Site>,
    /// Files and directories to back up; at least one. Required.
    pub paths: Vec<PathBuf>,
    /// Patterns of paths to leave out. Default: none.
    pub exclude: Vec<String>,
}

impl System {
    pub(crate) fn read(mut table: Table<'_>) -> Option<Self> {
        let name = table.or_name("name", "system");
        let site = table.optional("site");
        let paths: Option<Vec<PathBuf>> = table.required("paths");
        if paths.as_ref().is_some_and(Vec::is_empty) {
            table.fault("paths", "must name at least one path");
        }
        let exclude = table.globs("exclude", &[]);
        table.finish();
        Some(Self {
            name: name?,
            site,
            paths: paths?,
            exclude,
        })
    }
}
