//! Circles inside packages: files that need each other by their `use` lines, so that none can be read alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::packages;

/// The names that lead to a file from the root of its package: none for `lib.rs`.
type Module = Vec<String>;

/// One name that a file brings in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Import {
    /// True if the file only hands the name on.
    handed_on: bool,
    path: Vec<String>,
    name: String,
}

/// The files of a package, by module.
#[derive(Default)]
struct Files(BTreeMap<Module, Vec<Import>>);

impl Files {
    fn load(root: &Path) -> Self {
        let mut files = Self::default();
        files.add(Vec::new(), root);
        files
    }

    fn add(&mut self, module: Module, file: &Path) {
        let text = without_tests(&fs::read_to_string(file).unwrap());
        self.0.insert(module.clone(), imports(&text));
        for name in declared(&text) {
            if let Some(file) = file_of(file, &name) {
                self.add([module.clone(), vec![name]].concat(), &file);
            }
        }
    }

    /// The path from the package's root; `None` if it leads to another package.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<Vec<String>> {
        let ups = path.iter().take_while(|part| *part == "super").count();
        match path.first().map(String::as_str) {
            Some("crate") => Some(path[1..].to_vec()),
            Some("self") => Some([module, &path[1..]].concat()),
            Some("super") => Some([&module[..module.len().saturating_sub(ups)], &path[ups..]].concat()),
            Some(first) => {
                let child = [module.clone(), vec![first.to_owned()]].concat();
                self.0.contains_key(&child).then(|| [module, path].concat())
            }
            None => None,
        }
    }

    /// The file that a path from the root leads to. A name that a file hands on leads to the file it comes from.
    fn target(&self, path: &[String], depth: usize) -> Option<Module> {
        let length = (0..=path.len()).rev().find(|n| self.0.contains_key(&path[..*n]))?;
        let module = path[..length].to_vec();
        let rest = &path[length..];
        let Some(name) = rest.first() else {
            return Some(module);
        };
        match self.0[&module].iter().find(|import| import.name == *name) {
            Some(import) if depth < 10 => {
                let from = self.absolute(&module, &import.path)?;
                self.target(&[&from, &rest[1..]].concat(), depth + 1)
            }
            _ => Some(module),
        }
    }

    /// The files that each file needs.
    fn needs(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let of = |(module, imports): (_, &Vec<Import>)| {
            let needed = imports.iter().filter(|import| !import.handed_on);
            let targets = needed.filter_map(|import| self.target(&self.absolute(module, &import.path)?, 0));
            (module, targets.filter(|target| target != module).collect())
        };
        self.0.iter().map(of).collect()
    }

    /// The files that need themselves by way of others.
    fn in_circles(&self) -> Vec<String> {
        let needs = self.needs();
        let reached = |from: &Module| {
            let mut seen = BTreeSet::new();
            let mut next: Vec<&Module> = needs[from].iter().collect();
            while let Some(module) = next.pop() {
                if seen.insert(module) {
                    next.extend(&needs[module]);
                }
            }
            seen
        };
        let circles = self.0.keys().filter(|module| reached(module).contains(module));
        circles.map(|module| module.join("::")).collect()
    }
}

/// The file of a module that another file declares.
fn file_of(parent: &Path, name: &str) -> Option<PathBuf> {
    let stem = parent.file_stem().unwrap();
    let folder = if ["lib", "mod", "main"].iter().any(|root| stem == *root) {
        parent.parent().unwrap().to_owned()
    } else {
        parent.with_extension("")
    };
    let files = [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")];
    files.into_iter().find(|file| file.is_file())
}

/// The lines of a file without comments, and without items that only tests have.
fn without_tests(text: &str) -> String {
    let mut lines = Vec::new();
    let mut rest = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    while let Some(line) = rest.next() {
        if line != "#[cfg(test)]" {
            lines.push(line);
        } else if rest
            .next()
            .is_some_and(|item| !item.ends_with(';') && !item.ends_with('}'))
        {
            // To its end: formatted code closes an item in the first column.
            rest.by_ref().find(|line| line.starts_with('}'));
        }
    }
    lines.join("\n")
}

/// The item behind `pub`, `pub(crate)` and so on, and whether there was any of them.
fn public(item: &str) -> (bool, &str) {
    match item.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => (true, rest.split_once(')').map_or("", |(_, rest)| rest.trim_start())),
        Some(rest) if rest.starts_with(' ') => (true, rest.trim_start()),
        _ => (false, item),
    }
}

fn declared(text: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| {
        let name = public(line).1.strip_prefix("mod ")?.strip_suffix(';')?;
        Some(name.to_owned())
    });
    names.collect()
}

fn imports(text: &str) -> Vec<Import> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let (handed_on, item) = public(line);
        let Some(tree) = item.strip_prefix("use ") else {
            continue;
        };
        let mut tree = tree.to_owned();
        while !tree.ends_with(';') {
            let Some(more) = lines.next() else { break };
            tree.push_str(more.trim());
        }
        branches(&[], tree.trim_end_matches(';'), &mut |path, name| {
            found.push(Import { handed_on, path, name });
        });
    }
    found
}

/// Tells each path of a `use`, and the name it has in the file.
fn branches(above: &[String], tree: &str, tell: &mut impl FnMut(Vec<String>, String)) {
    let parts = |text: &str| {
        text.split("::")
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    if let Some((head, inside)) = tree.split_once('{') {
        let head: Vec<String> = parts(head);
        let inside = inside.trim_end().strip_suffix('}').unwrap_or(inside);
        let mut open = 0;
        for branch in inside.split(|c: char| {
            open += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && open == 0
        }) {
            if !branch.trim().is_empty() {
                branches(&[above, &head].concat(), branch.trim(), tell);
            }
        }
        return;
    }
    let (path, alias) = tree
        .split_once(" as ")
        .map_or((tree, None), |(path, alias)| (path, Some(alias)));
    let mut path = [above, &parts(path)].concat();
    if path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let name = alias.map(str::to_owned).or_else(|| path.last().cloned());
    tell(path, name.unwrap_or_default());
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let mut found = BTreeMap::new();
    let mut files = 0;
    for package in packages() {
        let root = package.manifest.with_file_name("src").join("lib.rs");
        if root.is_file() {
            let loaded = Files::load(&root);
            files += loaded.0.len();
            let circles = loaded.in_circles();
            if !circles.is_empty() {
                found.insert(package.name, circles);
            }
        }
    }
    assert!(files > 300, "only {files} files were found");
    assert!(found.is_empty(), "files that use each other in a circle: {found:#?}");
}

#[test]
fn imports_are_read_as_the_compiler_does() {
    let text = "use crate::{a::{self, B as C}, d};\npub(crate) use super::e::F;\n#[cfg(test)]\nmod tests {\n    use crate::x;\n}\nuse g::*;\n";
    let found = imports(&without_tests(text));
    let shown: Vec<String> = found
        .iter()
        .map(|import| format!("{} {} {}", import.handed_on, import.path.join("::"), import.name))
        .collect();
    let expected = [
        "false crate::a a",
        "false crate::a::B C",
        "false crate::d d",
        "true super::e::F F",
        "false g::* *",
    ];
    assert_eq!(shown, expected);
}

#[test]
fn a_circle_is_found_through_names_that_a_file_hands_on() {
    let file = |lines: &str| imports(lines);
    let module = |name: &str| {
        name.split("::")
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect::<Module>()
    };
    let files = Files(BTreeMap::from([
        (module(""), file("pub use a::A;\npub use b::B;\npub use c::C;")),
        (module("a"), file("use crate::B;")),
        (module("b"), file("use crate::a::A;\nuse std::fmt;")),
        (module("c"), file("use crate::{A, B};")),
    ]));
    assert_eq!(files.in_circles(), ["a", "b"]);
}
