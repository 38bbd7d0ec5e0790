use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn every_label_is_understood() {
    let understood = of_container(&labels(&[
        ("com.docker.compose.project", "shop"),
        ("holdfast.enable", "true"),
        ("holdfast.mode", "stop"),
        ("holdfast.group", "shop.files"),
        ("holdfast.class", "monthly"),
        ("holdfast.stop-timeout", "30s"),
        ("holdfast.depends-on", "db, cache ,"),
        ("holdfast.exec.before", "touch /x && sync"),
        ("holdfast.exec.after", "rm /x"),
        ("holdfast.exec.user", "1000:1000"),
        ("holdfast.exec.timeout", "2m"),
        ("holdfast.exec.on-failure", "warn"),
        ("holdfast.postgres", "true"),
        ("holdfast.postgres.user", "o'neill"),
        ("holdfast.postgres.database", "main db"),
        ("holdfast.postgres.port", "5433"),
        ("holdfast.postgres.password-file", "/run/secrets/db"),
        ("holdfast.postgres.network", "back"),
    ]));
    assert_eq!(understood.faults, []);
    assert_eq!(understood.warnings, []);
    let text = |text: &str| Some(text.to_owned());
    let expected = ContainerPolicy {
        volume: VolumePolicy {
            enable: Some(true),
            mode: Some(Mode::Stop),
            group: text("shop.files"),
            class: Some(Class::Monthly),
        },
        stop_timeout: Some(Duration::from_secs(30)),
        depends_on: vec!["db".into(), "cache".into()],
        hooks: Hooks {
            before: text("touch /x && sync"),
            after: text("rm /x"),
            user: text("1000:1000"),
            timeout: Duration::from_secs(120),
            on_failure: OnFailure::Warn,
        },
        postgres: Some(PostgresPolicy {
            user: text("o'neill"),
            database: text("main db"),
            port: Some(5433),
            password_file: text("/run/secrets/db"),
            network: text("back"),
        }),
    };
    assert_eq!(understood.policy, expected);
}

#[test]
fn no_labels_say_nothing() {
    assert_eq!(of_container(&BTreeMap::new()), Understood::default());
    assert_eq!(
        of_volume(&labels(&[("holdfastish", "x"), ("mode", "stop")])),
        Understood::default()
    );
}

#[test]
fn what_cannot_be_understood_is_named() {
    let table = [
        (
            "holdfast.enable",
            "yes",
            r#"label holdfast.enable: "yes" must be one of true, false"#,
        ),
        (
            "holdfast.enable",
            "flase",
            r#"label holdfast.enable: "flase" must be one of true, false; did you mean false?"#,
        ),
        (
            "holdfast.mode",
            "Stop",
            r#"label holdfast.mode: "Stop" must be one of live, pause, stop; did you mean stop?"#,
        ),
        (
            "holdfast.mode",
            "",
            r#"label holdfast.mode: "" must be one of live, pause, stop"#,
        ),
        (
            "holdfast.group",
            "../../etc",
            r#"label holdfast.group: "../../etc" must be a name: letters, digits, and after the first of them also _ . -"#,
        ),
        (
            "holdfast.class",
            "yearly",
            r#"label holdfast.class: "yearly" must be one of daily, weekly, monthly, pinned"#,
        ),
        (
            "holdfast.stop-timeout",
            "30",
            r#"label holdfast.stop-timeout: "30" must be a time with a unit, such as 30s or 5m, of at most a day"#,
        ),
        (
            "holdfast.stop-timeout",
            "3w",
            r#"label holdfast.stop-timeout: "3w" must be a time with a unit, such as 30s or 5m, of at most a day"#,
        ),
        (
            "holdfast.depends-on",
            "db;cache",
            r#"label holdfast.depends-on: "db;cache" must be names of containers or services, parted by commas"#,
        ),
        (
            "holdfast.exec.before",
            " ",
            r#"label holdfast.exec.before: " " must not be empty, nor hold a NUL"#,
        ),
        (
            "holdfast.exec.timeout",
            "0s",
            r#"label holdfast.exec.timeout: "0s" must be longer than nothing"#,
        ),
        (
            "holdfast.exec.on-failure",
            "ignore",
            r#"label holdfast.exec.on-failure: "ignore" must be one of fail, warn"#,
        ),
        (
            "holdfast.postgres.port",
            "0",
            r#"label holdfast.postgres.port: "0" must be a port: 1 to 65535"#,
        ),
        (
            "holdfast.postgres.password-file",
            "secrets/db",
            r#"label holdfast.postgres.password-file: "secrets/db" must be an absolute path in the container"#,
        ),
    ];
    for (label, value, expected) in table {
        let understood = of_container(&labels(&[(label, value), ("holdfast.postgres", "true")]));
        let faults: Vec<_> = understood.faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults, [expected]);
        assert_eq!(
            understood.faults[0].is_of_postgres(),
            label.starts_with("holdfast.postgres")
        );
    }
}

#[test]
fn a_value_at_fault_is_shown_cut_and_escaped() {
    let understood = of_volume(&labels(&[(
        "holdfast.mode",
        &format!("\u{1b}[2J\n{}", "x".repeat(100)),
    )]));
    let text = understood.faults[0].to_string();
    assert!(text.starts_with(r#"label holdfast.mode: "\u{1b}[2J\nxxx"#), "{text}");
    assert!(text.len() < 200 && text.contains("x…\""), "{text}");
}

#[test]
fn labels_without_effect_are_warned_of() {
    let warnings = |understood: Vec<LabelWarning>| understood.iter().map(ToString::to_string).collect::<Vec<_>>();
    let on_volume = of_volume(&labels(&[
        ("holdfast.exec.before", "sync"),
        ("holdfast.grup", "x"),
        ("holdfast.nothing-like-it", "x"),
    ]));
    assert_eq!(
        warnings(on_volume.warnings),
        [
            "label holdfast.exec.before has no meaning on a volume",
            r#"label "holdfast.grup" is unknown; did you mean holdfast.group?"#,
            r#"label "holdfast.nothing-like-it" is unknown"#,
        ]
    );
    let on_container = of_container(&labels(&[
        ("holdfast.exec.befor", "sync"),
        ("holdfast.postgres.user", "x"),
    ]));
    assert_eq!(on_container.policy, ContainerPolicy::default());
    assert_eq!(
        warnings(on_container.warnings),
        [
            "label holdfast.postgres.user has no effect without holdfast.postgres=true",
            r#"label "holdfast.exec.befor" is unknown; did you mean holdfast.exec.before?"#,
        ]
    );
    let off = of_container(&labels(&[
        ("holdfast.postgres", "false"),
        ("holdfast.postgres.user", "x"),
    ]));
    assert_eq!((off.policy.postgres, off.warnings.len()), (None, 0));
}

proptest! {
    /// Each label of Holdfast is understood, a fault, or a warning, and never two of these.
    #[test]
    fn no_label_is_passed_over(
        names in prop::collection::vec(prop::sample::select([ON_BOTH, ON_CONTAINERS].concat()), 0..12),
        unknown in prop::collection::vec("holdfast\\.[a-z.-]{1,12}", 0..3),
        values in prop::collection::vec("\\PC{0,20}|true|stop|30s|5432|/x|daily|\\n|warn", 15),
    ) {
        let names = names.iter().map(|name| (*name).to_owned()).chain(unknown);
        let labels: Labels = names.zip(values).collect();
        let understood = of_container(&labels);
        let again = of_container(&labels);
        prop_assert_eq!(&understood, &again);
        for (name, value) in &labels {
            let faults = understood.faults.iter().filter(|fault| fault.label == name).count();
            let unknown = understood.warnings.iter().any(|warning| matches!(warning, LabelWarning::Unknown { label, .. } if label == name));
            let known = ON_BOTH.iter().chain(ON_CONTAINERS).any(|known| known == name);
            prop_assert_eq!(unknown, !known && name != HELPER);
            prop_assert!(faults <= 1 && !(unknown && faults > 0));
            // A label is understood in the same way alone and among others.
            let alone = of_container(&Labels::from([(name.clone(), value.clone())]));
            prop_assert_eq!(alone.faults.len(), faults);
        }
        for fault in &understood.faults {
            prop_assert!(!fault.to_string().contains('\n'));
        }
    }
}
