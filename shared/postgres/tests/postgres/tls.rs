use holdfast_fault::{Retry, Retryable as _};
use holdfast_tests::certificates::Authority;
use holdfast_tests::postgres::Cluster;

use crate::common::{by_driver, by_program, runtime, server};

/// The rules of access: `only_tls` by password over TLS, `only_plain` by password without, `certified` by certificate.
const HBA: &str = "hostssl all only_tls 127.0.0.1/32 scram-sha-256\n\
                   hostnossl all only_plain 127.0.0.1/32 scram-sha-256\n\
                   hostssl all certified 127.0.0.1/32 cert\n";

const IS_TLS: &str = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

struct Setup {
    cluster: Cluster,
    authority: Authority,
    other: Authority,
}

/// A server whose certificate is for `localhost`.
fn setup() -> Setup {
    let authority = Authority::new().unwrap();
    let certificate = authority.certify("localhost").unwrap();
    let cluster = Cluster::start_with_tls(&certificate, &authority.certificate(), HBA).unwrap();
    let password = holdfast_tests::postgres::literal(holdfast_tests::postgres::PASSWORD);
    let users = ["only_tls", "only_plain", "certified"];
    for user in users {
        cluster
            .psql("postgres", &format!("CREATE ROLE {user} LOGIN PASSWORD {password}"))
            .unwrap();
    }
    Setup {
        cluster,
        authority,
        other: Authority::new().unwrap(),
    }
}

impl Setup {
    fn url(&self, user: &str, host: &str, query: &str) -> String {
        let port = self.cluster.port();
        let ca = self.authority.certificate().display().to_string();
        let other = self.other.certificate().display().to_string();
        let query = query.replace("CA", &ca).replace("OTHER", &other);
        format!("postgres://{user}@{host}:{port}/postgres?{query}")
    }
}

#[test]
fn the_driver_and_programs_hold_to_the_same_rules_for_tls() {
    let setup = setup();
    let runtime = runtime();
    // User, host, parameters; whether TLS is spoken then, or nothing if nobody is let in.
    let cases = [
        (
            "only_tls",
            "localhost",
            "sslmode=verify-full&sslrootcert=CA",
            Some("true"),
        ),
        ("only_tls", "127.0.0.1", "sslmode=verify-full&sslrootcert=CA", None),
        (
            "only_tls",
            "localhost",
            "hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert=CA",
            Some("true"),
        ),
        (
            "only_tls",
            "db.invalid",
            "hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert=CA",
            None,
        ),
        (
            "only_tls",
            "127.0.0.1",
            "sslmode=verify-ca&sslrootcert=CA",
            Some("true"),
        ),
        ("only_tls", "localhost", "sslmode=verify-ca&sslrootcert=OTHER", None),
        ("only_tls", "localhost", "sslmode=verify-full", None),
        ("only_tls", "localhost", "sslrootcert=system", None),
        ("only_tls", "localhost", "sslmode=require", Some("true")),
        ("only_tls", "localhost", "sslmode=require&sslrootcert=OTHER", None),
        (
            "only_tls",
            "localhost",
            "sslmode=require&sslsni=0&ssl_min_protocol_version=TLSv1.3",
            Some("true"),
        ),
        (
            "only_tls",
            "localhost",
            "sslmode=require&ssl_max_protocol_version=TLSv1.1",
            None,
        ),
        (
            "only_tls",
            "localhost",
            "sslmode=require&channel_binding=require",
            Some("true"),
        ),
        ("only_tls", "localhost", "", Some("true")),
        ("only_tls", "localhost", "sslmode=allow", Some("true")),
        ("only_tls", "localhost", "sslmode=disable", None),
        ("only_plain", "localhost", "", Some("false")),
        ("only_plain", "localhost", "sslrootcert=OTHER", Some("false")),
        ("only_plain", "localhost", "sslmode=allow", Some("false")),
        (
            "only_plain",
            "localhost",
            "sslmode=disable&channel_binding=require",
            None,
        ),
        ("only_plain", "localhost", "sslmode=require", None),
    ];
    for (user, host, query, expected) in cases {
        let url = setup.url(user, host, query);
        let to = server(&url);
        let driver = by_driver(&runtime, &to, IS_TLS);
        assert_eq!(
            driver.as_deref().ok(),
            expected,
            "the driver, {user}, {host}, {query}: {driver:?}"
        );
        let program = by_program(&to, IS_TLS);
        assert_eq!(
            program.as_deref().ok(),
            expected,
            "a program, {user}, {host}, {query}: {program:?}"
        );
        if let Err(complaint) = program {
            assert!(!complaint.contains("does not exist"), "{query}: {complaint}");
        }
    }
}

#[test]
fn a_user_is_let_in_by_certificate() {
    let setup = setup();
    let runtime = runtime();
    let own = setup.authority.certify("certified").unwrap();
    let foreign = setup.other.certify("certified").unwrap();
    let whose = "SELECT current_user::text";
    for (certificate, expected) in [(Some(&own), Some("certified")), (Some(&foreign), None), (None, None)] {
        let shown = certificate.map(|certificate| certificate.in_url()).unwrap_or_default();
        let to = server(&setup.url(
            "certified",
            "localhost",
            &format!("sslmode=verify-full&sslrootcert=CA&{shown}"),
        ));
        let driver = by_driver(&runtime, &to, whose);
        assert_eq!(driver.as_deref().ok(), expected, "the driver, {shown}: {driver:?}");
        let program = by_program(&to, whose);
        assert_eq!(program.as_deref().ok(), expected, "a program, {shown}: {program:?}");
    }
    // A key that is not its owner's alone is refused by both, before anything is sent.
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&own.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let to = server(&setup.url("certified", "localhost", &format!("sslmode=require&{}", own.in_url())));
    let error = by_driver(&runtime, &to, whose).unwrap_err();
    assert!(error.to_string().contains("chmod"), "{error}");
    assert_eq!(error.retry(), Retry::Never);
    by_program(&to, whose).unwrap_err();
}

#[test]
fn what_is_wrong_with_a_connection_is_told_with_what_to_do() {
    let setup = setup();
    let runtime = runtime();
    let missing = "sslmode=verify-full&sslrootcert=/no/such/ca.pem";
    for (user, query, says) in [
        (
            "only_tls",
            "sslmode=verify-full&sslrootcert=OTHER",
            "check sslmode, sslrootcert",
        ),
        ("only_tls", missing, "/no/such/ca.pem"),
        ("only_plain", "sslmode=require", "pg_hba.conf"),
        ("nobody", "sslmode=disable", "pg_hba.conf"),
    ] {
        let error = by_driver(&runtime, &server(&setup.url(user, "localhost", query)), IS_TLS).unwrap_err();
        let told = holdfast_fault::chain(&error).to_string();
        assert!(told.contains(says), "{query}: {told}");
    }
    let without = holdfast_postgres::Server::from_url(&setup.url("only_tls", "localhost", ""), None).unwrap();
    let error = by_driver(&runtime, &without, IS_TLS).unwrap_err();
    assert!(error.to_string().contains("name a password_file"), "{error}");
}
