use std::collections::BTreeMap;

use super::*;
use crate::facts::{Endpoint, Environment};

fn container(name: &str, mode: &str, networks: &[(&str, Option<&str>)]) -> Container {
    let endpoint = |(network, address): &(&str, Option<&str>)| {
        let endpoint = Endpoint {
            network_id: format!("id-{network}"),
            address: address.map(str::to_owned),
            aliases: Vec::new(),
        };
        ((*network).to_owned(), endpoint)
    };
    Container {
        id: format!("id-{name}"),
        name: name.to_owned(),
        state: State::Running,
        network_mode: mode.to_owned(),
        networks: networks.iter().map(endpoint).collect(),
        labels: BTreeMap::from([("holdfast.postgres".to_owned(), "true".to_owned())]),
        environment: Environment::from_lines(["POSTGRES_PASSWORD=secret"]),
        ..Container::default()
    }
}

fn database(container: &Container) -> Database {
    let selection = Selection {
        include: Vec::new(),
        exclude: Vec::new(),
        anonymous: false,
        databases: true,
    };
    let mut inventory = inventory::take(std::slice::from_ref(container), &[], &selection);
    inventory.databases.remove(&container.name).unwrap()
}

#[test]
fn a_shared_network_is_taken_before_any_other() {
    let db = database(&container(
        "db",
        "back",
        &[("back", Some("10.0.0.2")), ("front", Some("10.1.0.2"))],
    ));
    let asker = container("holdfast", "front", &[("front", Some("10.1.0.9"))]);
    let route = Route::find(&db, Some(&asker)).unwrap();
    assert_eq!((route.address.as_str(), route.is_shared), ("10.1.0.2", true));
    assert_eq!(route.network.unwrap().name, "front");
}

#[test]
fn an_asker_outside_joins_a_network_of_the_database() {
    let db = database(&container("db", "back", &[("back", Some("10.0.0.2"))]));
    let asker = container("holdfast", "front", &[("front", Some("10.1.0.9"))]);
    let route = Route::find(&db, Some(&asker)).unwrap();
    assert_eq!((route.address.as_str(), route.is_shared), ("10.0.0.2", false));
    assert_eq!(route.network.unwrap().id, "id-back");
}

#[test]
fn the_host_reaches_every_bridge_and_joins_nothing() {
    let db = database(&container("db", "back", &[("back", Some("10.0.0.2"))]));
    let on_host = container("holdfast", "host", &[]);
    for asker in [None, Some(&on_host)] {
        let route = Route::find(&db, asker).unwrap();
        assert_eq!((route.address.as_str(), route.network), ("10.0.0.2", None));
    }
}

#[test]
fn a_database_in_the_hosts_network_is_reached_from_the_host_alone() {
    let db = database(&container("db", "host", &[]));
    assert_eq!(Route::find(&db, None).unwrap().address, "127.0.0.1");
    let asker = container("holdfast", "front", &[("front", Some("10.1.0.9"))]);
    let error = Route::find(&db, Some(&asker)).unwrap_err();
    assert!(error.to_string().contains("the container holdfast is not"), "{error}");
    assert_eq!(error.retry(), Retry::Never);
}

#[test]
fn a_container_without_an_address_is_asked_for_again() {
    for address in [None, Some("")] {
        let db = database(&container("db", "back", &[("back", address)]));
        let error = Route::find(&db, None).unwrap_err();
        assert!(matches!(error, ReachProblem::NoAddress), "{error}");
        let error = error.of("db");
        assert_eq!(error.retry(), Retry::Later);
        assert_eq!(
            holdfast_fault::chain(&error).to_string(),
            "reach the databases of container db: it has no address yet"
        );
    }
}

#[test]
fn a_container_that_does_not_run_is_refused_with_its_state() {
    let mut one = container("db", "back", &[("back", None)]);
    assert!(fault(&database(&one)).is_none());
    for (state, said) in [
        (State::Paused, "it is paused"),
        (State::Restarting, "it ends and is started again and again"),
        (State::Stopped, "it does not run"),
    ] {
        one.state = state;
        assert_eq!(fault(&database(&one)).unwrap().to_string(), said);
    }
}
