#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::{
    AllowDisk, BackupType, ByteSize, Class, ConfigError, Level, LogFormat, Period, PlaceUrl, Profile, SecretSection,
    Settings, Span, SslMode,
};

const LEAST: &str = r#"
[repository]
url = "/var/backups/holdfast"
[encryption]
recipients = ["keys/backup.pub.asc"]
pipeline_key = "keys/pipeline.asc"
"#;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// A directory with `holdfast.toml` in it.
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

/// The faults as `line key: rule`, the line left out where there is none and the file's name where it is the file.
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

fn secret_file(dir: &Path, name: &str, text: &str, mode: u32) {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_least_configuration_has_the_defaults() {
    let (dir, path) = folder(LEAST);
    let settings = Settings::load(&path, &BTreeMap::new()).unwrap();
    assert!(crate::reader::is_token(&settings.site));
    assert_eq!(settings.state_dir, Path::new("/var/lib/holdfast"));
    assert_eq!(
        settings.repository.url,
        PlaceUrl::Directory("/var/backups/holdfast".into())
    );
    assert_eq!(settings.encryption.recipients, [dir.path().join("keys/backup.pub.asc")]);
    assert_eq!(settings.encryption.pipeline_key, dir.path().join("keys/pipeline.asc"));
    assert_eq!(
        (settings.encryption.profile, settings.encryption.compression_level),
        (Profile::Gnupg, 1)
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
    assert!(settings.workers.seal >= 1 && settings.retention("local").is_none());
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
pipeline_key = "pipeline.asc"
pipeline_key_passphrase = "SECRET2"
trusted_signers = ["old.asc"]
compression_level = 19
[staging]
dir = "/run/holdfast"
max_bytes = "1GiB"
allow_disk = "yes_plaintext_may_touch_the_disk"
[nats]
url = "nats://worker:SECRET%213@nats:4222"
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
    assert_eq!(
        (nats.user.as_deref(), nats.password.as_ref().unwrap().expose()),
        (Some("worker"), "SECRET!3")
    );
    assert_eq!(nats.connect_timeout.as_std(), Duration::from_millis(500));
    let postgres = &settings.postgres[0];
    assert_eq!(
        postgres.url.as_str(),
        "postgres://backup@db:5433/app?application_name=x"
    );
    assert_eq!(postgres.password.as_ref().unwrap().expose(), "SECRET4");
    assert_eq!(
        (postgres.sslmode, postgres.sslrootcert.clone()),
        (SslMode::VerifyFull, Some(dir.path().join("ca.pem")))
    );
    assert!((postgres.min_ratio - 1.0).abs() < f64::EPSILON);
    assert_eq!(settings.schedule[0].backup_type, BackupType::Full);
    assert!(settings.schedule[0].sync_offsite && settings.schedule[0].cleanup);
    assert_eq!(
        (settings.schedule[0].verify, settings.schedule[0].class),
        (Some(Level::Restore), Some(Class::Monthly))
    );
    assert_eq!(settings.source_names(), ["main", "uploads", "system"]);
    assert_eq!(
        (
            settings.site_of("main"),
            settings.site_of("uploads"),
            settings.site_of("x")
        ),
        (Some("host-a"), Some("host-b"), None)
    );
    let target = settings.target("s3").unwrap();
    assert_eq!(target.storage_class[&Class::Monthly], "GLACIER");
    assert_eq!(
        (target.bandwidth, target.timeout),
        (Some(ByteSize::mib(10)), Period::seconds(30))
    );
    assert_eq!(settings.retention("s3").unwrap().monthly, Some(Span::Months(12)));
    assert_eq!(
        (
            settings.retention("local").unwrap().keep_last,
            settings.retention("disk").is_none()
        ),
        (3, true)
    );
}

#[test]
fn secrets_are_shown_nowhere() {
    let (_dir, settings) = full();
    let shown = settings.to_toml();
    for text in [format!("{settings:?}"), format!("{settings:#?}"), shown.clone()] {
        assert!(!text.contains("SECRET"), "{text}");
    }
    assert!(
        shown.contains("secret_access_key = \"***\"") && shown.contains("password = \"***\""),
        "{shown}"
    );
}

#[test]
fn the_shown_configuration_loads_and_shows_the_same() {
    let (_dir, settings) = full();
    let shown = settings.to_toml();
    assert_eq!(load(&shown).unwrap().to_toml(), shown);
}

#[test]
fn every_fault_is_reported_with_file_line_key_and_rule() {
    let text = r#"site = "Host A"
colour = "red"
[repository]
url = "ftp://somewhere"
regoin = "x"
[encryption]
recipients = []
profile = "gpg"
compression_level = 20
[staging]
max_bytes = "10 parsecs"
allow_disk = true
[nats]
url = "http://user:hunter2@host"
replicas = "3"
connect_timeout = 10
[[postgres]]
name = "main"
url = "postgres://backup@db"
include = "app"
globals = "yes"
[[directory]]
name = "main"
path = 7
exclude = ["a[", 3]
[[schedule]]
name = "nightly"
cron = " "
sources = ["mian"]
timeout = "2d"
[[target]]
name = "local"
url = "/mnt"
region = "eu"
storage_class = { yearly = "GLACIER" }
[retention]
locl = { daily = "7", keep_last = 0 }
[telemetry]
listen = "9464"
"#;
    assert_eq!(
        faults(load(text)),
        [
            "1 site: must be 1 to 63 of a-z, 0-9, _ and -, and begin with a letter or digit",
            "2 colour: is not a known key",
            "4 repository.url: must be a directory, \"file:///directory\" or \"s3://bucket/prefix\"",
            "5 repository.regoin: is not a known key; did you mean `region`?",
            "6 encryption.pipeline_key: is required",
            "7 encryption.recipients: must name at least one certificate",
            "8 encryption.profile: must be one of gnupg, rfc9580",
            "9 encryption.compression_level: must be between 1 and 19",
            "11 staging.max_bytes: must be a size such as \"16MiB\", \"1GB\" or a plain number of bytes",
            "12 staging.allow_disk: must be one of no, yes_plaintext_may_touch_the_disk",
            "14 nats.url: must be nats://host:port or tls://host:port",
            "15 nats.replicas: must be a whole number",
            "16 nats.connect_timeout: must be a time with a unit, such as \"500ms\", \"90s\", \"15m\", \"12h\", \"7d\" or \"2w\"",
            "20 postgres[0].include: must be a list",
            "21 postgres[0].globals: must be true or false",
            "24 directory[0].path: must be a path (in quotes)",
            "25 directory[0].exclude[1]: must be text (in quotes)",
            "28 schedule[0].cron: must not be empty",
            "32 target[0].name: must not be `local`, which is the repository's own place",
            "34 target[0].region: is only for places with an s3:// url",
            "35 target[0].storage_class: is only for places with an s3:// url",
            "35 target[0].storage_class.yearly: must be one of daily, weekly, monthly, pinned",
            "37 retention.locl.daily: must be a time with a unit, such as \"12h\", \"7d\", \"12w\", \"12 months\" or \"2 years\"",
            "37 retention.locl.keep_last: must be between 1 and 1000000",
            "39 telemetry.listen: must be an address and a port, such as \"127.0.0.1:9464\"",
        ]
    );
}

#[test]
fn faults_between_sections_are_reported() {
    let text = format!(
        r#"{LEAST}
[[postgres]]
name = "main"
url = "postgres://db"
[[directory]]
name = "main"
path = "/srv"
exclude = ["a["]
[[schedule]]
name = "nightly"
cron = "0 2 * * *"
sources = ["mian"]
timeout = "2d"
sync_offsite = true
[retention.locl]
daily = "7d"
"#
    );
    assert_eq!(
        faults(load(&text)),
        [
            "11 directory[0].name: must be unique: another source (postgres[0].name) is named `main` too",
            "13 directory[0].exclude[0]: must be a pattern with * ? [..]: invalid range pattern",
            "17 schedule[0].sources[0]: must name a configured source; did you mean `main`?",
            "18 schedule[0].timeout: must be shorter than janitor.grace",
            "19 schedule[0].sync_offsite: must not be true without a [[target]]",
            "20 retention.locl: must be `local` or the name of a target; did you mean `local`?",
        ]
    );
}

#[test]
fn one_fault_at_a_time() {
    for (extra, expected) in [
        (
            "[postgres]\nname = \"x\"",
            "postgres: must be a list of tables: write [[postgres]]",
        ),
        ("nats = 3", "encryption.nats: is not a known key"),
        ("[[system]]", "system: must be a table: write [system]"),
        (
            "[sytem]\npaths = [\"/etc\"]",
            "sytem: is not a known key; did you mean `system`?",
        ),
        (
            "[nats]\nuser = \"a\"",
            "nats.password: is required with user (or its `_file`)",
        ),
        (
            "[nats]\ntoken = \"t\"\nnkey_seed = \"S\"",
            "nats.url: must have one means of authentication, not token, nkey_seed",
        ),
        (
            "[nats]\nurl = \"nats://tok@h\"\nuser = \"a\"\npassword = \"b\"",
            "nats.url: must have one means of authentication, not user and password, credentials in the url",
        ),
        ("[nats]\nreplicas = 2", "nats.replicas: must be 1, 3 or 5"),
        (
            "[staging]\nmax_bytes = \"63MiB\"",
            "staging.max_bytes: must be at least 64MiB",
        ),
        (
            "[[target]]\nname = \"t\"\nurl = \"s3://b\"\naccess_key_id = \"x\"",
            "target[0].secret_access_key: is required with access_key_id (or its `_file`)",
        ),
        (
            "[[target]]\nname = \"t\"\nurl = \"s3://b\"\nendpoint = \"http://minio:9000\"",
            "target[0].endpoint: must be https:// (or set allow_http = true, which shows all to the network)",
        ),
        (
            "[[postgres]]\nname = \"p\"\nurl = \"mysql://db\"",
            "postgres[0].url: must be postgres://user@host:port/database",
        ),
        (
            "[[postgres]]\nname = \"p\"\nurl = \"postgres://u:1#x@db/x\"",
            "postgres[0].url: must not have a fragment (write # in a password as %23)",
        ),
        (
            "[[postgres]]\nname = \"p\"\nurl = \"postgres://u:x@db\"\npassword = \"y\"",
            "postgres[0].password: must not be given when the url carries one",
        ),
        (
            "[retention.local]\ndaily = \"0d\"",
            "retention.local.daily: must not be zero",
        ),
        (
            "[telemetry]\nlisten = 1\n",
            "telemetry.listen: must be an address and a port, such as \"127.0.0.1:9464\"",
        ),
    ] {
        let found = load(&format!("{LEAST}{extra}\n")).expect_err(extra).faults;
        let found: Vec<_> = found
            .iter()
            .map(|fault| format!("{}: {}", fault.key, fault.rule))
            .collect();
        assert_eq!(found, [expected], "{extra}");
    }
}

#[test]
fn broken_syntax_is_told_by_line_and_quotes_nothing() {
    let error = load("site = \"a\"\n[nats]\npassword = \"hunter2\nuser = 3 = 4\n").unwrap_err();
    assert_eq!(error.faults[0].line, Some(3), "{error}");
    assert!(error.faults[0].rule.starts_with("is not TOML: "), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let error = load("a = 99999999999999999999999").unwrap_err();
    assert_eq!(error.faults[0].rule, "holds a number that is too large");
}

#[test]
fn a_secret_at_fault_is_not_repeated() {
    let texts = [
        "[nats]\npassword = 1234567891",
        "[nats]\nurl = \"1234567891\"",
        "[nats]\nurl = \"nats://u:1234567891\"",
        "[verifier]\npasphrase = \"1234567891\"",
        "[[postgres]]\nname = \"p\"\nurl = \"postgres://u:1234567891/x@db\"",
        "[[target]]\nname = \"t\"\nurl = \"s3://k:1234567891@b\"",
    ];
    for text in texts {
        let error = load(&format!("{LEAST}{text}\n")).expect_err(text);
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains("1234567891"), "{shown}");
        }
    }
}

#[test]
fn secrets_come_from_files_that_not_everyone_can_read() {
    let text = format!("{LEAST}[verifier]\npassphrase_file = \"secret\"\n");
    let (dir, path) = folder(&text);
    let load = || Settings::load(&path, &BTreeMap::new());
    let rule = || load().unwrap_err().faults.remove(0).rule;
    assert!(rule().contains("which cannot be read"));
    for (content, secret) in [
        ("s3cret\n", "s3cret"),
        ("s3cret\r\n", "s3cret"),
        (" s3cret\n\n", " s3cret\n"),
    ] {
        secret_file(dir.path(), "secret", content, 0o600);
        assert_eq!(load().unwrap().verifier.passphrase.unwrap().expose(), secret);
    }
    secret_file(dir.path(), "secret", "s3cret", 0o604);
    assert!(
        rule().contains("which everyone on this host can read; run `chmod o-rwx "),
        "{}",
        rule()
    );
    assert!(!load().unwrap_err().to_string().contains("s3cret"));
    secret_file(dir.path(), "secret", "\n", 0o600);
    assert!(rule().contains("which is empty"));
    secret_file(dir.path(), "secret", &"x".repeat(70_000), 0o600);
    assert!(rule().contains("too large"));
    fs::remove_file(dir.path().join("secret")).unwrap();
    fs::create_dir(dir.path().join("secret")).unwrap();
    assert!(rule().contains("not a plain file"));
}

#[test]
fn a_secret_and_its_file_are_one_too_many() {
    let text = format!("{LEAST}[verifier]\npassphrase = \"a\"\npassphrase_file = \"secret\"\n");
    let (dir, path) = folder(&text);
    secret_file(dir.path(), "secret", "b", 0o600);
    assert_eq!(
        faults(Settings::load(&path, &BTreeMap::new())),
        ["8 verifier.passphrase: must not be given together with `passphrase_file`"]
    );
}

#[test]
fn a_service_holds_only_the_secrets_it_names() {
    let text = format!(
        "{LEAST}[verifier]\npassphrase_file = \"not-mounted-here\"\n[nats]\nurl = \"nats://a:b@h\"\n\
         [[postgres]]\nname = \"p\"\nurl = \"postgres://u:x@db\"\n"
    );
    let (_dir, path) = folder(&text);
    let settings = Settings::load_for(&path, &BTreeMap::new(), &[SecretSection::Nats]).unwrap();
    assert!(settings.verifier.passphrase.is_none() && settings.postgres[0].password.is_none());
    assert_eq!(settings.nats.password.unwrap().expose(), "b");
    assert_eq!(settings.postgres[0].url.as_str(), "postgres://u@db");
}

#[test]
fn the_environment_overrides_the_file() {
    let text = format!(
        "{LEAST}[nats]\nreplicas = 1\n[[postgres]]\nname = \"main-db\"\nurl = \"postgres://db\"\n\
         [[target]]\nname = \"s3\"\nurl = \"/mnt\"\n"
    );
    let settings = load_with(
        &text,
        &[
            ("HOLDFAST__SITE", "shared"),
            ("HOLDFAST__NATS__REPLICAS", "3"),
            ("HOLDFAST__NATS__URL", "nats://h:1"),
            ("HOLDFAST__POSTGRES__MAIN_DB__PASSWORD", "pw"),
            ("HOLDFAST__POSTGRES__0__GLOBALS", "false"),
            ("HOLDFAST__POSTGRES__MAIN_DB__INCLUDE", "a, b"),
            ("HOLDFAST__RETENTION__S3__DAILY", "9d"),
            ("HOLDFAST__ENCRYPTION__RECIPIENTS", "x.asc"),
            ("HOLDFAST__STAGING__DIR", ""),
            ("HOLDFAST_FAILPOINTS", "not ours"),
        ],
    )
    .unwrap();
    assert_eq!((settings.site.as_str(), settings.nats.replicas), ("shared", 3));
    assert_eq!(settings.nats.url.unwrap().as_str(), "nats://h:1");
    let postgres = &settings.postgres[0];
    assert_eq!(
        (postgres.password.as_ref().unwrap().expose(), postgres.globals),
        ("pw", false)
    );
    assert_eq!(postgres.include, ["a", "b"]);
    assert_eq!(settings.retention["s3"].daily, Some(Span::Seconds(9 * 86_400)));
    assert!(settings.encryption.recipients[0].ends_with("x.asc") && settings.encryption.recipients.len() == 1);
    assert!(settings.staging.dir.is_none());
}

#[test]
fn faults_of_the_environment_name_the_variable() {
    let found = faults(load_with(
        LEAST,
        &[
            ("BACKUP_RETENTION_DAYS", "a week"),
            ("HOLDFAST__NATS__REPLICAS", "many"),
            ("HOLDFAST__NATS____URL", "x"),
            ("HOLDFAST__NATS__ULR", "x"),
            ("HOLDFAST__POSTGRES__MAIN__URL", "x"),
        ],
    ));
    assert_eq!(
        found,
        [
            "environment variable HOLDFAST__NATS____URL: : does not name a key: write HOLDFAST__SECTION__KEY",
            "environment variable HOLDFAST__POSTGRES__MAIN__URL: : does not name a key: no [[postgres]] has the name `main`",
            "environment variable BACKUP_RETENTION_DAYS: : must be a whole number of days, 1 or more",
            "environment variable HOLDFAST__NATS__REPLICAS: nats.replicas: must be a whole number",
            "environment variable HOLDFAST__NATS__ULR: nats.ulr: is not a known key; did you mean `url`?",
        ]
    );
}

#[test]
fn well_known_variables_add_and_never_override() {
    let variables = [
        ("BACKUP_S3_BUCKET", "offsite/holdfast"),
        ("BACKUP_B2_BUCKET", "b2-bucket"),
        ("BACKUP_B2_REGION", "us-west-004"),
        ("B2_APPLICATION_KEY_ID", "b2id"),
        ("B2_APPLICATION_KEY", "b2key"),
        ("AWS_ACCESS_KEY_ID", "awsid"),
        ("AWS_SECRET_ACCESS_KEY", "awskey"),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
        ("BACKUP_RETENTION_DAYS", "14"),
        ("HOLDFAST__TARGET__S3__BANDWIDTH", "1MiB"),
    ];
    let text = format!("{LEAST}[[schedule]]\nname = \"n\"\ncron = \"0 2 * * *\"\n");
    let settings = load_with(&text, &variables).unwrap();
    let s3 = settings.target("s3").unwrap();
    assert_eq!(s3.url.to_string(), "s3://offsite/holdfast");
    assert_eq!(
        (s3.s3.access_key_id.as_ref().unwrap().expose(), s3.s3.region.as_deref()),
        ("awsid", Some("eu-west-1"))
    );
    assert_eq!((s3.bandwidth, s3.s3.path_style), (Some(ByteSize::mib(1)), false));
    let b2 = settings.target("b2").unwrap();
    assert_eq!(
        b2.s3.endpoint.as_ref().unwrap().as_str(),
        "https://s3.us-west-004.backblazeb2.com/"
    );
    assert_eq!(b2.s3.secret_access_key.as_ref().unwrap().expose(), "b2key");
    assert_eq!(settings.retention["local"].daily, Some(Span::Seconds(14 * 86_400)));
    assert!(settings.schedule[0].sync_offsite);

    let text = format!("{LEAST}[[target]]\nname = \"s3\"\nurl = \"/mnt\"\n[retention.local]\ndaily = \"7d\"\n");
    let settings = load_with(&text, &variables).unwrap();
    assert_eq!(
        (settings.target.len(), settings.target("s3").unwrap().url.is_s3()),
        (2, false)
    );
    assert_eq!(settings.retention["local"].daily, Some(Span::Seconds(7 * 86_400)));
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
