//! `[[requester]]`: who may ask for runs.

use holdfast_format::BusUser;

use super::{LEAST, faults, load, load_with};

#[test]
fn requesters_are_known_by_name_and_have_defaults() {
    let settings = load(LEAST).unwrap();
    assert!(settings.requester(&BusUser::operator()).unwrap().cleanup);
    let gate = settings.requester(&BusUser::gate()).unwrap();
    assert_eq!(
        (gate.per_hour, gate.max_hold.map(|hold| hold.to_string())),
        (Some(12), Some("30d".into()))
    );
    assert!(settings.requester(&BusUser::new("dumper")).is_none());
    let text = format!("{LEAST}[[requester]]\nname = \"ci.bot\"\nstacks = [\"shop_*\"]\n");
    let settings = load_with(&text, &[("HOLDFAST__REQUESTER__0__PER_HOUR", "3")]).unwrap();
    let bot = settings.requester(&BusUser::new("ci.bot")).unwrap();
    assert!(bot.may_ask_for_stack("shop_1") && !bot.may_ask_for_stack("mail") && !bot.may_ask_for_all());
    assert_eq!(bot.per_hour, Some(3));
}

#[test]
fn a_requester_that_makes_no_sense_is_a_fault() {
    let text = format!(
        "{LEAST}[[requester]]\nname = \"gate\"\n[[requester]]\nname = \"gate\"\nstacks = [\"[\"]\nper_hour = 0\n\
         classes = [\"yearly\"]\nmax_hold = \"long\"\npinned = true\n[[requester]]\nfresh = true\n[[requester]]\nname = \"\"\n"
    );
    let found = faults(load(&text));
    for rule in [
        "requester[1].stacks[0]: must be a pattern",
        "requester[1].per_hour: must be between 1 and 100000",
        "requester[1].classes[0]: must be one of daily",
        "requester[1].max_hold:",
        "requester[1].pinned: is not a known key",
        "requester[2].name: is required",
        "requester[3].name: must not be empty",
    ] {
        assert!(found.iter().any(|fault| fault.contains(rule)), "{rule}: {found:#?}");
    }
    let twice = format!("{LEAST}[[requester]]\nname = \"gate\"\n[[requester]]\nname = \"gate\"\n");
    let found = faults(load(&twice));
    assert!(found.len() == 1 && found[0].contains("must be unique"), "{found:#?}");
}
