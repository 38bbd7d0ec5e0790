use super::*;

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
            "6 encryption.owner: is required",
            "6 encryption.reader_key: is required",
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
            "37 retention.locl: must be `local` or the name of a target; did you mean `local`?",
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
            "13 directory[0].name: must be unique: another source (postgres[0].name) is named `main` too",
            "15 directory[0].exclude[0]: must be a pattern with * ? [..]: invalid range pattern",
            "19 schedule[0].sources[0]: must name a configured source; did you mean `main`?",
            "20 schedule[0].timeout: must be shorter than janitor.grace",
            "21 schedule[0].sync_offsite: must not be true without a [[target]]",
            "22 retention.locl: must be `local` or the name of a target; did you mean `local`?",
        ]
    );
}

#[test]
fn names_that_refer_to_a_section_at_fault_are_not_at_fault_themselves() {
    let text = format!(
        r#"{LEAST}
[[postgres]]
name = "main"
[[schedule]]
name = "nightly"
cron = "0 2 * * *"
sources = ["main", "other", "Main"]
[[target]]
name = "s3"
[retention.s3]
daily = "7d"
[retention."s 3"]
daily = "7d"
"#
    );
    assert_eq!(
        faults(load(&text)),
        [
            "9 postgres[0].url: is required",
            "14 schedule[0].sources[2]: must name a configured source",
            "15 target[0].url: is required",
            "19 retention.s 3: must be `local` or the name of a target",
        ]
    );
}

#[test]
fn names_that_sources_of_docker_would_get_are_checked() {
    let long = "x".repeat(50);
    for (sites, expected) in [
        (
            format!("\"a\", \"{long}\""),
            format!(
                "docker.sites[1]: must be shorter: `docker-postgres-{long}` names a source, and a name has at most 63 \
                 characters"
            ),
        ),
        (
            "\"a\", \"a\"".to_owned(),
            "docker.sites[1]: must not be named twice".to_owned(),
        ),
        (
            "\"A\"".to_owned(),
            "docker.sites[0]: must be 1 to 63 of a-z, 0-9, _ and -, and begin with a letter or digit".to_owned(),
        ),
    ] {
        let found = faults(load(&format!("{LEAST}[docker]\nsites = [{sites}]\n")));
        assert!(found[0].ends_with(&expected), "{found:?}");
        assert_eq!(found.len(), 1, "{found:?}");
    }
    // The first one's sources are called after nothing.
    load(&format!("{LEAST}[docker]\nsites = [\"{long}\"]\n")).unwrap();
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
        (
            "[nats]\nurl = \"nats://a\"\nservers = [\"nats://u:p@b\"]",
            "nats.servers: must each be nats://host:port or tls://host:port, without user and password",
        ),
        (
            "[nats]\nservers = [\"nats://b\"]",
            "nats.servers: are further ones beside `url`, which is not set",
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
            "[[postgres]]\nname = \"p\"\nurl = \"postgres://u@db/x?sslmod=require\"",
            "postgres[0].url: must not have `sslmod`, which is no parameter of PostgreSQL; did you mean `sslmode`?",
        ),
        (
            "[[postgres]]\nname = \"p\"\nurl = \"postgres://u@db\"\nsslmode = \"prefer\"\nsslrootcert = \"system\"",
            "postgres[0].url: must have sslmode=verify-full with sslrootcert=system: anybody has a certificate of these authorities",
        ),
        (
            "[[postgres]]\nname = \"p\"\nurl = \"postgres://u:x@db\"\npassword = \"y\"",
            "postgres[0].password: must not be given when the url carries one",
        ),
        (
            "[[directory]]\nname = \"d\"\npath = \"/srv\"\nmax_age = \"0d\"",
            "directory[0].max_age: must not be zero",
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
fn a_target_is_a_place_of_its_own() {
    let with = |targets: &[(&str, &str)]| {
        let mut text = LEAST.to_owned();
        for (index, (url, more)) in targets.iter().enumerate() {
            text.push_str(&format!("[[target]]\nname = \"t{index}\"\nurl = \"{url}\"\n{more}\n"));
        }
        load(&text)
    };
    let rule = |index: usize, other: &str| {
        format!("target[{index}].url: must be a place of its own: it is, holds or lies in that of {other}")
    };
    for url in [
        "/var/backups/holdfast",
        "/var/backups/holdfast/copy",
        "/var/backups",
        "file:///var/backups/./x/../holdfast/",
    ] {
        let found = faults(with(&[(url, "")]));
        assert!(found[0].ends_with(&rule(0, "the repository")), "{url}: {found:?}");
    }
    let found = faults(with(&[
        ("relative/dir", ""),
        ("relative/dir/", ""),
        ("s3://b", ""),
        ("s3://b/x", ""),
    ]));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].ends_with(&rule(1, "target `t0`")) && found[1].ends_with(&rule(3, "target `t2`")));
    let elsewhere = "endpoint = \"https://s3.example.org\"";
    let apart = with(&[
        ("/var/backups/holdfast-2", ""),
        ("s3://b/x", ""),
        ("s3://b/xy", ""),
        ("s3://b/x", elsewhere),
    ]);
    assert_eq!(apart.err().map(|error| error.to_string()), None);
}
