#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use holdfast_config::Settings;
use holdfast_format::Class;

use super::*;

/// Returns a configuration with these sections for requesters.
fn settings(requesters: &str) -> Settings {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("holdfast.toml");
    let text = format!(
        "site = \"here\"\n[repository]\nurl = \"file:///x\"\n[encryption]\nrecipients = [\"a\"]\nowner = \"b\"\nreader_key = \"c\"\n\
         {requesters}"
    );
    std::fs::write(&file, text).unwrap();
    Settings::load(&file, &BTreeMap::new()).unwrap()
}

fn refused(settings: &Settings, user: &str, trigger: &Trigger) -> Option<String> {
    let user = BusUser::new(user);
    match check(trigger, &user, settings.requester(&user).as_ref()) {
        Ok(()) => None,
        Err(Refusal::NotAllowed(why) | Refusal::Invalid(why)) => Some(why),
        Err(other) => panic!("{other:?}"),
    }
}

/// Returns a request of a gate, as the documentation shows it.
fn of_gate() -> Trigger {
    Trigger {
        backup_type: "all".into(),
        stack: Some("shop".into()),
        label: Some("pre-upgrade".into()),
        hold_seconds: Some(14 * 24 * 3_600),
        wait: true,
        ..Trigger::default()
    }
}

#[test]
fn a_gate_gets_what_it_is_for_and_nothing_else() {
    let plain = settings("");
    assert_eq!(refused(&plain, "gate", &of_gate()), None);
    let beyond: [(Trigger, &str); 8] = [
        (
            Trigger {
                stack: None,
                ..of_gate()
            },
            "name one stack",
        ),
        (
            Trigger {
                sources: vec!["main".parse().unwrap()],
                ..of_gate()
            },
            "may not name the source main; it may name none",
        ),
        (
            Trigger {
                hold_seconds: Some(31 * 24 * 3_600),
                ..of_gate()
            },
            "longer than 30d",
        ),
        (
            Trigger {
                hold_seconds: Some(u64::MAX),
                ..of_gate()
            },
            "longer than 30d",
        ),
        (
            Trigger {
                class: Some(Class::Pinned),
                ..of_gate()
            },
            "the class pinned; it may ask for none",
        ),
        (
            Trigger {
                fresh: true,
                ..of_gate()
            },
            "without parents",
        ),
        (
            Trigger {
                cleanup: true,
                ..of_gate()
            },
            "retention",
        ),
        (
            Trigger {
                person: Some("a\nb".into()),
                ..of_gate()
            },
            "control characters",
        ),
    ];
    for (trigger, rule) in beyond {
        let why = refused(&plain, "gate", &trigger).unwrap();
        assert!(why.contains(rule), "{why}");
        // The operator may do all of that, but for a name that is none.
        assert_eq!(
            refused(&plain, "operator", &trigger).is_some(),
            trigger.person.is_some()
        );
    }
    for nobody in ["dumper", "scheduler", "", "Gate"] {
        let why = refused(&plain, nobody, &of_gate()).unwrap();
        assert!(why.contains("[[requester]]"), "{why}");
    }
}

#[test]
fn the_configuration_says_what_each_may_ask_for() {
    let narrow = settings(
        "[[requester]]\nname = \"gate\"\nstacks = [\"shop\", \"web_*\"]\nmax_hold = \"1d\"\nclasses = [\"weekly\"]\n\
         [[requester]]\nname = \"ci.bot\"\nsources = [\"*\"]\nfresh = true\nper_hour = 1\n\
         [[requester]]\nname = \"operator\"\nper_hour = 3\n",
    );
    let with = |change: fn(&mut Trigger)| {
        let mut trigger = Trigger {
            hold_seconds: None,
            ..of_gate()
        };
        change(&mut trigger);
        trigger
    };
    assert_eq!(refused(&narrow, "gate", &with(|_| {})), None);
    assert_eq!(
        refused(&narrow, "gate", &with(|t| t.stack = Some("web_1".into()))),
        None
    );
    assert_eq!(refused(&narrow, "gate", &with(|t| t.class = Some(Class::Weekly))), None);
    let why = refused(&narrow, "gate", &with(|t| t.stack = Some("mail".into()))).unwrap();
    assert!(why.contains("it may ask for shop, web_*"), "{why}");
    assert!(refused(&narrow, "gate", &of_gate()).unwrap().contains("longer than 1d"));
    assert_eq!(refused(&narrow, "ci.bot", &with(|t| t.stack = None)), None);
    assert_eq!(refused(&narrow, "ci.bot", &with(|t| t.fresh = true)), None);
    let rights = |user: &str| narrow.requester(&BusUser::new(user)).unwrap();
    assert_eq!(rights("ci.bot").per_hour, Some(1));
    assert_eq!(rights("gate").per_hour, Some(12));
    // A section of the operator only takes away what it names.
    assert_eq!(rights("operator").per_hour, Some(3));
    assert!(rights("operator").fresh && rights("operator").may_ask_for_all());
}

#[test]
fn an_hour_holds_so_many_runs() {
    let gate = BusUser::gate();
    assert_eq!(check_rate(&gate, 2, 1), Ok(()));
    for started in [2, 3, u32::MAX] {
        assert!(matches!(check_rate(&gate, 2, started), Err(Refusal::NotAllowed(_))));
    }
}

#[test]
fn nobody_is_answered_about_anothers_run() {
    let user = |name: &str| AskedBy::User {
        name: BusUser::new(name),
        person: None,
    };
    let schedule = |name: &str| AskedBy::Schedule(name.parse().unwrap());
    for (asks, stands, is_own) in [
        (user("gate"), user("gate"), true),
        (user("gate"), user("operator"), false),
        (user("gate"), schedule("nightly"), false),
        (user("operator"), user("gate"), true),
        (user("operator"), schedule("nightly"), true),
        (schedule("nightly"), schedule("nightly"), true),
        (schedule("nightly"), schedule("weekly"), false),
        // Whoever guesses the id of a slot's run must not take the slot away.
        (schedule("nightly"), user("gate"), false),
    ] {
        assert_eq!(is_ours(&stands, &asks), is_own, "{asks:?} {stands:?}");
    }
}
