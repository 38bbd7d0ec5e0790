//! The names of services and packages, in every file that lists them by hand: as many as there are packages, and the same.

use std::collections::BTreeSet;
use std::fs;

use holdfast_format::Role;
use holdfast_tests::tools;

use super::packages;

fn text(path: &str) -> String {
    fs::read_to_string(tools::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// Returns the services: the packages below services/, except the command.
fn services() -> BTreeSet<String> {
    let below = tools::root().join("services");
    let all = packages()
        .into_iter()
        .filter(|package| package.manifest.starts_with(&below));
    all.map(|package| package.name).filter(|name| name != "cli").collect()
}

/// Returns the words between two texts, the first of which must be there.
fn between<'a>(text: &'a str, before: &str, after: &str) -> BTreeSet<String> {
    let (_, rest): (&'a str, &'a str) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("{before:?} is not there"));
    let (list, _) = rest
        .split_once(after)
        .unwrap_or_else(|| panic!("{after:?} is not there"));
    set(list
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| !word.is_empty()))
}

/// Returns what stands between two texts, wherever they stand in a line.
fn each_between(text: &str, before: &str, after: &str) -> BTreeSet<String> {
    let found = text.split(before).skip(1).filter_map(|rest| rest.split_once(after));
    set(found.map(|(name, _)| name))
}

#[test]
fn the_image_has_every_service() {
    let dockerfile = text("deploy/Dockerfile");
    assert_eq!(between(&dockerfile, "for service in ", "; do"), services());
}

#[test]
fn the_command_is_every_service_by_its_name() {
    let names = each_between(&text("services/cli/src/lib.rs"), "\"holdfast-", "\" =>");
    assert_eq!(names, services());
}

#[test]
fn compose_starts_every_service_as_its_own_user() {
    let compose = text("compose.yaml");
    assert_eq!(
        each_between(&compose, "entrypoint: [\"holdfast-", "\"]").len() + 1,
        services().len()
    );
    for service in services() {
        let user = service.replace('-', "_");
        let block = block_of(&compose, &service);
        for line in [
            format!("HOLDFAST__NATS__USER: {service}\n"),
            format!("HOLDFAST__NATS__PASSWORD_FILE: /run/secrets/nats_{user}\n"),
            format!("nats_{user}]"),
        ] {
            // A secret may stand before others.
            let line = line.strip_suffix(']').unwrap_or(&line);
            assert!(block.contains(line), "compose.yaml: {service} lacks {line:?}");
        }
        assert!(
            block.contains(&format!("holdfast-{service}")),
            "compose.yaml: {service} does not start it"
        );
        let secret = format!("nats_{user}: {{ file: \"${{HOLDFAST_SECRETS:-./secrets}}/nats/{service}\" }}");
        assert!(compose.contains(&secret), "compose.yaml lacks the secret {secret}");
    }
}

/// Returns a service's part of a Compose file, as that file is indented.
fn block_of(compose: &str, service: &str) -> String {
    let mut lines = compose.lines().skip_while(|line| *line != format!("  {service}:"));
    let first = lines.next();
    assert!(first.is_some(), "compose.yaml lacks the service {service}");
    let inside = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
    inside.map(|line| format!("{line}\n")).collect()
}

#[test]
fn compose_gives_every_service_the_key_of_its_role_alone() {
    let compose = text("compose.yaml");
    for service in services() {
        let process = text(&format!("services/{service}/src/process.rs"));
        let roles: BTreeSet<Role> = Role::ALL
            .iter()
            .filter(|role| process.contains(&format!("Role::{role:?}")))
            .copied()
            .collect();
        assert_eq!(roles.len(), 1, "{service} is of {roles:?}");
        let block = block_of(&compose, &service);
        for role in Role::ALL {
            let has_key = block.contains(&format!(" {role}.sec.asc,"));
            assert_eq!(has_key, roles.contains(role), "compose.yaml: {service}, {role}");
        }
        for common in ["owner_public_key", "reader_key"] {
            assert!(block.contains(common), "compose.yaml: {service} lacks {common}");
        }
    }
    assert!(
        !compose.contains("owner.sec.asc:"),
        "compose.yaml hands out the owner's key"
    );
}

#[test]
fn setup_makes_a_key_for_every_role() {
    let roles = between(&text("deploy/compose/setup"), "\nroles=(", ")");
    assert_eq!(roles, set(Role::ALL.iter().map(|role| role.as_str())));
}

#[test]
fn setup_makes_a_password_for_every_user() {
    let users = between(&text("deploy/compose/setup"), "\nusers=(", ")");
    assert_eq!(users, &services() | &set(["operator", "gate"]));
}

#[test]
fn every_service_is_scraped_and_missed() {
    let scraped = between(&text("deploy/prometheus/prometheus.yml"), "names: [", "]");
    assert_eq!(scraped, services());
    let missed = each_between(&text("deploy/prometheus/rules.yml"), "absent(up{service=\"", "\"}");
    assert_eq!(missed, services());
}

#[test]
fn every_package_is_on_the_map() {
    for page in ["README.md", "docs/architecture.md"] {
        let page_text = text(page);
        let names = set(page_text.split(|c: char| !c.is_alphanumeric() && c != '-'));
        let missing: Vec<String> = packages()
            .into_iter()
            .map(|package| package.name)
            .filter(|name| !names.contains(name))
            .collect();
        assert!(missing.is_empty(), "{page} does not name {missing:?}");
    }
}
