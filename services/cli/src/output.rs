//! Results on standard output: tables on a terminal, plain aligned lines elsewhere, JSON where it is asked for.
//!
//! Every command has one JSON shape; `docs/commands.md` lists them. Fields are added, never renamed.

use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table as Boxed, presets};
use serde::Serialize;

use crate::human::shown;

/// The form of printed results.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    terminal: bool,
}

impl Output {
    /// Standard output, as it is.
    #[must_use]
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            terminal: io::stdout().is_terminal(),
        }
    }

    /// Prints JSON if it is wanted, else what `text` makes.
    pub(crate) fn print<T: Serialize>(self, value: &T, text: impl FnOnce(Self) -> String) {
        let text = if self.json { json(value) } else { text(self) };
        put(&text);
    }

    /// Prints text for people; nothing if JSON is wanted.
    pub(crate) fn say(self, text: &str) {
        if !self.json {
            put(text);
        }
    }

    /// The table as this output shows tables, with a line end unless it is empty.
    #[must_use]
    pub(crate) fn table(self, table: &Table) -> String {
        if self.terminal { table.boxed() } else { table.aligned() }
    }
}

fn json<T: Serialize>(value: &T) -> String {
    // What is printed are plain structures of our own, which serialise.
    serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

/// Writes to standard output. Who reads it may have gone (`| head`); that is no failure of the command.
fn put(text: &str) {
    let mut out = io::stdout().lock();
    let end = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    let _ = write!(out, "{text}{end}").and_then(|()| out.flush());
}

/// Rows below a header. Cells are made harmless for a terminal.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    header: Vec<&'static str>,
    /// Columns of numbers.
    right: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns; a name that begins with `>` is a column of numbers.
    #[must_use]
    pub(crate) fn new(columns: &[&'static str]) -> Self {
        let right = (0..)
            .zip(columns)
            .filter(|(_, c)| c.starts_with('>'))
            .map(|(at, _)| at)
            .collect();
        Self {
            header: columns.iter().map(|c| c.trim_start_matches('>')).collect(),
            right,
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows
            .push(cells.into_iter().map(|cell| shown(cell.as_ref())).collect());
    }

    /// True if the table has no rows.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn boxed(&self) -> String {
        let mut table = Boxed::new();
        // Lines between rows would double the height of long lists.
        table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(self.header.clone());
        table.add_rows(self.rows.clone());
        for at in &self.right {
            if let Some(column) = table.column_mut(*at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        format!("{table}\n")
    }

    fn aligned(&self) -> String {
        let header: Vec<String> = self.header.iter().map(|h| h.to_uppercase()).collect();
        let rows: Vec<&Vec<String>> = std::iter::once(&header).chain(&self.rows).collect();
        let width = |at: usize| {
            rows.iter()
                .filter_map(|r| r.get(at))
                .map(|c| c.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let line = |row: &&Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
                if self.right.contains(&at) {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            });
            let text = cells.collect::<Vec<_>>().join("  ");
            format!("{}\n", text.trim_end())
        };
        rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_tables_are_aligned_and_carry_nothing_that_a_terminal_obeys() {
        let mut table = Table::new(&["name", ">size"]);
        table.row(["shop", "1.0 MiB"]);
        table.row(["a\u{1b}b", "9 B"]);
        assert_eq!(
            table.aligned(),
            "NAME         SIZE\nshop      1.0 MiB\na\\u{1b}b      9 B\n"
        );
    }
}
