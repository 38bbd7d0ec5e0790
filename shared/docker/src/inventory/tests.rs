use proptest::prelude::*;

use super::*;
use crate::facts::{Endpoint, Environment, Labels, Mount};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn volume(name: &str, pairs: &[(&str, &str)]) -> Volume {
    Volume {
        name: name.to_owned(),
        driver: "local".to_owned(),
        mountpoint: format!("/volumes/{name}/_data"),
        labels: labels(pairs),
        ..Volume::default()
    }
}

fn container(name: &str, mounts: &[(&str, &str)], pairs: &[(&str, &str)]) -> Container {
    let mount = |(volume, destination): &(&str, &str)| Mount {
        volume: Some((*volume).to_owned()),
        destination: (*destination).to_owned(),
        writable: true,
        ..Mount::default()
    };
    Container {
        id: format!("id-{name}"),
        name: name.to_owned(),
        state: State::Running,
        labels: labels(pairs),
        mounts: mounts.iter().map(mount).collect(),
        networks: [(
            "back".to_owned(),
            Endpoint {
                network_id: "n1".into(),
                address: Some("10.0.0.2".into()),
                ..Endpoint::default()
            },
        )]
        .into(),
        network_mode: "back".to_owned(),
        ..Container::default()
    }
}

#[test]
fn a_container_needs_those_of_its_stack_that_it_shares_a_network_with() {
    let of = |name: &str, stack: &str, networks: &[&str]| Container {
        networks: networks
            .iter()
            .map(|name| ((*name).to_owned(), Endpoint::default()))
            .collect(),
        ..container(name, &[], &[(PROJECT, stack)])
    };
    let containers = [
        of("snapshotter", "own", &["bus", "telemetry"]),
        of("nats", "own", &["bus"]),
        of("web", "own", &["shop"]),
        of("sidecar", "own", &[]),
        of("stranger", "other", &["bus"]),
    ];
    let needed = |id: &str| needed_by(id, &containers).into_iter().collect::<Vec<_>>();
    assert_eq!(needed("id-snapshotter"), ["id-nats", "id-sidecar", "id-snapshotter"]);
    assert_eq!(
        needed("id-sidecar"),
        ["id-nats", "id-sidecar", "id-snapshotter", "id-web"]
    );
    assert_eq!(needed("gone"), ["gone"]);
}

fn all() -> Selection {
    selection(&["*"], &[], false)
}

fn selection(include: &[&str], exclude: &[&str], anonymous: bool) -> Selection {
    let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::new(text).unwrap()).collect();
    Selection {
        include: patterns(include),
        exclude: patterns(exclude),
        anonymous,
        databases: true,
    }
}

fn decision(inventory: &Inventory, volume: &str) -> String {
    match &inventory.volumes[volume].decision {
        Decision::Take => "take".to_owned(),
        Decision::Leave(reason) => format!("leave: {reason}"),
        Decision::Fail(faults) => {
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            format!("fail: {}", faults.join("; "))
        }
    }
}

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn volumes_are_chosen_by_pattern_label_and_name() {
    let volumes = [
        volume("shop_files", &[]),
        volume("shop_cache", &[]),
        volume("other", &[]),
        volume("shop_off", &[("holdfast.enable", "false")]),
        volume("shop_labelled", &[("com.docker.volume.anonymous", "")]),
        volume(HEX, &[]),
    ];
    let chosen = selection(&["shop_*", "[0-9a-f]*"], &["*_cache"], false);
    let inventory = take(&[], &volumes, &chosen);
    assert_eq!(decision(&inventory, "shop_files"), "take");
    assert_eq!(
        decision(&inventory, "shop_cache"),
        r#"leave: it matches "*_cache" in docker.volumes.exclude"#
    );
    assert_eq!(
        decision(&inventory, "other"),
        "leave: it matches nothing in docker.volumes.include"
    );
    assert_eq!(
        decision(&inventory, "shop_off"),
        "leave: its label says holdfast.enable=false"
    );
    let anonymous = "leave: it is anonymous (docker.volumes.anonymous would take it)";
    assert_eq!(decision(&inventory, HEX), anonymous);
    assert_eq!(decision(&inventory, "shop_labelled"), anonymous);
    let inventory = take(&[], &volumes, &selection(&["*"], &[], true));
    assert_eq!(decision(&inventory, HEX), "take");
}

#[test]
fn a_containers_enable_counts_for_what_it_alone_uses() {
    let volumes = [
        volume("own", &[]),
        volume("shared", &[]),
        volume("kept", &[("holdfast.enable", "true")]),
    ];
    let containers = [
        container(
            "one",
            &[("own", "/own"), ("shared", "/shared"), ("kept", "/kept")],
            &[("holdfast.enable", "false")],
        ),
        container("two", &[("shared", "/shared")], &[]),
    ];
    let inventory = take(&containers, &volumes, &all());
    assert_eq!(
        decision(&inventory, "own"),
        "leave: container one, which alone uses it, says holdfast.enable=false"
    );
    assert_eq!(decision(&inventory, "shared"), "take");
    assert_eq!(decision(&inventory, "kept"), "take");
}

#[test]
fn the_volumes_own_labels_go_first_and_then_the_strictest() {
    let volumes = [
        volume(
            "own",
            &[
                ("holdfast.mode", "live"),
                ("holdfast.class", "daily"),
                ("holdfast.group", "mine"),
            ],
        ),
        volume("theirs", &[]),
    ];
    let mounts = [("own", "/own"), ("theirs", "/theirs")];
    let containers = [
        container(
            "one",
            &mounts,
            &[
                ("holdfast.mode", "pause"),
                ("holdfast.class", "monthly"),
                ("holdfast.group", "shop"),
            ],
        ),
        container(
            "two",
            &mounts,
            &[("holdfast.mode", "stop"), ("holdfast.class", "weekly")],
        ),
    ];
    let inventory = take(&containers, &volumes, &all());
    let told = |name: &str| {
        let entry = &inventory.volumes[name];
        (entry.mode, entry.group.as_deref(), entry.class)
    };
    assert_eq!(told("own"), (Mode::Live, Some("mine"), Some(Class::Daily)));
    assert_eq!(told("theirs"), (Mode::Stop, Some("shop"), Some(Class::Monthly)));
}

#[test]
fn what_cannot_be_understood_fails_by_name_and_alone() {
    let volumes = [
        volume("odd", &[("holdfast.mode", "freeze")]),
        volume("used", &[]),
        volume("torn", &[]),
        volume("good", &[]),
        volume(
            "odd-and-off",
            &[("holdfast.enable", "false"), ("holdfast.mode", "freeze")],
        ),
    ];
    let containers = [
        container(
            "user",
            &[("used", "/u")],
            &[("holdfast.exec.timeout", "now"), ("holdfast.postgres.port", "x")],
        ),
        container("left", &[("torn", "/t")], &[("holdfast.group", "a")]),
        container("right", &[("torn", "/t")], &[("holdfast.group", "b")]),
        container("other", &[("good", "/g")], &[("holdfast.grup", "a")]),
    ];
    let inventory = take(&containers, &volumes, &all());
    assert_eq!(
        decision(&inventory, "odd"),
        r#"fail: label holdfast.mode: "freeze" must be one of live, pause, stop"#
    );
    assert_eq!(
        decision(&inventory, "used"),
        r#"fail: container user, which uses it: label holdfast.exec.timeout: "now" must be a time with a unit, such as 30s or 5m, of at most a day"#
    );
    assert_eq!(
        decision(&inventory, "torn"),
        "fail: its containers name different groups: a, b"
    );
    assert_eq!(decision(&inventory, "good"), "take");
    assert_eq!(
        decision(&inventory, "odd-and-off"),
        "leave: its label says holdfast.enable=false"
    );
    let warnings: Vec<_> = inventory.warnings.iter().map(ToString::to_string).collect();
    assert!(
        warnings
            .contains(&r#"container other: label "holdfast.grup" is unknown; did you mean holdfast.group?"#.to_owned())
    );
}

fn postgres(name: &str, mounts: &[(&str, &str)], environment: &[&str], pairs: &[(&str, &str)]) -> Container {
    let marked = [pairs, &[("holdfast.postgres", "true")]].concat();
    Container {
        environment: Environment::from_lines(environment),
        ..container(name, mounts, &marked)
    }
}

#[test]
fn databases_are_found_with_what_their_environment_says() {
    let mounts = [("data", "/var/lib/postgresql/data")];
    let plain = postgres("plain", &mounts, &[], &[]);
    let set = postgres(
        "set",
        &mounts,
        &[
            "POSTGRES_USER=shop",
            "POSTGRES_PASSWORD=secret word",
            "PGPORT=5433",
            "PGDATA=/var/lib/postgresql/data/pg",
        ],
        &[],
    );
    let file = postgres(
        "file",
        &mounts,
        &[
            "POSTGRES_DB=main",
            "POSTGRES_PASSWORD_FILE=/run/secrets/pg",
            "POSTGRES_PASSWORD=x",
        ],
        &[("holdfast.postgres.user", "backup"), ("holdfast.postgres.port", "6000")],
    );
    let inventory = take(
        &[plain, set, file, container("app", &[], &[])],
        &[volume("data", &[])],
        &all(),
    );
    let told = |name: &str| {
        let one = &inventory.databases[name];
        assert_eq!(one.faults, []);
        assert_eq!(one.data_volume.as_deref(), Some("data"));
        let password = match &one.password {
            Password::File(file) => format!("file {file}"),
            Password::Value(value) => format!("value {}", value.expose()),
            Password::Absent => "none".to_owned(),
        };
        (one.user.as_str(), one.database.as_str(), one.port, password)
    };
    assert_eq!(told("plain"), ("postgres", "postgres", 5432, "none".to_owned()));
    assert_eq!(told("set"), ("shop", "shop", 5433, "value secret word".to_owned()));
    assert_eq!(
        told("file"),
        ("backup", "main", 6000, "file /run/secrets/pg".to_owned())
    );
    assert_eq!(inventory.databases.len(), 3);
    assert!(!format!("{inventory:?}").contains("secret word"));
    let network = &inventory.databases["plain"].networks[0];
    assert_eq!(
        (network.name.as_str(), network.address.as_deref()),
        ("back", Some("10.0.0.2"))
    );
}

#[test]
fn the_volume_of_a_dumped_database_is_left_out() {
    let volumes = [
        volume("data", &[]),
        volume("data-18", &[]),
        volume("inner", &[]),
        volume("outer", &[]),
        volume("taken", &[("holdfast.enable", "true")]),
        volume("broken", &[]),
        volume("backups", &[]),
    ];
    let containers = [
        postgres(
            "db",
            &[("data", "/var/lib/postgresql/data"), ("backups", "/backups")],
            &[],
            &[],
        ),
        postgres(
            "db18",
            &[("data-18", "/var/lib/postgresql")],
            &["PGDATA=/var/lib/postgresql/18/docker"],
            &[],
        ),
        postgres(
            "nested",
            &[("outer", "/srv"), ("inner", "/srv/pg")],
            &["PGDATA=/srv/pg/data"],
            &[],
        ),
        postgres("both", &[("taken", "/var/lib/postgresql/data")], &[], &[]),
        postgres(
            "bad",
            &[("broken", "/var/lib/postgresql/data")],
            &[],
            &[("holdfast.postgres.network", "front")],
        ),
    ];
    let inventory = take(&containers, &volumes, &all());
    let left = |container: &str| {
        format!(
            "leave: it holds the data directory of container {container}, whose databases are dumped (label the volume holdfast.enable=true to take it, too)"
        )
    };
    assert_eq!(decision(&inventory, "data"), left("db"));
    assert_eq!(decision(&inventory, "data-18"), left("db18"));
    assert_eq!(decision(&inventory, "inner"), left("nested"));
    for taken in ["outer", "taken", "broken", "backups"] {
        assert_eq!(decision(&inventory, taken), "take", "{taken}");
    }
    let faults: Vec<_> = inventory.databases["bad"]
        .faults
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(faults, ["label holdfast.postgres.network: it is not in network front"]);
}

#[test]
fn a_database_that_cannot_be_understood_is_named() {
    let mut lonely = postgres("lonely", &[], &[], &[]);
    lonely.networks.clear();
    lonely.network_mode = "none".to_owned();
    let mut on_host = lonely.clone();
    on_host.name = "on-host".to_owned();
    on_host.network_mode = "host".to_owned();
    let odd = container("odd", &[], &[("holdfast.postgres", "yes")]);
    let port = postgres("port", &[], &["PGPORT=secret"], &[]);
    let inventory = take(&[lonely, on_host, odd, port], &[], &all());
    let faults = |name: &str| {
        inventory.databases[name]
            .faults
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(faults("lonely"), ["it is in no network"]);
    assert!(faults("on-host").is_empty() && inventory.databases["on-host"].on_host_network);
    assert_eq!(
        faults("odd"),
        [r#"label holdfast.postgres: "yes" must be one of true, false"#]
    );
    assert_eq!(faults("port"), ["PGPORT in its environment is no port"]);
}

#[test]
fn stacks_are_gathered_from_what_compose_wrote() {
    let of = |service: &'static str| {
        vec![
            ("com.docker.compose.project", "shop"),
            ("com.docker.compose.service", service),
            ("com.docker.compose.project.working_dir", "/srv/shop"),
            (
                "com.docker.compose.project.config_files",
                "/srv/shop/compose.yaml,/srv/shop/override.yaml",
            ),
        ]
    };
    let containers = [
        container("shop-app-1", &[("files", "/files")], &of("app")),
        container("shop-app-2", &[("files", "/files")], &of("app")),
        container("shop-db-1", &[], &of("db")),
        container("alone", &[("shared", "/x")], &[]),
        container("shop-x-1", &[("shared", "/x")], &of("x")),
        container("holdfast-helper-1", &[("unused", "/x")], &[("holdfast.helper", "true")]),
    ];
    let volumes = [
        volume("files", &[]),
        volume("shared", &[]),
        volume("unused", &[]),
        volume("shop_data", &[("com.docker.compose.project", "shop")]),
    ];
    let inventory = take(&containers, &volumes, &all());
    let shop = &inventory.stacks["shop"];
    assert_eq!(shop.working_dir.as_deref(), Some("/srv/shop"));
    assert_eq!(
        shop.config_files,
        BTreeSet::from([
            "/srv/shop/compose.yaml".to_owned(),
            "/srv/shop/override.yaml".to_owned()
        ])
    );
    assert_eq!(
        shop.services["app"],
        BTreeSet::from(["shop-app-1".to_owned(), "shop-app-2".to_owned()])
    );
    assert_eq!(
        shop.volumes,
        BTreeSet::from(["files".to_owned(), "shop_data".to_owned()])
    );
    assert_eq!(inventory.volumes["shared"].stack, None);
    assert!(inventory.volumes["unused"].users.is_empty());
    assert_eq!(inventory.volumes["files"].users.len(), 2);
}

proptest! {
    /// Each volume is listed with one decision, and a volume that its own label switches off is never taken.
    #[test]
    fn every_volume_is_accounted_for(
        values in prop::collection::vec(prop::sample::select(vec!["true", "false", "stop", "?", "a"]), 6),
        names in prop::collection::btree_set("[a-c]{1,2}", 1..6),
        include in prop::sample::select(vec!["*", "a*", "b"]),
    ) {
        let keys = ["holdfast.enable", "holdfast.mode", "holdfast.group"];
        let volumes: Vec<_> = names.iter().enumerate()
            .map(|(at, name)| volume(name, &[(keys[at % 3], values[at % 6])])).collect();
        let mounts: Vec<_> = names.iter().map(|name| (name.as_str(), "/x")).collect();
        let user = container("user", &mounts, &[(keys[0], values[5]), (keys[1], values[4])]);
        let inventory = take(&[user], &volumes, &selection(&[include], &[], false));
        prop_assert_eq!(inventory.volumes.len(), names.len());
        for (name, entry) in &inventory.volumes {
            let off = entry.volume.labels.get("holdfast.enable").is_some_and(|value| value == "false");
            let included = Pattern::new(include).unwrap().matches(name);
            prop_assert!(!(entry.is_taken() && (off || !included)));
            prop_assert_eq!(included, entry.decision != Decision::Leave(Reason::NotIncluded));
        }
    }
}
