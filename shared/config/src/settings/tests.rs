#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_format::{Class, Level, PlaceName, Profile, Role, SourceName};
use tempfile::TempDir;

use crate::{
    AllowDisk, Authorities, BackupType, ByteSize, ConfigError, LogFormat, Period, SecretSection, Settings, Span,
    SslMode,
};

mod environment;
mod faults;
mod requesters;
mod secrets;

const LEAST: &str = r#"
[repository]
url = "/var/backups/holdfast"
[encryption]
recipients = ["keys/backup.pub.asc"]
owner = "keys/owner.pub.asc"
reader_key = "keys/reader.asc"
"#;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Makes a directory with `holdfast.toml` in it.
fn folder(text: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("holdfast.toml");
    fs::write(&path, text).unwrap();
    (dir, path)
}

fn load_with(text: &str, pairs: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let (_dir, path) = folder(text);
    Settings::load(&path, &env(pairs))
}

fn load(text: &str) -> Result<Settings, ConfigError> {
    load_with(text, &[])
}

/// Returns the faults as `line key: rule`, without the line if there is none, and with the file's name if it is another
/// file.
fn faults(result: Result<Settings, ConfigError>) -> Vec<String> {
    let show = |fault: crate::Fault| {
        let file = if fault.file.ends_with("holdfast.toml") {
            String::new()
        } else {
            format!("{}: ", fault.file)
        };
        let line = fault.line.map_or_else(String::new, |line| format!("{line} "));
        format!("{file}{line}{}: {}", fault.key, fault.rule)
    };
    result
        .expect_err("the configuration must be refused")
        .faults
        .into_iter()
        .map(show)
        .collect()
}

fn place(name: &str) -> PlaceName {
    name.parse().unwrap()
}

fn secret_file(dir: &Path, name: &str, text: &str, mode: u32) {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_least_configuration_has_the_defaults() {
    let (dir, path) = folder(LEAST);
    let settings = Settings::load(&path, &BTreeMap::new()).unwrap();
    assert_eq!(settings.state_dir, Path::new("/var/lib/holdfast"));
    assert_eq!(
        settings.repository.url.directory(),
        Some(Path::new("/var/backups/holdfast"))
    );
    assert_eq!(settings.encryption.recipients, [dir.path().join("keys/backup.pub.asc")]);
    assert_eq!(settings.encryption.owner, dir.path().join("keys/owner.pub.asc"));
    assert_eq!(settings.encryption.reader_key, dir.path().join("keys/reader.asc"));
    assert_eq!(
        settings.encryption.role_key(Role::Janitor),
        dir.path().join("keys/janitor.sec.asc")
    );
    assert_eq!(
        (settings.encryption.profile, settings.encryption.compression_level),
        (Profile::Gnupg, 2)
    );
    assert_eq!(
        (settings.staging.max_bytes, settings.staging.allow_disk),
        (ByteSize::mib(192), AllowDisk::No)
    );
    assert_eq!((settings.nats.prefix.as_str(), settings.nats.replicas), ("holdfast", 1));
    assert!(settings.nats.url.is_none() && settings.staging.dir.is_none() && settings.system.is_none());
    assert_eq!(settings.verifier.level, Level::Decrypt);
    assert_eq!(settings.janitor.grace.as_std(), Duration::from_secs(86_400));
    assert_eq!(
        (settings.telemetry.log.as_str(), settings.telemetry.format),
        ("info", LogFormat::Text)
    );
    assert_eq!((settings.workers.capture, settings.workers.sync), (2, 4));
    assert!(settings.workers.seal >= 1 && settings.retention(&place("local")).is_none());
}

const FULL: &str = r#"
site = "host-a"
state_dir = "state"
[repository]
url = "s3://backups/main"
endpoint = "http://127.0.0.1:9000"
allow_http = true
region = "eu-central-1"
access_key_id = "AKIDSECRET1"
secret_access_key_file = "s3.key"
[encryption]
recipients = ["a.asc", "/keys/b.asc"]
profile = "rfc9580"
owner = "owner.asc"
reader_key = "reader.asc"
role_keys = "roles"
passphrase = "SECRET2"
compression_level = 19
[staging]
dir = "/run/holdfast"
max_bytes = "1GiB"
allow_disk = "yes_plaintext_may_touch_the_disk"
[nats]
url = "nats://worker:SECRET%213@nats:4222"
servers = ["nats://nats2:4222", "tls://nats3:4222"]
prefix = "site_b"
replicas = 3
connect_timeout = "500ms"
[[postgres]]
name = "main"
url = "postgres://backup:SECRET4@db:5433/app?sslmode=verify-full&sslrootcert=ca.pem&application_name=x"
include = ["app_*"]
exclude = ["app_tmp"]
client_dirs = ["/usr/lib/postgresql/17"]
globals = false
lock_timeout = "2m"
min_ratio = 1
[[directory]]
name = "uploads"
path = "../srv/uploads"
exclude = ["*.tmp"]
one_file_system = true
site = "host-b"
[system]
paths = ["/etc"]
[[schedule]]
name = "nightly"
cron = "0 2 * * *"
timezone = "Europe/Berlin"
backup_type = "full"
sources = ["main", "uploads", "system"]
verify = "restore"
jitter = "10m"
catch_up = false
timeout = "6h"
class = "monthly"
[[target]]
name = "s3"
url = "s3://offsite"
access_key_id = "AKIDSECRET5"
secret_access_key = "SECRET6"
storage_class = { monthly = "GLACIER" }
bandwidth = "10MiB"
concurrency = 8
timeout = "30s"
[[target]]
name = "disk"
url = "file:///mnt/disk"
[retention.local]
daily = "7d"
weekly = "30d"
keep_last = 3
[retention.s3]
monthly = "12 months"
[verifier]
secret_keys = ["secret.asc"]
passphrase = "SECRET7"
[telemetry]
format = "json"
otlp_endpoint = "http://collector:4318"
listen = "[::1]:9464"
"#;

fn full() -> (TempDir, Settings) {
    let (dir, path) = folder(FULL);
    secret_file(dir.path(), "s3.key", "SECRET8\n", 0o640);
    let settings = Settings::load(&path, &BTreeMap::new()).unwrap();
    (dir, settings)
}

#[test]
fn a_full_configuration_is_read() {
    let (dir, settings) = full();
    assert_eq!(settings.state_dir, dir.path().join("state"));
    let s3 = &settings.repository.s3;
    assert_eq!(s3.secret_access_key.as_ref().unwrap().expose(), "SECRET8");
    assert!(s3.path_style && s3.allow_http);
    let nats = &settings.nats;
    assert_eq!(nats.url.as_ref().unwrap().as_str(), "nats://nats:4222");
    let servers: Vec<&str> = nats.servers.iter().map(|url| url.as_str()).collect();
    assert_eq!(servers, ["nats://nats2:4222", "tls://nats3:4222"]);
    assert_eq!(
        (nats.user.as_deref(), nats.password.as_ref().unwrap().expose()),
        (Some("worker"), "SECRET!3")
    );
    assert_eq!(nats.connect_timeout.as_std(), Duration::from_millis(500));
    let postgres = &settings.postgres[0];
    assert_eq!(
        postgres.url.to_string(),
        "postgres://backup@db:5433/app?application_name=x"
    );
    assert_eq!(postgres.password.as_ref().unwrap().expose(), "SECRET4");
    assert_eq!(
        (postgres.sslmode, postgres.sslrootcert.clone()),
        (
            Some(SslMode::VerifyFull),
            Some(Authorities::File(dir.path().join("ca.pem")))
        )
    );
    assert!((postgres.min_ratio - 1.0).abs() < f64::EPSILON);
    assert_eq!(settings.schedule[0].backup_type, BackupType::Full);
    assert!(settings.schedule[0].sync_offsite && settings.schedule[0].cleanup);
    assert_eq!(
        (settings.schedule[0].verify, settings.schedule[0].class),
        (Some(Level::Restore), Some(Class::Monthly))
    );
    let sources: Vec<_> = settings
        .sources()
        .map(|(name, site)| (name.as_str(), site.as_str()))
        .collect();
    assert_eq!(
        sources,
        [("main", "host-a"), ("uploads", "host-b"), ("system", "host-a")]
    );
    let site_of = |source: &str| settings.site_of(&source.parse::<SourceName>().unwrap());
    assert_eq!(site_of("uploads").unwrap().as_str(), "host-b");
    assert_eq!(site_of("x"), None);
    let target = settings.target(&place("s3")).unwrap();
    assert_eq!(target.storage_class[&Class::Monthly], "GLACIER");
    assert_eq!(
        (target.bandwidth, target.timeout),
        (Some(ByteSize::mib(10)), Period::seconds(30))
    );
    assert_eq!(
        settings.retention(&place("s3")).unwrap().monthly,
        Some(Span::Months(12))
    );
    assert_eq!(
        (
            settings.retention(&place("local")).unwrap().keep_last,
            settings.retention(&place("disk")).is_none()
        ),
        (3, true)
    );
}

#[test]
fn the_shown_configuration_loads_and_shows_the_same() {
    let (_dir, settings) = full();
    let shown = settings.to_toml();
    assert_eq!(load(&shown).unwrap().to_toml(), shown);
}

#[test]
fn files_are_found_or_said_to_be_missing() {
    let (dir, path) = folder(LEAST);
    assert_eq!(Settings::find(Some(&path)).unwrap(), path);
    let missing = dir.path().join("other.toml");
    let error = Settings::find(Some(&missing)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the configuration has a fault:\n  {}: does not exist",
            missing.display()
        )
    );
    assert!(
        Settings::load(&missing, &BTreeMap::new())
            .unwrap_err()
            .to_string()
            .contains("cannot be read")
    );
}

#[test]
fn sources_of_docker_have_the_same_names_on_every_host() {
    let names = |section: &str, site: &str| {
        let settings = load_with(&format!("{LEAST}\n[docker]\n{section}"), &[("HOLDFAST__SITE", site)]).unwrap();
        let sources = settings.docker_sources().iter();
        let pair = |source: &crate::DockerSource| (source.name.to_string(), source.site.to_string());
        sources.map(pair).collect::<Vec<_>>()
    };
    let pair = |name: &str, site: &str| (name.to_owned(), site.to_owned());
    assert_eq!(names("", "b"), [pair("docker-postgres", "b"), pair("docker", "b")]);
    let both = [
        pair("docker-postgres", "a"),
        pair("docker-postgres-b", "b"),
        pair("docker", "a"),
        pair("docker-b", "b"),
    ];
    for site in ["a", "b"] {
        assert_eq!(names("sites = [\"a\", \"b\"]", site), both);
    }
}

#[test]
fn every_section_that_makes_sources_may_set_their_greatest_age() {
    let text = format!(
        r#"{LEAST}
[[postgres]]
name = "main"
url = "postgres://db"
max_age = "2d"
[[directory]]
name = "uploads"
path = "/srv"
max_age = "3d"
[[directory]]
name = "other"
path = "/opt"
[docker]
max_age = "36h"
[system]
paths = ["/etc"]
max_age = "5w"
"#
    );
    let settings = load(&text).unwrap();
    let age = |source: &str| {
        settings
            .max_age(&source.parse().unwrap())
            .map(|age| age.as_std().as_secs() / 3_600)
    };
    let ages = [
        "main",
        "uploads",
        "other",
        "docker",
        "docker-postgres",
        "system",
        "unknown",
    ]
    .map(age);
    assert_eq!(ages, [Some(48), Some(72), None, Some(36), Some(36), Some(840), None]);
}
