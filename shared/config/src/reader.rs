//! Reading the layered tree: every key is taken by name, every fault is kept, and what nobody took is unknown.
//!
//! Hand-written rather than derived because a derived reader stops at the first fault.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use config::ValueKind;

use crate::error::Fault;
use crate::secret::{self, Secret};
use crate::settings::SecretSection;
use crate::suggest;

/// A value of the layered tree.
pub(crate) type Kind = ValueKind;

/// What all sections share while a configuration is read.
pub(crate) struct Context<'a> {
    /// The file as it was named, for faults.
    pub(crate) file: String,
    /// What relative paths are relative to; absolute.
    pub(crate) dir: PathBuf,
    /// Line of each key of the file.
    pub(crate) lines: BTreeMap<String, usize>,
    /// The variable that gave each key that came from the environment.
    pub(crate) variables: BTreeMap<String, String>,
    /// The whole environment.
    pub(crate) env: &'a BTreeMap<String, String>,
    /// Sections whose secrets are wanted.
    pub(crate) reveal: &'a [SecretSection],
    pub(crate) faults: RefCell<Vec<Fault>>,
}

impl Context<'_> {
    /// Keeps a fault of `key`, with the place that gave it.
    pub(crate) fn fault(&self, key: &str, rule: impl Into<String>) {
        let (file, line) = match self.variable(key) {
            Some(variable) => (format!("environment variable {variable}"), None),
            None => (
                self.file.clone(),
                ancestors(key).find_map(|key| self.lines.get(key)).copied(),
            ),
        };
        self.faults.borrow_mut().push(Fault {
            file,
            line,
            key: key.to_owned(),
            rule: rule.into(),
        });
    }

    /// A non-empty environment variable; an empty one counts as absent, as compose files pass unset ones that way.
    pub(crate) fn env(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn variable(&self, key: &str) -> Option<&String> {
        ancestors(key).find_map(|key| self.variables.get(key))
    }
}

/// `a.b[0].c`, `a.b[0]`, `a.b`, `a`.
fn ancestors(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(key), |key| key.rfind(['.', '[']).map(|end| &key[..end]))
}

/// A value's place: where its faults belong.
pub(crate) struct At<'a> {
    cx: &'a Context<'a>,
    key: &'a str,
}

impl At<'_> {
    pub(crate) fn fault(&self, rule: impl Into<String>) {
        self.cx.fault(self.key, rule);
    }

    /// Keeps a fault and yields nothing.
    pub(crate) fn refuse<T>(&self, rule: impl Into<String>) -> Option<T> {
        self.fault(rule);
        None
    }

    pub(crate) fn text(&self, kind: Kind, rule: &str) -> Option<String> {
        match kind {
            Kind::String(text) => Some(text),
            _ => self.refuse(rule),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.cx.dir
    }

    /// The environment knows only text, so there `true` and `3` are read from it; in the file they must be typed.
    fn typed<T: std::str::FromStr>(&self, kind: Kind, rule: &str) -> Option<T> {
        match kind {
            Kind::String(text) if self.cx.variable(self.key).is_some() => {
                text.trim().parse().ok().or_else(|| self.refuse(rule))
            }
            _ => self.refuse(rule),
        }
    }
}

/// A type that can be read from the tree. `None` means that a fault was kept.
pub(crate) trait Read: Sized {
    fn read(at: &At<'_>, kind: Kind) -> Option<Self>;
}

/// `Read` by way of `FromStr`, whose error is the rule.
macro_rules! read_from_str {
    ($type:ty) => {
        impl $crate::reader::Read for $type {
            fn read(at: &$crate::reader::At<'_>, kind: $crate::reader::Kind) -> Option<Self> {
                // The rule of the type itself says more than "must be text".
                let text = match kind {
                    $crate::reader::Kind::String(text) => text,
                    _ => String::new(),
                };
                text.parse::<Self>()
                    .map_err(|error| at.fault(error.to_string()))
                    .ok()
            }
        }
    };
}
pub(crate) use read_from_str;

impl Read for String {
    fn read(at: &At<'_>, kind: Kind) -> Option<Self> {
        let text = at.text(kind, "must be text (in quotes)")?;
        if text.trim().is_empty() {
            at.refuse("must not be empty")
        } else {
            Some(text)
        }
    }
}

impl Read for bool {
    fn read(at: &At<'_>, kind: Kind) -> Option<Self> {
        match kind {
            Kind::Boolean(value) => Some(value),
            other => at.typed(other, "must be true or false"),
        }
    }
}

impl Read for i64 {
    fn read(at: &At<'_>, kind: Kind) -> Option<Self> {
        match kind {
            Kind::I64(value) => Some(value),
            other => at.typed(other, "must be a whole number"),
        }
    }
}

impl Read for f64 {
    fn read(at: &At<'_>, kind: Kind) -> Option<Self> {
        match kind {
            Kind::Float(value) => Some(value),
            Kind::I64(value) => i32::try_from(value)
                .ok()
                .map(f64::from)
                .or_else(|| at.refuse("must be a number")),
            other => at.typed(other, "must be a number"),
        }
    }
}

impl Read for PathBuf {
    fn read(at: &At<'_>, kind: Kind) -> Option<Self> {
        let text = at.text(kind, "must be a path (in quotes)")?;
        if text.is_empty() || text.contains('\0') {
            return at.refuse("must be a path");
        }
        std::path::absolute(at.cx.dir.join(text))
            .ok()
            .or_else(|| at.refuse("must be a path"))
    }
}

impl Read for url::Url {
    fn read(at: &At<'_>, kind: Kind) -> Option<Self> {
        let text = at.text(kind, "must be a URL (in quotes)")?;
        // The parser's error is not shown: what follows a wrong `@` or `:` may be a password.
        url::Url::parse(&text).ok().or_else(|| at.refuse("must be a URL"))
    }
}

impl Read for std::net::SocketAddr {
    fn read(at: &At<'_>, kind: Kind) -> Option<Self> {
        let rule = "must be an address and a port, such as \"127.0.0.1:9464\"";
        at.text(kind, rule)?.parse().ok().or_else(|| at.refuse(rule))
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(at: &At<'_>, kind: Kind) -> Option<Self> {
        let items: Vec<Kind> = match kind {
            Kind::Array(values) => values.into_iter().map(|value| value.kind).collect(),
            Kind::String(text) if at.cx.variable(at.key).is_some() => text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(Kind::from)
                .collect(),
            _ => return at.refuse("must be a list"),
        };
        let read = |(index, item)| {
            let key = format!("{}[{index}]", at.key);
            T::read(&At { cx: at.cx, key: &key }, item)
        };
        // Every item is read before the first fault counts.
        let items: Vec<Option<T>> = items.into_iter().enumerate().map(read).collect();
        items.into_iter().collect()
    }
}

/// One table of the tree. Take its keys, then [`Table::finish`] it.
pub(crate) struct Table<'a> {
    pub(crate) cx: &'a Context<'a>,
    path: String,
    entries: BTreeMap<String, Kind>,
    known: BTreeSet<String>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(cx: &'a Context<'a>, path: String, kind: Kind) -> Self {
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
            self.fault(key, "is required");
            return None;
        }
        self.optional(key)
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

    /// A required name: a token that is safe in paths and subjects.
    pub(crate) fn name(&mut self, key: &str) -> Option<String> {
        let name = self.required(key)?;
        self.token(key, name)
    }

    /// Checks that `name`, given by `key`, is a token.
    pub(crate) fn token(&self, key: &str, name: String) -> Option<String> {
        if is_token(&name) {
            return Some(name);
        }
        self.fault(
            key,
            "must be 1 to 63 of a-z, 0-9, _ and -, and begin with a letter or digit",
        );
        None
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

/// Whether `name` may name a site, source, target or schedule.
pub(crate) fn is_token(name: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 63 && name.starts_with(lower) && name.chars().all(|c| lower(c) || matches!(c, '_' | '-'))
}
