//! Checks the layout of the workspace: the direction of dependencies, the settings that every package inherits, the length
//! of files and functions, and what is said of them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_tests::tools;
use serde_json::Value;

mod bus_users;
mod circles;
mod documentation;
mod exports;
mod service_names;
mod size;

/// A package may depend only on packages of lower levels. So no service depends on another, and only the command line
/// knows them all.
const LEVELS: &[&[&str]] = &[
    &["fault", "format"],
    &["events"],
    &["config"],
    &["telemetry"],
    &["bus", "storage", "sealing", "docker", "postgres"],
    &["repository"],
    &["capture", "restore"],
    &["service"],
    &["session"],
    &[
        "scheduler",
        "dumper",
        "volume-snapshotter",
        "encryptor",
        "verifier",
        "syncer",
        "janitor",
    ],
    &["cli"],
    &["tests"],
];

/// Packages that the pure ones must do without, since pure code neither waits nor talks to anything.
const IMPURE: &[&str] = &[
    "tokio",
    "futures",
    "async-nats",
    "object_store",
    "tokio-postgres",
    "reqwest",
    "axum",
];
const PURE: &[&str] = &["format", "events"];

struct Package {
    name: String,
    manifest: PathBuf,
    /// The name of each dependency, and true if only tests need it.
    dependencies: Vec<(String, bool)>,
}

fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let text = tools::text_of(command.current_dir(tools::root())).unwrap();
    let metadata: Value = serde_json::from_str(&text).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.map(package).collect()
}

fn package(value: &Value) -> Package {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let dependencies = value["dependencies"].as_array().unwrap().iter();
    Package {
        name: text(&value["name"])
            .strip_prefix("holdfast-")
            .expect("packages are named holdfast-…")
            .to_owned(),
        manifest: text(&value["manifest_path"]).into(),
        dependencies: dependencies
            .map(|dependency| (text(&dependency["name"]), dependency["kind"] == "dev"))
            .collect(),
    }
}

fn level(name: &str) -> Option<usize> {
    LEVELS.iter().position(|level| level.contains(&name))
}

#[test]
fn dependencies_point_down() {
    let mut faults = Vec::new();
    for package in packages() {
        let own = level(&package.name).unwrap_or_else(|| panic!("give holdfast-{} a level", package.name));
        for (dependency, only_tests) in &package.dependencies {
            let Some(dependency) = dependency.strip_prefix("holdfast-") else {
                continue;
            };
            // The harness serves the tests of every package.
            if dependency == "tests" && *only_tests {
                continue;
            }
            if level(dependency).is_none_or(|level| level >= own) {
                faults.push(format!("{} must not depend on {dependency}", package.name));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_pure_packages_stay_pure() {
    for package in packages()
        .iter()
        .filter(|package| PURE.contains(&package.name.as_str()))
    {
        for (dependency, only_tests) in &package.dependencies {
            let impure = IMPURE.contains(&dependency.as_str()) && !only_tests;
            assert!(!impure, "{} is pure and must not depend on {dependency}", package.name);
        }
    }
}

#[test]
fn every_package_inherits_what_the_workspace_says() {
    let mut faults = Vec::new();
    for package in packages() {
        let manifest: toml::Table = fs::read_to_string(&package.manifest).unwrap().parse().unwrap();
        let inherits = |section: &str, key: &str| {
            let value = manifest.get(section).and_then(|table| table.get(key));
            value.is_some_and(|value| value.get("workspace").is_some_and(|flag| flag.as_bool() == Some(true)))
        };
        let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        if lints.and_then(toml::Value::as_bool) != Some(true) {
            faults.push(format!("{}: [lints] workspace = true is missing", package.name));
        }
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            if !inherits("package", key) {
                faults.push(format!("{}: package.{key} is its own", package.name));
            }
        }
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let names = manifest
                .get(section)
                .and_then(toml::Value::as_table)
                .into_iter()
                .flat_map(toml::Table::keys);
            let own = names.filter(|name| !inherits(section, name));
            faults.extend(own.map(|name| format!("{}: {section}.{name} has a version of its own", package.name)));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_dependency_is_used() {
    let mut faults = Vec::new();
    for package in packages() {
        let own = package.manifest.with_file_name("");
        let sources = sources(&own);
        let is_test = |file: &Path| {
            let inside = file.strip_prefix(own.join("src")).ok();
            package.name != "tests"
                && inside.is_none_or(|path| path.iter().any(|part| part == "tests" || part == "tests.rs"))
        };
        for (dependency, only_tests) in &package.dependencies {
            let name = dependency.replace('-', "_");
            let mut counted = sources.iter().filter(|(file, _)| *only_tests || !is_test(file));
            if !counted.any(|(_, text)| names(text, &name)) {
                faults.push(format!("{} does not use {dependency}", package.name));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Tells whether a path or a `use` begins with this crate: `name::`, `use name;`.
fn names(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let whole = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
        whole
            && ["::", ";", " as "]
                .iter()
                .any(|after| text[start + name.len()..].starts_with(after))
    })
}

/// All Rust files below a folder with their text, and those of other packages' tests that they share by `#[path]`.
fn sources(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for shared in text.lines().filter_map(|line| line.trim().strip_prefix("#[path = \"")) {
                let shared = dir.join(shared.trim_end_matches("\"]"));
                found.extend(sources(shared.parent().unwrap()));
            }
            found.push((path, text));
        }
    }
    found
}

#[test]
fn every_library_says_what_it_is_for() {
    for package in packages() {
        let library = package.manifest.with_file_name("src").join("lib.rs");
        if let Ok(text) = fs::read_to_string(&library) {
            assert!(
                text.starts_with("//! "),
                "{} begins without documentation",
                library.display()
            );
        }
    }
}
