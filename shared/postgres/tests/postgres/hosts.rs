use holdfast_config::Connection;
use holdfast_fault::{Retry, Retryable as _};
use holdfast_postgres::Server;
use holdfast_tests::postgres::Cluster;

use crate::common::{by_driver, by_program, runtime, server};

const PORT: &str = "SELECT current_setting('port')";

#[test]
fn of_several_hosts_the_first_that_will_do_is_spoken_to_by_all() {
    let primary = Cluster::start().unwrap();
    let standby = primary.standby().unwrap();
    let runtime = runtime();
    // Nobody listens on this port.
    let down = 1;
    let one = primary.port();
    let two = standby.port();
    let cases = [
        ([down, one], "any", Some(one)),
        ([two, one], "any", Some(two)),
        ([two, one], "primary", Some(one)),
        ([two, one], "read-write", Some(one)),
        ([one, two], "standby", Some(two)),
        ([one, two], "read-only", Some(two)),
        ([one, two], "prefer-standby", Some(two)),
        ([down, one], "prefer-standby", Some(one)),
        ([down, two], "primary", None),
        ([down, down], "any", None),
    ];
    for ([first, second], wanted, expected) in cases {
        let hosts = format!("127.0.0.1:{first},localhost:{second}");
        let url = format!("postgres://postgres@{hosts}/postgres?target_session_attrs={wanted}");
        let to = server(&url);
        let expected = expected.map(|port| port.to_string());
        let driver = by_driver(&runtime, &to, PORT);
        assert_eq!(driver.as_ref().ok(), expected.as_ref(), "the driver, {url}: {driver:?}");
        let program = by_program(&to, PORT);
        assert_eq!(
            program.as_ref().ok(),
            expected.as_ref(),
            "a program, {url}: {program:?}"
        );
        match (expected, driver) {
            // What goes on from a session meets the same server, whatever becomes of the others.
            (Some(expected), _) => {
                let (_, there) = runtime.block_on(to.connect_there()).unwrap();
                assert_eq!(there.describe().rsplit(':').next(), Some(expected.as_str()));
                assert_eq!(by_program(&there, PORT).as_ref(), Ok(&expected));
            }
            (None, Err(error)) => {
                assert_eq!(error.retry(), Retry::Later);
                let told = holdfast_fault::chain(&error).to_string();
                assert!(told.contains("refused"), "{told}");
            }
            (None, Ok(port)) => panic!("{url}: {port}"),
        }
    }
    let random = format!("postgres://postgres@127.0.0.1:{one},127.0.0.1:{two}/postgres?load_balance_hosts=random");
    let mut met: Vec<String> = (0..30)
        .map(|_| by_driver(&runtime, &server(&random), PORT).unwrap())
        .collect();
    met.sort();
    met.dedup();
    assert_eq!(met.len(), 2, "both are met sooner or later");
}

#[test]
fn a_server_that_refuses_is_final_and_the_others_are_not_tried() {
    let first = Cluster::start().unwrap();
    let second = Cluster::start().unwrap();
    let url = format!(
        "postgres://nobody@127.0.0.1:{},127.0.0.1:{}/postgres",
        first.port(),
        second.port()
    );
    let error = by_driver(&runtime(), &server(&url), PORT).unwrap_err();
    assert!(error.is_denied() && !error.is_no_answer(), "{error}");
    assert_eq!(error.retry(), Retry::Never);
    let told = error.to_string();
    assert!(
        told.contains(&first.port().to_string()) && !told.contains(&second.port().to_string()),
        "{told}"
    );
}

#[test]
fn a_socket_a_session_setting_and_a_name_reach_the_server_both_ways() {
    let cluster = Cluster::start().unwrap();
    let runtime = runtime();
    let folder = cluster.socket_dir().display().to_string();
    let asked = "SELECT current_setting('work_mem') || ' ' || current_setting('application_name') || ' ' || \
                 coalesce(inet_client_addr()::text, 'socket') FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    let options = "options=-c%20work_mem%3D3MB&application_name=nightly&sslmode=require&connect_timeout=7";
    let encoded = holdfast_tests::postgres::percent_encoded(&folder);
    let port = cluster.port();
    for url in [
        format!("postgres://postgres@{encoded}:{port}/postgres?{options}"),
        format!("postgres://postgres@/postgres?host={folder}&port={port}&{options}"),
        format!(
            "host={folder} port={port} user=postgres options='-c work_mem=3MB' application_name=nightly sslmode=require"
        ),
    ] {
        let to = server(&url);
        assert_eq!(by_driver(&runtime, &to, asked).unwrap(), "3MB nightly socket", "{url}");
        assert_eq!(by_program(&to, asked).unwrap(), "3MB nightly socket", "{url}");
    }
}

#[test]
fn odd_names_reach_the_server_both_ways() {
    let cluster = Cluster::start().unwrap();
    let runtime = runtime();
    for name in holdfast_tests::db::ODD_NAMES {
        cluster.create_database(name).unwrap();
        let to = server(&cluster.url(name));
        let asked = "SELECT current_database()::text";
        assert_eq!(to.database(), *name);
        assert_eq!(by_driver(&runtime, &to, asked).unwrap(), *name);
        assert_eq!(by_program(&to, asked).unwrap(), name.trim());
    }
}

#[test]
fn a_service_that_is_not_known_is_told_with_the_files_that_were_looked_at() {
    let connection = Connection::parse("postgres:///?service=no-such-service", std::path::Path::new("/")).unwrap();
    let error = Server::at(&connection, None, None).unwrap_err();
    let told = error.to_string();
    assert!(
        told.contains("no-such-service") && told.contains("pg_service.conf"),
        "{told}"
    );
    assert_eq!(error.retry(), Retry::Never);
}
