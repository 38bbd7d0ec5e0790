#![allow(clippy::unwrap_used)]

use holdfast_format::Level;
use proptest::prelude::*;

use super::*;

fn known() -> Known {
    let source = |name: &str, role, site: &str| KnownSource::new(name.parse().unwrap(), role, site.parse().unwrap());
    Known {
        site: "host-a".parse().unwrap(),
        sources: vec![
            source("main", Role::Database, "host-a"),
            source("uploads", Role::Volume, "host-b"),
            source("system", Role::System, "host-a"),
        ],
        targets: vec!["s3".parse().unwrap(), "b2".parse().unwrap()],
        retention: vec!["b2".parse().unwrap(), "local".parse().unwrap()],
        timeout: SignedDuration::from_hours(12),
        grace: SignedDuration::from_hours(24),
    }
}

fn start(number: u64) -> Start {
    Start {
        run: RunId::new(number, [0; 10]),
        now: "2026-11-24T01:30:00Z".parse().unwrap(),
        reason: Reason::Manual,
        requester: AskedBy::Schedule("nightly".parse().unwrap()),
        class: Class::Daily,
    }
}

fn names(expected: &Expected) -> Vec<&str> {
    expected.sources.iter().map(|s| s.name.as_str()).collect()
}

fn ask(backup_type: &str, sources: &[&str]) -> Trigger {
    Trigger {
        backup_type: backup_type.into(),
        sources: sources.iter().map(|name| name.parse().unwrap()).collect(),
        ..Trigger::default()
    }
}

fn refused(trigger: &Trigger, known: &Known) -> String {
    match expect(trigger, known, start(1)) {
        Err(Refusal::Invalid(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn types_and_names_choose_sources() {
    for (backup_type, sources, want) in [
        ("", vec![], vec!["main", "uploads"]),
        ("all", vec![], vec!["main", "uploads"]),
        ("databases", vec![], vec!["main"]),
        ("volumes", vec![], vec!["uploads"]),
        ("full", vec![], vec!["main", "uploads", "system"]),
        ("all", vec!["system", "main", "main"], vec!["main", "system"]),
        ("databases", vec!["main"], vec!["main"]),
    ] {
        let expected = expect(&ask(backup_type, &sources), &known(), start(1)).unwrap();
        assert_eq!(names(&expected), want, "{backup_type} {sources:?}");
    }
    let expected = expect(&ask("", &[]), &known(), start(1)).unwrap();
    assert_eq!(expected.backup_type, "all");
    assert_eq!(
        (expected.sources[1].kind, expected.sources[1].site.as_str()),
        (SourceKind::Files, "host-b")
    );
}

#[test]
fn databases_are_not_verified_to_level_restore() {
    let with = |backup_type: &str, level| Trigger {
        verify: Some(level),
        ..ask(backup_type, &[])
    };
    assert!(refused(&with("all", Level::Restore), &known()).contains("Verify to level decrypt"));
    for good in [with("all", Level::Decrypt), with("volumes", Level::Restore)] {
        expect(&good, &known(), start(1)).unwrap();
    }
}

#[test]
fn steps_and_times_follow_the_request() {
    let plain = expect(&ask("all", &[]), &known(), start(1)).unwrap();
    assert_eq!(
        (plain.steps, plain.class, plain.hold_until),
        (Steps::default(), Class::Daily, None)
    );
    assert_eq!(plain.deadline, "2026-11-24T13:30:00Z".parse().unwrap());
    let trigger = Trigger {
        verify: Some(Level::Decrypt),
        sync_offsite: true,
        cleanup: true,
        label: Some("before upgrade".into()),
        hold_seconds: Some(3_600),
        class: Some(Class::Pinned),
        fresh: true,
        timeout_seconds: Some(60),
        ..ask("all", &[])
    };
    let full = expect(&trigger, &known(), start(1)).unwrap();
    let places = |places: &[PlaceName]| places.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(full.steps.verify, Some(Level::Decrypt));
    assert_eq!(places(&full.steps.targets), ["s3", "b2"]);
    assert_eq!(places(&full.steps.clean), ["local", "b2"]);
    assert_eq!(
        (full.class, full.fresh, full.label.as_deref()),
        (Class::Pinned, true, Some("before upgrade"))
    );
    assert_eq!(full.hold_until, Some("2026-11-24T02:30:00Z".parse().unwrap()));
    assert_eq!(full.deadline, "2026-11-24T01:31:00Z".parse().unwrap());
}

#[test]
fn what_makes_no_sense_is_refused_with_what_would() {
    let mut known = known();
    let why = refused(&ask("all", &["mian"]), &known);
    assert_eq!(
        why,
        "there is no source mian: the configuration has main, uploads, system"
    );
    let why = refused(&ask("databases", &["uploads"]), &known);
    assert_eq!(why, "source uploads is not among the databases: main");
    assert!(refused(&ask("everything", &[]), &known).contains("use all, databases, volumes or full"));
    let with = |change: &dyn Fn(&mut Trigger)| {
        let mut trigger = ask("all", &[]);
        change(&mut trigger);
        trigger
    };
    assert!(refused(&with(&|t| t.timeout_seconds = Some(0)), &known).contains("zero"));
    for long in [24 * 3_600, u64::MAX] {
        assert!(refused(&with(&|t| t.timeout_seconds = Some(long)), &known).contains("janitor.grace, which is 86400"));
    }
    assert!(refused(&with(&|t| t.hold_seconds = Some(u64::MAX)), &known).contains("pin it"));
    for apart in [2 * 3_600_000, 0] {
        let of = start(1).now.as_millisecond() as u64 - apart;
        let asked = with(&|t| t.run = Some(RunId::new(of, [0; 10])));
        match apart {
            0 => assert!(expect(&asked, &known, start(1)).is_ok()),
            _ => assert!(refused(&asked, &known).contains("120 minutes apart")),
        }
    }
    for label in ["", "a\nb", &"x".repeat(101)] {
        assert!(refused(&with(&|t| t.label = Some(label.into())), &known).contains("label"));
    }
    known.targets.clear();
    assert!(refused(&with(&|t| t.sync_offsite = true), &known).contains("[[target]]"));
    known.sources.truncate(1);
    assert_eq!(
        refused(&ask("volumes", &[]), &known),
        "no source is of type volumes: the configuration has main"
    );
    known.sources.clear();
    assert_eq!(
        refused(&ask("", &[]), &known),
        "no source is of type all: the configuration has none"
    );
}

#[test]
fn runs_of_the_same_source_overlap_until_the_deadline() {
    let known = known();
    let run = |number, sources: &[&str]| expect(&ask("all", sources), &known, start(number)).unwrap();
    let going_on = [run(3, &["uploads"]), run(2, &["main", "uploads"]), run(1, &["system"])];
    assert_eq!(overlaps(&going_on, &run(9, &["uploads"])), Some(going_on[1].run));
    assert_eq!(overlaps(&going_on, &run(9, &["system"])), Some(going_on[2].run));
    assert_eq!(overlaps(&going_on[..1], &run(9, &["main"])), None);
    assert_eq!(
        overlaps(&going_on[..1], &run(3, &["uploads"])),
        None,
        "the same run, triggered again"
    );
    let mut late = run(9, &["uploads"]);
    late.created = going_on[0].deadline;
    assert_eq!(overlaps(&going_on, &late), None);
}

proptest! {
    /// Any request is either refused, or gives known sources, each once, and a deadline that lies ahead.
    #[test]
    fn expectations_make_sense(
        backup_type in prop::sample::select(vec!["", "all", "databases", "volumes", "full", "x"]),
        sources in prop::collection::vec(prop::sample::select(vec!["main", "uploads", "system", "other"]), 0..4),
        hold in prop::option::of(any::<u64>()), timeout in prop::option::of(0u64..200_000), flags in any::<[bool; 3]>(),
    ) {
        let trigger = Trigger {
            hold_seconds: hold, timeout_seconds: timeout,
            sync_offsite: flags[0], cleanup: flags[1], fresh: flags[2],
            ..ask(backup_type, &sources)
        };
        let known = known();
        if let Ok(expected) = expect(&trigger, &known, start(1)) {
            prop_assert!(!expected.sources.is_empty() && !sources.contains(&"other"));
            for source in &expected.sources {
                prop_assert_eq!(known.sources.iter().filter(|k| k.source == *source).count(), 1);
                prop_assert_eq!(expected.sources.iter().filter(|s| s.name == source.name).count(), 1);
            }
            prop_assert!(expected.deadline > expected.created);
            prop_assert!(expected.deadline.duration_since(expected.created) < known.grace);
        }
    }
}

#[test]
fn a_stack_is_asked_of_those_that_know_stacks() {
    let mut known = known();
    let site: holdfast_format::Site = "host-a".parse().unwrap();
    let docker = KnownSource::new("docker".parse().unwrap(), Role::Volume, site).with_stacks();
    let of = |sources: &[&str]| Trigger {
        stack: Some("shop".to_owned()),
        ..ask("all", sources)
    };
    let why = refused(&of(&[]), &known);
    assert!(why.contains("[docker]"), "{why}");
    known.sources.push(docker);
    let expected = expect(&of(&[]), &known, start(1)).unwrap();
    assert_eq!(
        (names(&expected), expected.stack.as_deref()),
        (vec!["docker"], Some("shop"))
    );
    let expected = expect(&of(&["uploads"]), &known, start(1)).unwrap();
    assert_eq!(names(&expected), ["uploads", "docker"]);
    for bad in ["", "a b", "../x"] {
        let trigger = Trigger {
            stack: Some(bad.to_owned()),
            ..ask("all", &[])
        };
        assert!(refused(&trigger, &known).contains("named by"));
    }
}
