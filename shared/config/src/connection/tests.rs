#![allow(clippy::unwrap_used)]
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Connection, Vec<String>> {
    Connection::parse(text, Path::new("/etc/holdfast"))
}

fn reach(text: &str) -> Reach {
    parse(text).unwrap().reach().unwrap()
}

/// Returns the rules that a text breaks.
fn faults(text: &str) -> Vec<String> {
    let read = parse(text).and_then(|connection| connection.reach().map(|_| ()));
    read.expect_err(text)
}

fn hosts(text: &str) -> Vec<String> {
    reach(text).hosts.iter().map(ToString::to_string).collect()
}

#[test]
fn each_part_of_a_url_is_read() {
    let url = "postgres://me:pa%3Ass#1@db:5433/a%20b?sslmode=verify-full&sslrootcert=ca%20x.pem&connect_timeout=5\
               &application_name=a+b&options=-c%20work_mem%3D1MB&sslcert=c.pem&sslkey=/k.pem&channel_binding=require\
               &target_session_attrs=primary&keepalives_idle=9&ssl_min_protocol_version=TLSv1.3&sslsni=0";
    let connection = parse(url).unwrap();
    assert_eq!(connection.password().unwrap().expose(), "pa:ss#1");
    assert!(!format!("{connection} {connection:?}").contains("ss#1"));
    let reach = connection.reach().unwrap();
    assert_eq!((reach.user.as_str(), reach.database.as_deref()), ("me", Some("a b")));
    assert_eq!(reach.hosts[0].to_string(), "db:5433");
    assert_eq!(reach.sslmode, SslMode::VerifyFull);
    assert_eq!(
        reach.authorities,
        Some(Authorities::File("/etc/holdfast/ca x.pem".into()))
    );
    assert_eq!(reach.certificate, Some(("/etc/holdfast/c.pem".into(), "/k.pem".into())));
    assert_eq!(reach.connect_within, Some(Duration::from_secs(5)));
    assert_eq!(reach.application.as_deref(), Some("a+b"));
    assert_eq!(reach.options.as_deref(), Some("-c work_mem=1MB"));
    assert_eq!(
        (reach.channel_binding, reach.session),
        (ChannelBinding::Require, TargetSession::Primary)
    );
    assert_eq!(reach.keepalives.idle, Duration::from_secs(9));
    assert_eq!((reach.oldest, reach.sni), (Some(TlsVersion::V1_3), false));
}

#[test]
fn what_is_left_out_has_its_default() {
    let reach = reach("postgresql://");
    assert_eq!((reach.user.as_str(), reach.database), ("postgres", None));
    assert_eq!(reach.hosts[0].to_string(), "/var/run/postgresql:5432");
    assert!(reach.hosts[0].is_socket());
    assert_eq!(
        (reach.sslmode, reach.authorities, reach.session),
        (SslMode::Prefer, None, TargetSession::Any)
    );
    assert_eq!(reach.keepalives.idle, Duration::from_secs(60));
}

#[test]
fn several_hosts_have_a_port_each_or_one_for_all() {
    assert_eq!(hosts("postgres://a:1,b,[::1]:3/x"), ["a:1", "b:5432", "::1:3"]);
    assert_eq!(hosts("postgres:///x?host=a,b&port=7"), ["a:7", "b:7"]);
    assert_eq!(hosts("postgres://%2Frun%2Fpg/x"), ["/run/pg:5432"]);
    assert_eq!(hosts("postgres://me@/x?host=/run/pg&port=6"), ["/run/pg:6"]);
    assert_eq!(hosts("postgres://a,b/x?hostaddr=10.0.0.1,::1"), ["a:5432", "b:5432"]);
    let by_address = reach("postgres:///x?hostaddr=10.0.0.1,10.0.0.2&port=1,2");
    assert_eq!(by_address.hosts[1].address, Some("10.0.0.2".parse().unwrap()));
    assert_eq!(by_address.hosts[1].to_string(), "10.0.0.2:2");
    let rule = |text: &str| faults(text).join("; ");
    assert!(rule("postgres://a,b/?port=1,2,3").contains("one port, or as many as hosts"));
    assert!(rule("postgres://a,b/?hostaddr=::1").contains("as many hosts as addresses"));
    assert!(rule("postgres://a:0/").contains("ports from 1"));
    assert!(rule("postgres://::1/").contains("in brackets"));
}

#[test]
fn authorities_that_are_named_are_looked_at_whenever_tls_is_spoken() {
    let trust = |query: &str| {
        let reach = reach(&format!("postgres://db/?{query}"));
        (reach.sslmode, reach.authorities)
    };
    let file = Some(Authorities::File("/ca.pem".into()));
    assert_eq!(trust("sslrootcert=/ca.pem"), (SslMode::Prefer, file.clone()));
    assert_eq!(trust("sslrootcert=/ca.pem&sslmode=require"), (SslMode::Require, file));
    assert_eq!(trust("sslmode=require"), (SslMode::Require, None));
    assert_eq!(trust("ssl=true"), (SslMode::Require, None));
    assert_eq!(
        trust("sslmode=verify-ca"),
        (SslMode::VerifyCa, Some(Authorities::System))
    );
    assert_eq!(
        trust("sslrootcert=system"),
        (SslMode::VerifyFull, Some(Authorities::System))
    );
    assert!(faults("postgres://db/?sslrootcert=system&sslmode=require")[0].contains("sslmode=verify-full"));
}

#[test]
fn what_does_not_count_is_told_with_what_to_do() {
    for (text, says) in [
        ("postgres://db/?sslmod=require", "did you mean `sslmode`?"),
        (
            "postgres://db/?target_session_attr=any",
            "did you mean `target_session_attrs`?",
        ),
        ("postgres://db/?passfile=x", "--password-file"),
        ("postgres://db/?sslcrl=x", "revoked certificates"),
        ("postgres://db/?sslpassword=x", "take the passphrase off"),
        ("postgres://db/?gssencmode=require", "Kerberos is not spoken"),
        ("postgres://db/?sslmode=maybe", "valid `sslmode`"),
        ("postgres://db/?connect_timeout=soon", "valid `connect_timeout`"),
        ("postgres://db/?sslcert=a.pem", "both `sslcert` and `sslkey`"),
        ("postgres://db/?sslnegotiation=direct", "`require` or more"),
        ("postgres:///?hostaddr=::1&sslmode=verify-full", "name a host"),
        ("postgres://u:1@db/?password=2", "two passwords"),
        ("postgres://db/%", "two hex digits"),
        ("http://db/?a=b", "must be postgres://"),
        ("db", "must be postgres://"),
        ("host=db colour", "key=value"),
        ("host='db", "with a quote"),
    ] {
        let rules = faults(text);
        assert!(rules.len() == 1 && rules[0].contains(says), "{text}: {rules:?}");
        assert!(rules[0].starts_with("must "), "{rules:?}");
    }
    assert_eq!(faults("postgres://db/?colour=red&shape=round").len(), 2, "all at once");
}

#[test]
fn no_rule_holds_a_part_of_a_password() {
    for text in [
        "postgres://u:a?secret=b@db/",
        "postgres://u:a?b&secret@db/",
        "postgres://u:a%secret@db/",
    ] {
        let rules = faults(text).join("; ");
        assert!(!rules.contains("secret"), "{text}: {rules}");
    }
}

#[test]
fn words_are_read_as_libpq_reads_them() {
    let connection = parse(r"host = /run/pg user='it\'s me' password=a\ b dbname='x y' sslmode=require").unwrap();
    assert_eq!(connection.password().unwrap().expose(), "a b");
    let reach = connection.reach().unwrap();
    assert_eq!(
        (reach.user.as_str(), reach.database.as_deref()),
        ("it's me", Some("x y"))
    );
    assert_eq!(
        (reach.hosts[0].to_string().as_str(), reach.sslmode),
        ("/run/pg:5432", SslMode::Require)
    );
}

#[test]
fn a_service_says_what_the_url_does_not() {
    let words = |pairs: &[(&str, &str)]| {
        let owned = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        owned.collect::<Vec<_>>()
    };
    let url = parse("postgres://me@/shop?service=main&port=7").unwrap();
    assert_eq!(url.service(), Some("main"));
    let service = words(&[
        ("host", "db"),
        ("port", "6"),
        ("user", "other"),
        ("sslrootcert", "ca.pem"),
    ]);
    let merged = url.or_words(service, Path::new("/srv")).unwrap();
    let reach = merged.reach().unwrap();
    assert_eq!(
        (reach.hosts[0].to_string().as_str(), reach.user.as_str()),
        ("db:7", "me")
    );
    assert_eq!(reach.authorities, Some(Authorities::File("/srv/ca.pem".into())));
    let wrong = url.or_words(words(&[("hots", "db")]), Path::new("/srv")).unwrap_err();
    assert!(wrong[0].contains("did you mean `host`?"), "{wrong:?}");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(postgres://)?[a-z@:/?&=%,'\\\\\\[\\] é0-9]{0,40}") {
        let _ = parse(&text).map(|connection| connection.reach());
    }

    #[test]
    fn what_is_shown_reads_as_the_same(
        hosts in proptest::collection::vec("[a-z/]{1,5}|::1", 1..4), ports in any::<bool>(), user in "\\PC{0,5}",
        database in "\\PC{0,5}", options in "\\PC{0,9}",
    ) {
        let mut words = BTreeMap::from([("host", hosts.join(","))]);
        if ports {
            let each: Vec<String> = (1..=hosts.len()).map(|port| port.to_string()).collect();
            words.insert("port", each.join(","));
        }
        for (key, value) in [("user", user), ("dbname", database), ("options", options)] {
            if !value.is_empty() {
                words.insert(key, value);
            }
        }
        let connection = Connection { words, password: None };
        let shown = connection.to_string();
        prop_assert_eq!(connection.words, parse(&shown).unwrap().words, "{}", shown);
    }
}
