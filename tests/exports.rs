//! The exports of the libraries, checked: a name that a library exports is used by another package, or by the library's
//! own integration tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{packages, sources};

/// Exports that no other package names, since they only appear in what other exports take, hold and return. This list
/// only ever gets shorter.
const UNNAMED: &[(&str, &[&str])] = &[
    ("bus", &["ApiError"]),
    (
        "capture",
        &[
            "DraftPack",
            "IndexMaker",
            "MissingReceipt",
            "ParentError",
            "PrecopyContents",
        ],
    ),
    ("cli", &["CliError", "Exit", "command", "run"]),
    (
        "config",
        &["ByteSize", "DockerSource", "DockerVolumes", "InvalidValue", "Workers"],
    ),
    (
        "docker",
        &[
            "BackFailure",
            "BackProblem",
            "DatabaseFault",
            "DatabaseNetwork",
            "Endpoint",
            "Environment",
            "Event",
            "Executed",
            "HelperSpec",
            "HookFailure",
            "Hooks",
            "Image",
            "LabelFault",
            "LabelWarning",
            "Mount",
            "OnFailure",
            "Password",
            "QuietError",
            "QuietStep",
            "Reached",
            "Recovered",
            "RecoveryFailure",
            "Stack",
            "VolumeFault",
            "Warning",
        ],
    ),
    ("events", &["Effect", "IllegalFact", "SourceState", "Why"]),
    ("fault", &["Chain"]),
    ("janitor", &["Described", "Keep", "Object", "Removal", "Spare"]),
    ("postgres", &["ProgramFiles"]),
    ("repository", &["ContentsBytes"]),
    (
        "restore",
        &[
            "CheckFinding",
            "FileCounts",
            "FolderError",
            "NotFound",
            "Origin",
            "PackSource",
            "PlanError",
            "RepositoryPacks",
        ],
    ),
    ("scheduler", &["CalendarError"]),
    ("service", &["HardenError", "ProgressTeller", "ProvenFacts"]),
    ("storage", &["Listing", "Operation", "Probe"]),
    (
        "telemetry",
        &[
            "HealthReport",
            "InvalidPoint",
            "Metrics",
            "PointGuard",
            "Sample",
            "ServeError",
            "SetUpError",
            "ShowError",
            "ShutdownError",
        ],
    ),
];

/// Returns the names that a library's root, or one of its public modules, exports from this workspace.
fn exported(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for item in text
        .split(';')
        .filter_map(|item| item.split_once("pub use ").map(|(_, item)| item))
    {
        let own = ["crate::", "self::", "super::"]
            .iter()
            .any(|root| item.starts_with(root));
        let module = item.split("::").next().unwrap_or_default();
        if !own && !text.contains(&format!("mod {module};")) && !text.contains(&format!("mod {module} {{")) {
            continue;
        }
        let list = item
            .split_once('{')
            .map_or(item, |(_, list)| list.trim_end().trim_end_matches('}'));
        for name in list.split(',').filter(|name| !name.trim().is_empty()) {
            let name = name.rsplit(" as ").next().unwrap_or_default();
            names.push(name.rsplit("::").next().unwrap_or_default().trim().to_owned());
        }
    }
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if line.starts_with("pub ") && super::documentation::declared(&line[4..]).is_some() {
            let name = words.find(|word| {
                let keyword = [
                    "pub", "async", "const", "fn", "struct", "enum", "trait", "type", "static", "mod",
                ];
                !keyword.contains(word)
            });
            let end = |name: &str| {
                name.find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(name.len())
            };
            names.extend(name.map(|name| name[..end(name)].to_owned()));
        }
    }
    names
}

/// True if `text` has this name as a word.
fn has_word(text: &str, name: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name)
        .any(|(start, _)| !text[..start].ends_with(inside) && !text[start + name.len()..].starts_with(inside))
}

#[test]
fn every_export_is_used_by_another_package() {
    let packages = packages();
    let texts: Vec<(PathBuf, Vec<(PathBuf, String)>)> = packages
        .iter()
        .map(|package| package.manifest.with_file_name(""))
        .map(|dir| (dir.clone(), sources(&dir)))
        .collect();
    let mut unused = BTreeMap::new();
    for package in packages.iter().filter(|package| package.name != "tests") {
        let dir = package.manifest.with_file_name("");
        let source = dir.join("src");
        let Ok(library) = fs::read_to_string(source.join("lib.rs")) else {
            continue;
        };
        let crate_name = format!("holdfast_{}", package.name.replace('-', "_"));
        let is_inside = |file: &Path| file.starts_with(&source) && !file.ends_with("main.rs");
        let users: Vec<&str> = texts
            .iter()
            .flat_map(|(of, files)| files.iter().map(move |file| (of, file)))
            .filter(|(of, (file, text))| !is_inside(file) && (**of == dir || text.contains(&crate_name)))
            .map(|(_, (_, text))| text.as_str())
            .collect();
        let mut names = exported(&library);
        for line in library.lines() {
            let Some(module) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')) else {
                continue;
            };
            let files = [source.join(format!("{module}.rs")), source.join(module).join("mod.rs")];
            names.extend(
                files
                    .iter()
                    .filter_map(|file| fs::read_to_string(file).ok())
                    .flat_map(|text| exported(&text)),
            );
        }
        names.retain(|name| !users.iter().any(|text| has_word(text, name)));
        names.sort();
        names.dedup();
        unused.insert(package.name.clone(), names);
    }
    assert!(unused.len() > 15, "the libraries were not found");
    let mut new = Vec::new();
    let mut old = Vec::new();
    for (package, names) in &unused {
        let known = UNNAMED
            .iter()
            .filter(|(of, _)| of == package)
            .flat_map(|(_, names)| names.iter());
        let known: Vec<&str> = known.copied().collect();
        let is_known = |name: &&String| known.contains(&name.as_str());
        new.extend(
            names
                .iter()
                .filter(|name| !is_known(name))
                .map(|name| format!("{package}: {name}")),
        );
        let is_left = |name: &&&str| names.iter().any(|left| left == **name);
        old.extend(
            known
                .iter()
                .filter(|name| !is_left(name))
                .map(|name| format!("{package}: {name}")),
        );
    }
    assert!(
        new.is_empty(),
        "exports that no other package uses: make them private: {new:#?}"
    );
    assert!(
        old.is_empty(),
        "used by now, or gone: take them out of UNNAMED: {old:#?}"
    );
}
