//! Reads tables of the merged tree. Every key is taken by name, and a key that nobody took is unknown.
//!
//! Written by hand, since a derived reader stops at the first fault.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::str::FromStr;

use crate::reader::{self, At, Context, Kind, Read};
use crate::secret::{self, Secret};
use crate::suggest;
use crate::values::period::Period;

/// One table of the tree. Take its keys, and then call [`Table::finish`].
pub(crate) struct Table<'a> {
    pub(crate) cx: &'a Context<'a>,
    path: String,
    entries: BTreeMap<String, Kind>,
    known: BTreeSet<String>,
    /// True if the value is no table, which was reported. Then no key counts as missing.
    broken: bool,
}

impl<'a> Table<'a> {
    pub(crate) fn new(cx: &'a Context<'a>, path: String, kind: Kind) -> Self {
        let broken = !matches!(kind, Kind::Table(_) | Kind::Nil);
        let entries = match kind {
            Kind::Table(map) => map.into_iter().map(|(key, value)| (key, value.kind)).collect(),
            Kind::Nil => BTreeMap::new(),
            _ => {
                cx.fault(&path, format!("must be a table: write [{path}]"));
                BTreeMap::new()
            }
        };
        Self {
            cx,
            path,
            entries,
            known: BTreeSet::new(),
            broken,
        }
    }

    /// Returns the full name of one of this table's keys.
    pub(crate) fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// True if the key is given and was not taken yet.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Adds a fault of one of this table's keys.
    pub(crate) fn fault(&self, key: &str, rule: impl Into<String>) {
        self.cx.fault(&self.key(key), rule);
    }

    fn take(&mut self, key: &str) -> Option<Kind> {
        self.known.insert(key.to_owned());
        self.entries.remove(key).filter(|kind| !matches!(kind, Kind::Nil))
    }

    /// Reads the key's value, if it is given.
    pub(crate) fn optional<T: Read>(&mut self, key: &str) -> Option<T> {
        let kind = self.take(key)?;
        T::read(
            &At {
                cx: self.cx,
                key: &self.key(key),
            },
            kind,
        )
    }

    /// Reads the key's value, or returns the default.
    pub(crate) fn or<T: Read>(&mut self, key: &str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// The key `max_age` of a section that makes sources.
    pub(crate) fn max_age(&mut self) -> Option<Period> {
        let age = self.optional("max_age");
        if age == Some(Period::seconds(0)) {
            self.fault("max_age", "must not be zero");
        }
        age
    }

    /// Reads the key's value. A missing key is a fault.
    pub(crate) fn required<T: Read>(&mut self, key: &str) -> Option<T> {
        if !self.has(key) {
            self.known.insert(key.to_owned());
            if !self.broken {
                self.fault(key, "is required");
            }
            return None;
        }
        self.optional(key)
    }

    /// Reads a name, or returns the default.
    pub(crate) fn or_name<T: Read + FromStr>(&mut self, key: &str, default: &str) -> Option<T> {
        if self.has(key) {
            return self.optional(key);
        }
        self.known.insert(key.to_owned());
        self.named(key, default)
    }

    /// Parses a name that Holdfast itself has made. A fault belongs to `key`.
    pub(crate) fn named<T: FromStr>(&self, key: &str, name: &str) -> Option<T> {
        name.parse().map_err(|_| self.fault(key, reader::NAME)).ok()
    }

    /// Reads a whole number between `from` and `to`.
    pub(crate) fn number<T: TryFrom<i64> + Copy>(&mut self, key: &str, default: T, from: i64, to: i64) -> T {
        let Some(number) = self.optional::<i64>(key) else {
            return default;
        };
        match T::try_from(number) {
            Ok(value) if (from..=to).contains(&number) => value,
            _ => {
                self.fault(key, format!("must be between {from} and {to}"));
                default
            }
        }
    }

    /// Reads shell-like patterns, and checks them.
    pub(crate) fn globs(&mut self, key: &str, default: &[&str]) -> Vec<String> {
        let given: Option<Vec<String>> = self.optional(key);
        let globs = given.unwrap_or_else(|| default.iter().map(|glob| (*glob).to_owned()).collect());
        for (index, glob) in globs.iter().enumerate() {
            if let Err(error) = glob::Pattern::new(glob) {
                self.fault(
                    &format!("{key}[{index}]"),
                    format!("must be a pattern with * ? [..]: {}", error.msg),
                );
            }
        }
        globs
    }

    /// Reads a secret from `key` or `key_file`. Returns `None` if this section's secrets are not wanted.
    pub(crate) fn secret(&mut self, key: &str) -> Option<Secret> {
        let file_key = format!("{key}_file");
        if self.has(key) && self.has(&file_key) {
            self.fault(key, format!("must not be given together with `{file_key}`"));
        }
        let direct: Option<String> = self.optional(key);
        let path: Option<PathBuf> = self.optional(&file_key);
        if !self.reveals() {
            return None;
        }
        if let Some(path) = path {
            return secret::read_secret_file(&path)
                .map_err(|rule| self.fault(&file_key, rule))
                .ok();
        }
        direct.map(Secret::new)
    }

    /// True if the secret is given in either form.
    pub(crate) fn has_secret(&self, key: &str) -> bool {
        self.has(key) || self.has(&format!("{key}_file"))
    }

    /// True if this section's secrets are wanted.
    pub(crate) fn reveals(&self) -> bool {
        let section = self.path.split(['.', '[']).next().unwrap_or("");
        self.cx.reveal.iter().any(|wanted| wanted.as_str() == section)
    }

    /// Returns a table within this one, which is empty if it is not given.
    pub(crate) fn table(&mut self, key: &str) -> Table<'a> {
        let kind = self.take(key).unwrap_or(Kind::Nil);
        Table::new(self.cx, self.key(key), kind)
    }

    /// Returns a table within this one, if it is given.
    pub(crate) fn optional_table(&mut self, key: &str) -> Option<Table<'a>> {
        let there = self.has(key);
        let table = self.table(key);
        there.then_some(table)
    }

    /// Returns a list of tables within this one.
    pub(crate) fn tables(&mut self, key: &str) -> Vec<Table<'a>> {
        let path = self.key(key);
        match self.take(key) {
            None => Vec::new(),
            Some(Kind::Array(values)) => {
                let table = |(index, value): (usize, config::Value)| {
                    Table::new(self.cx, format!("{path}[{index}]"), value.kind)
                };
                values.into_iter().enumerate().map(table).collect()
            }
            Some(_) => {
                self.cx
                    .fault(&path, format!("must be a list of tables: write [[{path}]]"));
                Vec::new()
            }
        }
    }

    /// Takes all remaining keys as tables, by name.
    pub(crate) fn rest_as_tables(&mut self) -> Vec<(String, Table<'a>)> {
        let keys: Vec<String> = self.entries.keys().cloned().collect();
        keys.into_iter().map(|key| (key.clone(), self.table(&key))).collect()
    }

    /// Takes all remaining keys as texts, by name.
    pub(crate) fn rest_as_texts(&mut self) -> Vec<(String, String)> {
        let keys: Vec<String> = self.entries.keys().cloned().collect();
        keys.into_iter()
            .filter_map(|key| Some((key.clone(), self.optional(&key)?)))
            .collect()
    }

    /// Reports the keys that nobody took.
    pub(crate) fn finish(self) {
        for key in self.entries.keys() {
            let hint = suggest::hint(key, self.known.iter().map(String::as_str));
            self.fault(key, format!("is not a known key{hint}"));
        }
    }
}
