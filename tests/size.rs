//! Measures how long files and functions are, in the sources as `rustfmt` leaves them. Tests do not count.

use super::documentation::{Source, sources};

/// The largest number of lines in a file.
const LONGEST_FILE: usize = 500;

/// The largest number of lines in a function, from its name to its closing brace.
const LONGEST_FUNCTION: usize = 70;

/// A file or function, and its number of lines.
type Length = (String, usize);

#[test]
fn files_are_not_too_long() {
    let files = sources().into_iter().map(|source| (source.file, source.lines.len()));
    check(files.collect(), LONGEST_FILE);
}

#[test]
fn functions_are_not_too_long() {
    let of_file = |source: &Source| {
        let all = functions(&source.lines).into_iter();
        let named = |(name, length)| (format!("{}: {name}", source.file), length);
        all.map(named).collect::<Vec<Length>>()
    };
    let all: Vec<Length> = sources().iter().flat_map(of_file).collect();
    assert!(all.len() > 2000, "the functions were not found");
    check(all, LONGEST_FUNCTION);
}

#[test]
fn functions_are_measured_from_their_name_to_their_brace() {
    let text = "\
impl Shop {
    pub(crate) async fn sell(
        &self,
    ) -> Result<(), Error> {
        fn inner() -> bool { true }
        if inner() {
            return Ok(());
        }
    }

    const fn size(&self) -> usize;

    fn declared(
        &self,
    ) -> usize;
}
";
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let found = functions(&lines);
    let expected =
        [("sell", 8), ("inner", 1), ("size", 1), ("declared", 3)].map(|(name, length)| (name.to_owned(), length));
    assert_eq!(found, expected);
}

fn check(mut lengths: Vec<Length>, longest: usize) {
    lengths.retain(|(_, length)| *length > longest);
    assert!(lengths.is_empty(), "longer than {longest} lines: {lengths:#?}");
}

/// The functions of a file in order. A function ends at the brace that stands as far in as its first line.
fn functions(lines: &[String]) -> Vec<Length> {
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let brace = format!("{indent}}}");
        let declared = format!("{indent})");
        let is_end = |line: &String| *line == brace || (line.starts_with(&declared) && line.ends_with(';'));
        let length = if line.ends_with('}') || line.ends_with(';') {
            1
        } else {
            let after = lines[at + 1..].iter().position(is_end);
            after.map_or(lines.len() - at, |after| after + 2)
        };
        found.push((name.to_owned(), length));
    }
    found
}

/// The name of the function that begins on a line, if one does.
fn function(line: &str) -> Option<&str> {
    let (before, after) = line.trim_start().split_once("fn ")?;
    let is_word =
        |word: &str| ["const", "async", "unsafe", "extern", "\"C\""].contains(&word) || word.starts_with("pub");
    let words = before.replace("(in ", "(");
    if !words.split_whitespace().all(is_word) {
        return None;
    }
    let end = after.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    (end > 0).then(|| &after[..end])
}
