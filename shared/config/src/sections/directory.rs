//! `[[directory]]`: directories that are backed up like volumes.

use std::path::PathBuf;

use holdfast_format::{Site, SourceName};
use serde::Serialize;

use crate::table::Table;
use crate::values::period::Period;

/// `[[directory]]`: one directory of a host.
#[derive(Clone, Debug, Serialize)]
pub struct Directory {
    /// The source's name. Required.
    pub name: SourceName,
    /// The site whose workers capture the directory. Default: the configuration's `site`.
    pub site: Option<Site>,
    /// The greatest age that the newest good backup may have. Default: by the schedules that capture the source.
    pub max_age: Option<Period>,
    /// The path of the directory. Required.
    pub path: PathBuf,
    /// Patterns of paths to leave out, relative to `path`. Default: none.
    pub exclude: Vec<String>,
    /// True to leave out other file systems that are mounted below. Default: false.
    pub one_file_system: bool,
}

impl Directory {
    pub(crate) fn read(mut table: Table<'_>) -> Option<Self> {
        let name = table.required("name");
        let site = table.optional("site");
        let max_age = table.max_age();
        let path = table.required("path");
        let exclude = table.globs("exclude", &[]);
        let one_file_system = table.or("one_file_system", false);
        table.finish();
        Some(Self {
            name: name?,
            site,
            max_age,
            path: path?,
            exclude,
            one_file_system,
        })
    }
}
