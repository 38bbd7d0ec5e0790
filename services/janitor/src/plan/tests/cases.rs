//! Tests of single rules.

use holdfast_format::Class::{Daily, Monthly, Pinned, Weekly};
use holdfast_format::{Level, ObjectKey};

use super::model::Model;
use super::*;

const NOW: &str = "2026-11-24T03:00:00Z";

fn planned(model: &Model, rules: &Rules) -> RetentionPlan {
    plan(&model.view(), Some(rules), &Others::new(), model.now, false)
}

fn expired(plan: &RetentionPlan) -> Vec<RunId> {
    plan.expire.iter().map(|r| r.run.run).collect()
}

fn kept(plan: &RetentionPlan, run: RunId) -> String {
    let found = plan.keep.iter().find(|(r, _)| r.run == run);
    found.map_or_else(|| "gone".to_owned(), |(_, why)| why.to_string())
}

fn seen(artefacts: &[ArtefactId], given_up: &[RunId]) -> Other {
    Other::Seen {
        runs: BTreeSet::new(),
        artefacts: artefacts.iter().copied().collect(),
        given_up: given_up.iter().copied().collect(),
    }
}

#[test]
fn classes_are_kept_for_their_periods() {
    let mut model = Model::new(NOW);
    let old = model.whole(40, Daily, "shop");
    let week = model.whole(8, Weekly, "shop");
    let month = model.whole(200, Monthly, "shop");
    let ancient = model.whole(400, Monthly, "shop");
    let pinned = model.whole(900, Pinned, "shop");
    let young = model.whole(1, Daily, "shop");
    let rules = rules("7d", "30d", "12 months");
    let plan = planned(&model, &rules);
    assert_eq!(expired(&plan), [ancient, old]);
    assert_eq!(kept(&plan, week), "within weekly = 30d");
    assert_eq!(kept(&plan, month), "within monthly = 12 months");
    assert_eq!(kept(&plan, pinned), "pinned");
    assert_eq!(kept(&plan, young), "younger than the grace");
    assert!(plan.refused.is_empty());
}

#[test]
fn what_has_no_period_or_no_retention_stays() {
    let mut model = Model::new(NOW);
    let old = model.whole(400, Daily, "shop");
    model.whole(2, Daily, "shop");
    let plan_ = planned(&model, &rules("", "30d", "12 months"));
    assert_eq!(kept(&plan_, old), "no period is set for daily runs");
    let pack = model.store(9, model.now);
    model.condemned.insert(pack, model.now);
    let none = plan(&model.view(), None, &Others::new(), model.now, true);
    assert!(none.is_idle() && !none.blocked && none.keep.len() == 2);
}

#[test]
fn the_last_good_ones_and_the_last_verified_one_stay() {
    let mut model = Model::new(NOW);
    let oldest = model.whole(60, Daily, "shop");
    let verified = model.whole(50, Daily, "shop");
    let good = model.unverified(40, Daily, "shop");
    let bad = model.unverified(30, Daily, "shop");
    let dropped = model.unverified(55, Daily, "a\nb");
    model.known(bad).bad = true;
    let mut rules = rules("7d", "", "");
    let plan = planned(&model, &rules);
    assert_eq!(expired(&plan), [oldest]);
    assert_eq!(kept(&plan, good), "among the last good backups of database main/shop");
    assert_eq!(
        kept(&plan, bad),
        "among the newest backups of database main/shop, good or not"
    );
    assert_eq!(kept(&plan, verified), "the last verified backup of database main/shop");
    assert_eq!(
        kept(&plan, dropped),
        "among the last good backups of database main/a\\nb"
    );
    assert_eq!(plan.refused.len(), 4);
    rules.keep_last = 3;
    assert!(planned(&model, &rules).expire.is_empty());
}

#[test]
fn without_a_proof_nothing_goes() {
    let mut model = Model::new(NOW);
    let old = model.unverified(60, Daily, "shop");
    let middle = model.unverified(50, Daily, "shop");
    let newest = model.unverified(2, Daily, "shop");
    let rules = rules("7d", "", "");
    let plan = planned(&model, &rules);
    assert!(plan.is_idle() && !plan.blocked);
    for run in [old, middle] {
        assert_eq!(
            kept(&plan, run),
            "no newer good backup of database main/shop was verified to level decrypt; `holdfast verify --latest` does it"
        );
    }
    // A proof of the one in the middle lets the one before it go, and no other.
    model.known(middle).verified = Some(Level::Restore);
    assert_eq!(expired(&planned(&model, &rules)), [old]);
    model.known(newest).verified = Some(Level::Decrypt);
    assert_eq!(expired(&planned(&model, &rules)), [old, middle]);
}

#[test]
fn integrity_is_proof_where_nobody_verifies_deeper() {
    let mut model = Model::new(NOW);
    let old = model.unverified(60, Daily, "shop");
    let newest = model.unverified(2, Daily, "shop");
    model.known(newest).verified = Some(Level::Integrity);
    let other = model.whole(60, Daily, "blog");
    model.whole(2, Daily, "blog");
    let rules = rules("7d", "", "");
    let plan = planned(&model, &rules);
    assert_eq!(expired(&plan), [old, other]);
    let shallow = "older than daily = 7d; newer ones are proven to level integrity, and nobody verifies deeper";
    assert_eq!(
        (plan.expire[0].rule.as_str(), plan.expire[1].rule.as_str()),
        (shallow, "older than daily = 7d")
    );
    // Somebody verifies deeper, so the newest is not proven.
    model.known(old).verified = Some(Level::Decrypt);
    let plan = planned(&model, &rules);
    assert_eq!(expired(&plan), [other]);
    assert_eq!(kept(&plan, old), "the last verified backup of database main/shop");
}

#[test]
fn a_verdict_takes_no_guard_off() {
    // All are proven every night. Then a byte flips in a pack that all share, and all are found bad, beginning with the
    // newest.
    let mut model = Model::new(NOW);
    let runs: Vec<RunId> = [60, 50, 40, 2].map(|days| model.whole(days, Daily, "shop")).to_vec();
    let rules = rules("7d", "", "");
    assert_eq!(expired(&planned(&model, &rules)), runs[..3]);
    for found in 1..=4 {
        model.known(runs[4 - found]).bad = true;
        let plan = planned(&model, &rules);
        assert_eq!(expired(&plan), runs[..3_usize.saturating_sub(found)], "{found} are bad");
        assert!(plan.keep.iter().any(|(run, _)| run.run == runs[3]));
    }
    // A proven one of the next night lets them go, except for those that count as the last good one.
    model.whole(1, Daily, "shop");
    assert_eq!(expired(&planned(&model, &rules)), runs[..3]);
}

#[test]
fn a_bad_newest_one_stays_with_the_last_good_ones() {
    let mut model = Model::new(NOW);
    let [oldest, good, bad] = [60, 50, 40].map(|days| model.whole(days, Daily, "shop"));
    model.known(bad).bad = true;
    let plan = planned(&model, &rules("7d", "", ""));
    assert_eq!(expired(&plan), [oldest]);
    assert_eq!(kept(&plan, good), "among the last good backups of database main/shop");
    assert_eq!(
        kept(&plan, bad),
        "among the newest backups of database main/shop, good or not"
    );
}

#[test]
fn of_many_that_stay_for_one_reason_some_are_told() {
    let mut model = Model::new(NOW);
    for days in 10..40 {
        model.unverified(days, Daily, "shop");
    }
    let plan = planned(&model, &rules("7d", "", ""));
    assert_eq!((plan.keep.len(), plan.refused.len()), (30, 12));
    let last = plan.refused.last().unwrap();
    assert!(
        last.starts_with("19 more runs past their time stay: no newer good backup"),
        "{last}"
    );
}

#[test]
fn held_and_unended_runs_stay() {
    let mut model = Model::new(NOW);
    let held = model.whole(40, Daily, "shop");
    let released = model.whole(41, Daily, "shop");
    model.whole(2, Daily, "shop");
    model.runs.get_mut(&held).unwrap().hold = Some(Hold::Until(time("2026-12-01T00:00:00Z")));
    model.runs.get_mut(&released).unwrap().hold = Some(Hold::Until(time("2026-11-01T00:00:00Z")));
    let going_on = model.begin(39, Daily);
    model.runs.get_mut(&going_on).unwrap().deadline = time("2026-11-25T00:00:00Z");
    let failed = model.begin(38, Daily);
    let unknown = model.begin(37, Daily);
    model.objects.remove(&ObjectKey::Expected(unknown));
    model
        .objects
        .insert(ObjectKey::Listed(unknown, "main".parse().unwrap()), 1);
    let plan = planned(&model, &rules("7d", "", ""));
    assert_eq!(expired(&plan), [released, failed]);
    assert_eq!(kept(&plan, held), "held until 2026-12-01T00:00:00Z");
    assert_eq!(kept(&plan, going_on), "not ended; its deadline is 2026-11-25T00:00:00Z");
    assert_eq!(
        kept(&plan, unknown),
        "no restore point, and no record of when it was to end"
    );
}

#[test]
fn the_local_copy_waits_for_every_target() {
    let mut model = Model::new(NOW);
    let old = model.whole(40, Monthly, "shop");
    model.whole(2, Daily, "shop");
    model.runs.get_mut(&old).unwrap().targets = vec!["s3".parse().unwrap(), "gone".parse().unwrap()];
    let artefact = model.runs[&old].artefacts[0];
    let rules = rules("7d", "30d", "");
    let asked = asked(&model.view(), Some(&rules), model.now);
    let of_s3 = &asked[&"s3".parse().unwrap()];
    assert_eq!(
        (&of_s3.runs, &of_s3.artefacts),
        (&BTreeSet::from([old]), &BTreeSet::from([artefact]))
    );
    let with = |other: Other| {
        let others = Others::from([("s3".parse().unwrap(), other)]);
        plan(&model.view(), Some(&rules), &others, model.now, false)
    };
    let lacking = with(seen(&[], &[]));
    assert_eq!(kept(&lacking, old), "target s3 lacks its database main/shop");
    assert_eq!(lacking.refused.len(), 1);
    let unseen = with(Other::Unseen("timed out".into()));
    assert_eq!(kept(&unseen, old), "target s3 could not be looked at: timed out");
    assert_eq!(expired(&with(seen(&[artefact], &[]))), [old]);
    // The target's own retention was faster.
    assert_eq!(expired(&with(seen(&[], &[old]))), [old]);
    model.place = "s3".parse().unwrap();
    assert_eq!(expired(&planned(&model, &rules)), [old]);
}

#[test]
fn for_a_bad_one_the_target_has_to_have_one_that_stands_in() {
    let mut model = Model::new(NOW);
    let bad = model.whole(40, Weekly, "shop");
    let daily = model.whole(3, Daily, "shop");
    let weekly = model.whole(2, Weekly, "shop");
    model.known(bad).bad = true;
    let s3: PlaceName = "s3".parse().unwrap();
    model.runs.get_mut(&bad).unwrap().targets = vec![s3.clone()];
    let of = |run: RunId| model.runs[&run].artefacts[0];
    let rules = rules("7d", "30d", "");
    let with = |there: &[ArtefactId]| {
        let others = Others::from([(s3.clone(), seen(there, &[]))]);
        plan(&model.view(), Some(&rules), &others, model.now, false)
    };
    assert_eq!(kept(&with(&[]), bad), "target s3 lacks its database main/shop");
    // A run that is not kept as long does not stand in.
    assert!(expired(&with(&[of(daily)])).is_empty());
    assert_eq!(expired(&with(&[of(weekly)])), [bad]);
    assert_eq!(expired(&with(&[of(bad)])), [bad]);
    let asked = asked(&model.view(), Some(&rules), model.now);
    assert_eq!(asked[&s3].artefacts, BTreeSet::from([of(bad), of(weekly)]));
}

#[test]
fn what_cannot_be_read_is_named() {
    let mut model = Model::new(NOW);
    model.whole(40, Daily, "shop");
    model.unreadable = (0..30).map(|n| format!("damaged/{n} (not signed)")).collect();
    let plan = planned(&model, &rules("7d", "", ""));
    assert!(plan.blocked && plan.is_idle());
    assert!(
        plan.refused[0].contains("damaged/0 (not signed), ")
            && plan.refused[0].contains("damaged/19 (not signed) and 10 more"),
        "{}",
        plan.refused[0]
    );
}

#[test]
fn nothing_goes_when_the_view_is_not_to_be_trusted() {
    let mut model = Model::new(NOW);
    model.whole(40, Daily, "shop");
    let newest = model.whole(2, Daily, "shop");
    let rules = rules("7d", "", "");
    assert_eq!(planned(&model, &rules).expire.len(), 1);
    let refused = |view: &PlaceView| {
        let plan = plan(view, Some(&rules), &Others::new(), model.now, true);
        assert!(plan.blocked && plan.is_idle(), "{plan}");
        plan.refused.concat()
    };
    let mut view = model.view();
    view.unreadable.push("artefacts/x/manifest".into());
    assert!(refused(&view).contains("artefacts/x/manifest cannot be read"));
    let mut view = model.view();
    view.newest_record = Some(time("2026-11-24T03:06:00Z"));
    assert!(refused(&view).contains("a record here is of 2026-11-24T03:06:00Z"));
    let mut view = model.view();
    view.place_time = Some(time("2025-11-24T03:00:00Z"));
    assert!(refused(&view).contains("the one at the place"));
    let mut view = model.view();
    view.packs.clear();
    assert!(refused(&view).contains("2 packs that manifests name were not listed"));
    let lost = model.known(newest).packs[0];
    model.packs.remove(&lost);
    model.known(newest).bad = true;
    assert!(
        !planned(&model, &rules).blocked,
        "a lost pack that is known of blocks nothing"
    );
}

#[test]
fn the_brake_holds_until_it_is_confirmed() {
    let mut model = Model::new(NOW);
    for days in 0..30 {
        model.whole(days + 2, Daily, "shop");
    }
    let rules = rules("7d", "", "");
    let held_back = planned(&model, &rules);
    assert!(held_back.blocked && held_back.is_idle());
    assert!(
        held_back.refused[0].contains("max_delete_percent = 50"),
        "{}",
        held_back.refused[0]
    );
    let confirmed = plan(&model.view(), Some(&rules), &Others::new(), model.now, true);
    assert_eq!((confirmed.expire.len(), confirmed.condemn.len()), (24, 24));
    // The brake does not apply to a small place.
    let mut small = Model::new(NOW);
    for days in 0..9 {
        small.whole(days * 10 + 2, Daily, "shop");
    }
    assert_eq!(planned(&small, &rules).expire.len(), 8);
}

#[test]
fn packs_go_in_two_steps_and_come_back() {
    let mut model = Model::new(NOW);
    let old = model.whole(40, Daily, "shop");
    let newest = model.whole(2, Daily, "shop");
    let rules = rules("7d", "", "");
    let pack = model.artefacts[&model.runs[&old].artefacts[0]].packs[0];
    let first = planned(&model, &rules);
    assert_eq!(first.condemn, [(pack, 1000)]);
    model.apply_all(&first);
    assert!(planned(&model, &rules).is_idle());
    model.pass(DAY + 1);
    let mut used = model.clone();
    let mut anew = model.clone();
    let second = planned(&model, &rules);
    assert_eq!(
        (second.delete_packs.as_slice(), second.forget.as_slice()),
        ([(pack, 1000)].as_slice(), [old].as_slice())
    );
    model.apply_all(&second);
    assert!(planned(&model, &rules).is_idle() && model.condemned.is_empty() && model.tombstones.is_empty());
    // A manifest names the pack again.
    used.seal(newest, "other", vec![pack]);
    assert_eq!(planned(&used, &rules).spare, [(pack, Spare::InUse)]);
    // The pack was stored again, so its grace begins again.
    anew.packs.insert(pack, anew.now);
    assert_eq!(planned(&anew, &rules).spare, [(pack, Spare::StoredAnew)]);
    anew.packs.remove(&pack);
    assert_eq!(planned(&anew, &rules).spare, [(pack, Spare::Gone)]);
}

#[test]
fn a_pack_waits_for_runs_that_began_before_it_was_condemned() {
    let mut model = Model::new(NOW);
    model.whole(2, Daily, "shop");
    let pack = model.store(200, time("2026-10-01T00:00:00Z"));
    model.condemned.insert(pack, time("2026-11-22T00:00:00Z"));
    let slow = model.begin(3, Daily);
    model.runs.get_mut(&slow).unwrap().deadline = time("2026-11-25T00:00:00Z");
    let rules = rules("7d", "", "");
    let plan = planned(&model, &rules);
    assert_eq!(
        (plan.waiting.as_slice(), plan.delete_packs.len()),
        ([pack].as_slice(), 0)
    );
    model.pass(2 * DAY);
    assert_eq!(planned(&model, &rules).delete_packs, [(pack, 1000)]);
}

#[test]
fn a_begun_deletion_is_finished_unless_what_is_left_is_needed() {
    let mut model = Model::new(NOW);
    let old = model.whole(40, Daily, "shop");
    let newest = model.whole(2, Daily, "shop");
    let rules = rules("7d", "", "");
    for step in &planned(&model, &rules).steps()[..2] {
        model.apply(step);
    }
    assert!(!model.has(&ObjectKey::RestorePoint(old)));
    let again = planned(&model, &rules);
    assert_eq!((again.finish.len(), again.expire.len()), (1, 0));
    // The successor turns out bad, so the rest of the old artefact is the last one.
    model.known(newest).bad = true;
    let needed = planned(&model, &rules);
    assert!(needed.finish.is_empty() && needed.refused[0].contains("what is left of it stays"));
    model.known(newest).bad = false;
    model.runs.get_mut(&old).unwrap().hold = Some(Hold::Forever);
    assert!(planned(&model, &rules).finish.is_empty());
}

#[test]
fn a_targets_tombstone_stays_as_long_as_the_local_place_has_the_run() {
    let mut model = Model::new(NOW);
    model.place = "s3".parse().unwrap();
    let old = model.whole(40, Daily, "shop");
    model.whole(2, Daily, "shop");
    let rules = rules("7d", "", "");
    model.apply_all(&planned(&model, &rules));
    model.pass(2 * DAY);
    let local = |runs: &[RunId]| Other::Seen {
        runs: runs.iter().copied().collect(),
        artefacts: BTreeSet::new(),
        given_up: BTreeSet::new(),
    };
    let forgets = |other: Option<Other>| {
        let others = other.into_iter().map(|other| (PlaceName::local(), other)).collect();
        plan(&model.view(), Some(&rules), &others, model.now, false).forget
    };
    assert_eq!(forgets(None), []);
    assert_eq!(forgets(Some(Other::Unseen("down".into()))), []);
    assert_eq!(forgets(Some(local(&[old]))), []);
    assert_eq!(forgets(Some(local(&[]))), [old]);
}
