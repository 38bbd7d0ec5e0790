//! The documentation of the code, checked: every public item has some, and it says plainly what the item is or does.

use std::fs;
use std::path::Path;

use holdfast_tests::tools;

use super::packages;

/// First words with which a sentence does not say what an item is or does: pronouns and relative clauses.
const VAGUE: &[&str] = &[
    "And",
    "As",
    "But",
    "Everything",
    "How",
    "If",
    "It",
    "Its",
    "Nobody",
    "Nothing",
    "Of",
    "One's",
    "Or",
    "Same",
    "So",
    "Somebody",
    "That",
    "The same",
    "Their",
    "There",
    "They",
    "This",
    "Those",
    "These",
    "What",
    "Whatever",
    "When",
    "Whenever",
    "Where",
    "Whether",
    "Which",
    "Who",
    "Whoever",
    "Whom",
    "Whose",
    "Why",
];

/// A source file without its tests.
pub(super) struct Source {
    pub(super) file: String,
    pub(super) lines: Vec<String>,
}

impl Source {
    fn at(&self, line: usize) -> String {
        format!("{}:{}", self.file, line + 1)
    }
}

/// All files below the `src` folders, tests apart.
pub(super) fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for package in packages() {
        collect(&package.manifest.with_file_name("src"), &mut found);
    }
    assert!(found.len() > 50, "the source files were not found");
    found
}

fn collect(dir: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            collect(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
            found.push(Source {
                file: path.strip_prefix(tools::root()).unwrap().display().to_string(),
                lines: code.lines().map(str::to_owned).collect(),
            });
        }
    }
}

#[test]
fn every_file_and_every_public_item_is_documented() {
    let mut bare = Vec::new();
    for source in sources() {
        if !source.lines.first().is_some_and(|line| line.starts_with("//! ")) {
            bare.push(format!("{}: the file", source.at(0)));
        }
        for (number, line) in source.lines.iter().enumerate() {
            let line = line.trim();
            let public = line.strip_prefix("pub ").and_then(declared);
            let of_trait = declared(line).filter(|_| in_public_trait(&source, number));
            // A module in a file of its own has its documentation there.
            let elsewhere = public == Some("mod") && line.ends_with(';');
            if public.or(of_trait).is_some() && !elsewhere && !is_documented(&source.lines[..number]) {
                bare.push(format!("{}: {line}", source.at(number)));
            }
        }
    }
    assert!(bare.is_empty(), "without documentation: {bare:#?}");
}

/// The kind of item that a line declares, if it declares one. Fields and imports are none.
pub(super) fn declared(line: &str) -> Option<&str> {
    const KINDS: &[&str] = &[
        "fn", "struct", "enum", "union", "trait", "type", "const", "static", "mod",
    ];
    let mut words = line
        .split_whitespace()
        .filter(|word| !matches!(*word, "async" | "unsafe" | "extern" | "\"C\""));
    let first = words.next()?;
    if first == "const" && words.next() == Some("fn") {
        return Some("fn");
    }
    KINDS.contains(&first).then_some(first)
}

/// Tells whether the lines before an item end with its documentation, attributes apart.
fn is_documented(before: &[String]) -> bool {
    let mut open = 0;
    for line in before.iter().rev().map(|line| line.trim()) {
        open += line.matches([')', ']']).count() as i32 - line.matches(['(', '[']).count() as i32;
        if line.starts_with("///") || line.starts_with("$(#[") {
            return true;
        }
        let attribute = line.starts_with("#[") || open > 0;
        if !attribute {
            return false;
        }
    }
    false
}

/// Tells whether a line stands directly in the body of a public trait, where items carry no `pub`.
fn in_public_trait(source: &Source, number: usize) -> bool {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let own = indent(&source.lines[number]);
    let outer = source.lines[..number]
        .iter()
        .rev()
        .find(|line| !line.trim().is_empty() && indent(line) < own);
    outer.is_some_and(|line| line.trim_start().starts_with("pub trait ") && own == indent(line) + 4)
}

#[test]
fn documentation_says_what_a_thing_is_or_does() {
    let vague = |source: &Source| {
        let mut found = Vec::new();
        let mut inside = false;
        for (number, line) in source.lines.iter().enumerate() {
            let text = line.trim_start();
            let text = text.strip_prefix("///").or_else(|| text.strip_prefix("//!"));
            if let (Some(text), false) = (text, inside)
                && VAGUE.iter().any(|word| opens_with(text.trim_start(), word))
            {
                found.push(format!("{}:{text}", source.at(number)));
            }
            inside = text.is_some();
        }
        found
    };
    check("opens with a pronoun or a relative clause", vague);
}

fn opens_with(text: &str, word: &str) -> bool {
    let rest = text.strip_prefix(word);
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[test]
fn values_are_assigned_one_by_one() {
    let tuples = |source: &Source| {
        let lines = source.lines.iter().enumerate();
        let tuples = lines.filter(|(_, line)| is_tuple_assignment(line));
        tuples
            .map(|(number, line)| format!("{}: {}", source.at(number), line.trim()))
            .collect()
    };
    check("assigns several values at once", tuples);
}

/// Tells whether a line is `let (a, b) = (x, y)`. Patterns that may not match are another thing.
fn is_tuple_assignment(line: &str) -> bool {
    let pattern = line
        .trim_start()
        .strip_prefix("let (")
        .and_then(|rest| rest.split_once(") = ("));
    pattern.is_some_and(|(names, _)| !["Some(", "Ok(", "Err("].iter().any(|variant| names.contains(variant)))
}

#[test]
fn log_lines_name_their_subject() {
    let nameless = |source: &Source| {
        let text = source.lines.join("\n");
        let mut found = Vec::new();
        for (start, _) in text.match_indices("tracing::") {
            let call = text[start..]
                .split_once("!(")
                .map(|(name, rest)| (name, rest.split(");").next().unwrap_or_default()));
            let levels = [
                "tracing::error",
                "tracing::warn",
                "tracing::info",
                "tracing::debug",
                "tracing::trace",
            ];
            if let Some((name, arguments)) = call
                && levels.contains(&name)
                && arguments
                    .split('"')
                    .skip(1)
                    .step_by(2)
                    .last()
                    .is_some_and(|line| line.starts_with("it ") || line.starts_with("its "))
            {
                found.push(source.at(text[..start].matches('\n').count()));
            }
        }
        found
    };
    check("begins with it or its", nameless);
}

/// Fails if there is any finding.
fn check(fault: &str, find: impl Fn(&Source) -> Vec<String>) {
    let found: Vec<String> = sources().iter().flat_map(find).collect();
    assert!(found.is_empty(), "{fault}: {found:#?}");
}
