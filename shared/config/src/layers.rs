//! Merges the layers of the configuration: the file, and over it the environment. Each section has its own defaults.

use std::collections::BTreeMap;

use config::{Config, File, FileFormat, Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{ConfigError, Fault};
use crate::reader::Context;
use crate::well_known;

/// The beginning of environment variables that set a key; `__` separates the parts of the key.
const PREFIX: &str = "HOLDFAST__";
/// Sections that are lists of tables. Their entries are addressed by name.
const LISTS: [&str; 5] = ["postgres", "directory", "schedule", "target", "requester"];

/// Checks the syntax of `text`, and returns the line of every key.
///
/// The parser's own text of an error is not used: it quotes the line, which may hold a secret.
pub(crate) fn lines(file: &str, text: &str) -> Result<BTreeMap<String, usize>, ConfigError> {
    let line = |offset: usize| {
        text.as_bytes()
            .iter()
            .take(offset)
            .filter(|byte| **byte == b'\n')
            .count()
            + 1
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let mut lines = BTreeMap::new();
        note_table("", table.get_ref(), &line, &mut lines);
        return Ok(lines);
    }
    let fault = |error: toml::de::Error| Fault {
        file: file.to_owned(),
        line: error.span().map(|span| line(span.start)),
        key: String::new(),
        rule: format!("is not TOML: {}", error.message()),
    };
    let mut faults: Vec<Fault> = errors.into_iter().map(fault).collect();
    faults.sort_by_key(|fault| fault.line);
    Err(ConfigError { faults })
}

fn note_table(path: &str, table: &DeTable<'_>, line: &dyn Fn(usize) -> usize, lines: &mut BTreeMap<String, usize>) {
    for (name, value) in table {
        let key = if path.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{path}.{}", name.get_ref())
        };
        lines.insert(key.clone(), line(name.span().start));
        note_value(&key, value, line, lines);
    }
}

fn note_value(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    line: &dyn Fn(usize) -> usize,
    lines: &mut BTreeMap<String, usize>,
) {
    match value.get_ref() {
        DeValue::Table(table) => note_table(key, table, line, lines),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let key = format!("{key}[{index}]");
                lines.insert(key.clone(), line(item.span().start));
                note_value(&key, item, line, lines);
            }
        }
        _ => {}
    }
}

/// Returns the merged tree of file and environment. Adds faults in the names of variables to `cx`, and notes there
/// which variable set which key.
pub(crate) fn merge(cx: &mut Context<'_>, text: &str) -> Result<ValueKind, ConfigError> {
    let file = || File::from_str(text, FileFormat::Toml);
    // In a file of the right syntax, only numbers can be wrong at this point.
    let refused = |file: &str| ConfigError::one(file, "holds a number that is too large");
    let tree = Config::builder()
        .add_source(file())
        .build()
        .map_err(|_| refused(&cx.file))?
        .cache;
    let mut layer = Layer {
        overrides: Vec::new(),
        tree,
        variables: BTreeMap::new(),
    };
    layer.add_targets(cx);
    for (name, value) in cx.env {
        if let Some(rest) = name.strip_prefix(PREFIX)
            && !value.is_empty()
        {
            match layer.resolve(rest) {
                Ok(key) => layer.set(&key, value, name),
                Err(rule) => layer.fault(cx, name, rule),
            }
        }
    }
    layer.add_retention(cx);
    let mut builder = Config::builder().add_source(file());
    for (key, value) in layer.overrides {
        builder = builder.set_override(key, value).map_err(|_| refused(&cx.file))?;
    }
    cx.variables = layer.variables;
    builder
        .build()
        .map(|config| config.cache.kind)
        .map_err(|_| refused(&cx.file))
}

/// The layer of the environment, while it is being made.
struct Layer {
    /// Keys and their values. Each part of a key was checked by `resolve`, or is built in.
    overrides: Vec<(String, String)>,
    /// The file's tree with the targets that the environment adds, in which names are looked up.
    tree: Value,
    variables: BTreeMap<String, String>,
}

impl Layer {
    fn fault(&self, cx: &Context<'_>, variable: &str, rule: impl Into<String>) {
        let file = format!("environment variable {variable}");
        cx.faults.borrow_mut().push(Fault {
            file,
            line: None,
            key: String::new(),
            rule: rule.into(),
        });
    }

    fn set(&mut self, key: &str, value: &str, variable: &str) {
        self.overrides.push((key.to_owned(), value.to_owned()));
        self.variables.insert(key.to_owned(), variable.to_owned());
    }

    /// Returns the key that a name such as `POSTGRES__MAIN__URL` means. Entries of lists are given by name, or by
    /// number from 0.
    fn resolve(&self, name: &str) -> Result<String, String> {
        let mut key = String::new();
        let mut here = Some(&self.tree.kind);
        for part in name.to_lowercase().split("__") {
            if part.is_empty()
                || !part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
            {
                return Err("does not name a key: write HOLDFAST__SECTION__KEY".to_owned());
            }
            if LISTS.contains(&key.as_str()) {
                let entries = match here {
                    Some(ValueKind::Array(entries)) => entries.as_slice(),
                    _ => &[],
                };
                let index = find_entry(entries, part)
                    .ok_or_else(|| format!("does not name a key: no [[{key}]] has the name `{part}`"))?;
                key = format!("{key}[{index}]");
                here = entries.get(index).map(|entry| &entry.kind);
                continue;
            }
            let table = match here {
                Some(ValueKind::Table(table)) => Some(table),
                _ => None,
            };
            let known = table.and_then(|table| table.keys().find(|known| normal(known) == normal(part)));
            let part = known.map_or(part, String::as_str);
            here = table.and_then(|table| table.get(part)).map(|value| &value.kind);
            key = if key.is_empty() {
                part.to_owned()
            } else {
                format!("{key}.{part}")
            };
        }
        Ok(key)
    }

    fn add_targets(&mut self, cx: &Context<'_>) {
        for target in well_known::targets(|name| cx.env(name)) {
            let entries = match find(&self.tree, &["target"]) {
                Some(ValueKind::Array(entries)) => entries.clone(),
                None => Vec::new(),
                // Wrongly written. That is reported when the section is read.
                Some(_) => return,
            };
            if find_entry(&entries, target.name).is_some() {
                continue;
            }
            let index = entries.len();
            for given in &target.keys {
                self.set(&format!("target[{index}].{}", given.key), &given.value, given.variable);
            }
            let name = BTreeMap::from([("name".to_owned(), target.name)]);
            let entry = Value::new(None, name.into_iter().collect::<config::Map<_, _>>());
            let entries: Vec<Value> = entries.into_iter().chain([entry]).collect();
            if let ValueKind::Table(root) = &mut self.tree.kind {
                root.insert("target".to_owned(), Value::new(None, entries));
            }
        }
    }

    fn add_retention(&mut self, cx: &Context<'_>) {
        const KEY: &str = "retention.local.daily";
        let set = self.variables.contains_key(KEY) || find(&self.tree, &["retention", "local", "daily"]).is_some();
        let Some(days) = cx.env(well_known::RETENTION_DAYS).filter(|_| !set) else {
            return;
        };
        match well_known::retention(days) {
            Ok(value) => self.set(KEY, &value.to_string(), well_known::RETENTION_DAYS),
            Err(rule) => self.fault(cx, well_known::RETENTION_DAYS, rule),
        }
    }
}

fn find<'a>(tree: &'a Value, path: &[&str]) -> Option<&'a ValueKind> {
    path.iter().try_fold(&tree.kind, |here, part| match here {
        ValueKind::Table(table) => table.get(*part).map(|value| &value.kind),
        _ => None,
    })
}

fn find_entry(entries: &[Value], part: &str) -> Option<usize> {
    let named = |entry: &Value| entry_name(entry).is_some_and(|name| normal(name) == normal(part));
    entries
        .iter()
        .position(named)
        .or_else(|| part.parse().ok().filter(|index| *index < entries.len()))
}

fn entry_name(entry: &Value) -> Option<&str> {
    match find(entry, &["name"]) {
        Some(ValueKind::String(name)) => Some(name),
        _ => None,
    }
}

/// Turns a name into the form that variables can have: no dashes, one case of letters.
fn normal(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}
