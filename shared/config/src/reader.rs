//! Reads values from the merged tree. Each fault is kept with the file and line, or variable, that set the value.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::ValueKind;
use holdfast_format::{BusUser, Class, Level, PlaceName, Profile, ScheduleName, Site, SourceName, SubjectPrefix};

use crate::error::Fault;
use crate::secret_section::SecretSection;

/// A value of the merged tree.
pub(crate) type Kind = ValueKind;

/// Data that all sections share while a configuration is read.
pub(crate) struct Context<'a> {
    /// The file as the caller named it, for faults.
    pub(crate) file: String,
    /// The absolute folder that relative paths start from.
    pub(crate) dir: PathBuf,
    /// The line of each key of the file.
    pub(crate) lines: BTreeMap<String, usize>,
    /// The variable that set each key that came from the environment.
    pub(crate) variables: BTreeMap<String, String>,
    /// All variables of the environment.
    pub(crate) env: &'a BTreeMap<String, String>,
    /// Sections whose secrets are read.
    pub(crate) reveal: &'a [SecretSection],
    pub(crate) faults: RefCell<Vec<Fault>>,
}

impl Context<'_> {
    /// Adds a fault of `key`, with the file and line, or variable, that set it.
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

    /// Returns an environment variable. An empty one counts as absent, since compose files pass unset variables that
    /// way.
    pub(crate) fn env(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn variable(&self, key: &str) -> Option<&String> {
        ancestors(key).find_map(|key| self.variables.get(key))
    }
}

/// Returns a key and its parents: `a.b[0].c`, `a.b[0]`, `a.b`, `a`.
fn ancestors(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(key), |key| key.rfind(['.', '[']).map(|end| &key[..end]))
}

/// The key of a value, to which its faults belong.
pub(crate) struct At<'a> {
    pub(crate) cx: &'a Context<'a>,
    pub(crate) key: &'a str,
}

impl At<'_> {
    pub(crate) fn fault(&self, rule: impl Into<String>) {
        self.cx.fault(self.key, rule);
    }

    /// Adds a fault, and returns `None`.
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

    /// Reads a value that the environment gave as text, such as `true` or `3`. In the file, such values must be typed.
    fn typed<T: std::str::FromStr>(&self, kind: Kind, rule: &str) -> Option<T> {
        match kind {
            Kind::String(text) if self.cx.variable(self.key).is_some() => {
                text.trim().parse().ok().or_else(|| self.refuse(rule))
            }
            _ => self.refuse(rule),
        }
    }
}

/// A type that can be read from the tree. `None` means that a fault was added.
pub(crate) trait Read: Sized {
    fn read(at: &At<'_>, kind: Kind) -> Option<Self>;
}

/// Implements `Read` by `FromStr`, whose error is the rule.
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

/// Implements `Read` for an enum whose values are a few words.
macro_rules! read_words {
    ($($type:ty),+) => {
        $(impl $crate::reader::Read for $type {
            fn read(at: &$crate::reader::At<'_>, kind: $crate::reader::Kind) -> Option<Self> {
                let word = match kind {
                    $crate::reader::Kind::String(text) => text,
                    _ => String::new(),
                };
                let read = word.parse::<Self>();
                read.map_or_else(|unknown| at.refuse(unknown.rule()), Some)
            }
        })+
    };
}
pub(crate) use read_words;

read_words!(Class, Level, Profile);

/// Returns the rule of a key that takes one of a few words.
pub(crate) fn one_of(words: impl Iterator<Item = &'static str>) -> String {
    format!("must be one of {}", words.collect::<Vec<_>>().join(", "))
}

/// The rule of all names, which become parts of paths and subjects.
pub(crate) const NAME: &str = "must be 1 to 63 of a-z, 0-9, _ and -, and begin with a letter or digit";

/// Implements `Read` for a name of the format.
macro_rules! read_names {
    ($($type:ty),+) => {
        $(impl Read for $type {
            fn read(at: &At<'_>, kind: Kind) -> Option<Self> {
                String::read(at, kind)?.parse().ok().or_else(|| at.refuse(NAME))
            }
        })+
    };
}
read_names!(PlaceName, ScheduleName, Site, SourceName, SubjectPrefix);

impl Read for BusUser {
    fn read(at: &At<'_>, kind: Kind) -> Option<Self> {
        const MAX: usize = 100;
        let name = String::read(at, kind)?;
        if name.len() > MAX || name.chars().any(char::is_control) {
            return at.refuse(format!(
                "must be the name of a NATS user: at most {MAX} bytes, without control characters"
            ));
        }
        Some(Self::new(name))
    }
}

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
        // The parser's error is not shown: the text after a wrong `@` or `:` may be a password.
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
        // Reads every item before it returns, so that all faults are found.
        let items: Vec<Option<T>> = items.into_iter().enumerate().map(read).collect();
        items.into_iter().collect()
    }
}
