//! Reading tables of the layered tree: every key is taken by name, and what nobody took is unknown.
//!
//! Hand-written rather than derived because a derived reader stops at the first fault.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::str::FromStr;

use crate::reader::{self, At, Context, Kind, Read};
use crate::secret::{self, Secret};
use crate::suggest;

/// One table of the tree. Take its keys, then [`Table::finish`] it.
pub(crate) struct Table<'a> {
    pub(crate) cx: &'a Context<'a>,
    path: String,
    entries: BTreeMap<String, Kind>,
    known: BTreeSet<String>,
    /// It is not a table at all, which was said: nothing more is missed in it.
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

    /// The full name of one of this table's keys.
    pub(crate) fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Whether the key is given (and not yet taken).
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Keeps a fault of one of this table's keys.
    pub(crate) fn fault(&self, key: &str, rule: impl Into<String>) {
        self.cx.fault(&self.key(key), rule);
    }

    fn take(&mut self, key: &str) -> Option<Kind> {
        self.known.insert(key.to_owned());
        self.entries.remove(key).filter(|kind| !matches!(kind, Kind::Nil))
    }

    /// The key's value, if it is given.
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

    /// The key's value, else the default.
    pub(crate) fn or<T: Read>(&mut self, key: &str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// The key's value; its absence is a fault.
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

    /// The key's name, else the default.
    pub(crate) fn or_name<T: Read + FromStr>(&mut self, key: &str, default: &str) -> Option<T> {
        if self.has(key) {
            return self.optional(key);
        }
        self.known.insert(key.to_owned());
        self.named(key, default)
    }

    /// A name that is made here and belongs to `key`.
    pub(crate) fn named<T: FromStr>(&self, key: &str, name: &str) -> Option<T> {
        name.parse().map_err(|_| self.fault(key, reader::NAME)).ok()
    }

    /// A whole number within bounds.
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

    /// Shell-like patterns, checked.
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

    /// A secret by `key` or `key_file`. `None` too when this section's secrets are not wanted.
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

    /// Whether a secret is given in either form.
    pub(crate) fn has_secret(&self, key: &str) -> bool {
        self.has(key) || self.has(&format!("{key}_file"))
    }

    /// Whether this section's secrets are wanted.
    pub(crate) fn reveals(&self) -> bool {
        let section = self.path.split(['.', '[']).next().unwrap_or("");
        self.cx.reveal.iter().any(|wanted| wanted.as_str() == section)
    }

    /// A table within this one; empty if it is absent.
    pub(crate) fn table(&mut self, key: &str) -> Table<'a> {
        let kind = self.take(key).unwrap_or(Kind::Nil);
        Table::new(self.cx, self.key(key), kind)
    }

    /// A table within this one, if there is one.
    pub(crate) fn optional_table(&mut self, key: &str) -> Option<Table<'a>> {
        let there = self.has(key);
        let table = self.table(key);
        there.then_some(table)
    }

    /// A list of tables within this one.
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

    /// All that is left, as tables by name.
    pub(crate) fn rest_as_tables(&mut self) -> Vec<(String, Table<'a>)> {
        let keys: Vec<String> = self.entries.keys().cloned().collect();
        keys.into_iter().map(|key| (key.clone(), self.table(&key))).collect()
    }

    /// All that is left, as texts by name.
    pub(crate) fn rest_as_texts(&mut self) -> Vec<(String, String)> {
        let keys: Vec<String> = self.entries.keys().cloned().collect();
        keys.into_iter()
            .filter_map(|key| Some((key.clone(), self.optional(&key)?)))
            .collect()
    }

    /// Reports what nobody took.
    pub(crate) fn finish(self) {
        for key in self.entries.keys() {
            let hint = suggest::hint(key, self.known.iter().map(String::as_str));
            self.fault(key, format!("is not a known key{hint}"));
        }
    }
}
