//! The rules, alone and against a model of a server that is killed.

#![allow(clippy::unwrap_used)]

use async_nats::datetime::from_nanos;
use proptest::prelude::*;

use super::*;

fn at(time: u64) -> DateTime {
    from_nanos(i128::from(time)).unwrap()
}

fn message(sequence: u64, time: u64) -> MessageId {
    MessageId {
        sequence,
        subject: "holdfast.work.seal.main.run.1".to_owned(),
        stored: at(time),
    }
}

fn notice(sequence: u64, time: u64) -> Notice {
    Notice {
        sequence,
        told: at(time),
    }
}

fn standing(created: u64, passed: u64, in_hand: usize) -> Standing {
    Standing {
        created: at(created),
        passed,
        in_hand,
    }
}

#[test]
fn a_younger_notice_of_the_same_number_is_believed() {
    assert!(is_given_up(notice(7, 100), &message(7, 50), standing(1, 9, 0)));
    assert!(is_given_up(notice(7, 100), &message(7, 50), standing(1, 7, 3)));
}

#[test]
fn a_notice_that_was_told_before_the_message_came_is_about_another() {
    assert!(!is_given_up(notice(7, 100), &message(7, 101), standing(1, 9, 0)));
    assert!(!is_given_up(notice(7, 100), &message(7, 100), standing(1, 9, 0)));
    assert!(!is_given_up(notice(7, 100), &message(8, 50), standing(1, 9, 0)));
}

#[test]
fn a_consumer_that_will_deliver_the_message_takes_the_notice_back() {
    assert!(
        !is_given_up(notice(7, 100), &message(7, 50), standing(200, 9, 0)),
        "made anew"
    );
    assert!(
        !is_given_up(notice(7, 100), &message(7, 50), standing(1, 6, 0)),
        "set back"
    );
}

fn still(earlier: &Behind, later: &Behind) -> Vec<u64> {
    let mut found: Vec<u64> = stood_still(earlier, later).map(|message| message.sequence).collect();
    found.sort_unstable();
    found
}

#[test]
fn what_two_sweeps_find_behind_an_idle_consumer_stood_still() {
    let idle = standing(1, 5, 0);
    let first = behind(idle, vec![message(3, 30), message(4, 40), message(6, 60)], idle);
    let second = behind(idle, vec![message(3, 30), message(5, 50), message(6, 60)], idle);
    assert_eq!(
        still(&first, &second),
        [3],
        "6 is ahead of the consumer, 4 has gone, 5 is new"
    );
}

#[test]
fn a_message_that_took_the_number_of_another_did_not_stand_still() {
    let idle = standing(1, 5, 0);
    let first = behind(idle, vec![message(3, 30)], idle);
    let second = behind(idle, vec![message(3, 90)], idle);
    assert_eq!(still(&first, &second), [0; 0]);
}

#[test]
fn nothing_stands_still_while_a_consumer_has_work_in_hand_or_is_another() {
    let idle = standing(1, 5, 0);
    let messages = || vec![message(3, 30)];
    let good = behind(idle, messages(), idle);
    for (before, after) in [
        (standing(1, 5, 1), idle),
        (idle, standing(1, 5, 1)),
        (standing(2, 5, 0), idle),
        (standing(1, 2, 0), idle),
        (idle, standing(1, 2, 0)),
    ] {
        let bad = behind(before, messages(), after);
        assert_eq!(still(&good, &bad), [0; 0], "{before:?} {after:?}");
        assert_eq!(still(&bad, &good), [0; 0], "{before:?} {after:?}");
    }
    let other = standing(2, 5, 0);
    assert_eq!(still(&good, &behind(other, messages(), other)), [0; 0], "made anew");
}

/// One thing that happens to a server.
#[derive(Clone, Debug)]
enum Event {
    Publish,
    Deliver,
    /// The first job in hand is done.
    Done,
    /// The first job in hand has no delivery left.
    GiveUp,
    Sweep,
    /// The server is killed, forgets this many of its newest numbers, and comes back. Consumer and advisories stay.
    Kill(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => Just(Event::Publish),
        4 => Just(Event::Deliver),
        2 => Just(Event::Done),
        2 => Just(Event::GiveUp),
        2 => Just(Event::Sweep),
        1 => (0..6u64).prop_map(Event::Kill),
    ];
    prop::collection::vec(event, 0..80)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waits,
    InHand,
    GivenUp,
}

/// A stream with one consumer. The consumer never comes back to a number that it has passed.
#[derive(Default)]
struct Model {
    time: u64,
    last: u64,
    passed: u64,
    jobs: Vec<(MessageId, State)>,
    notices: Vec<Notice>,
    looked: Option<Behind>,
}

impl Model {
    fn standing(&self) -> Standing {
        let in_hand = self.jobs.iter().filter(|(_, state)| *state == State::InHand).count();
        standing(0, self.passed, in_hand)
    }

    fn first_in_hand(&mut self) -> Option<usize> {
        self.jobs.iter().position(|(_, state)| *state == State::InHand)
    }

    fn apply(&mut self, event: &Event) {
        self.time += 1;
        match event {
            Event::Publish => {
                self.last += 1;
                self.jobs.push((message(self.last, self.time), State::Waits));
            }
            Event::Deliver => {
                let passed = self.passed;
                let next = self.jobs.iter_mut().find(|(id, _)| id.sequence > passed);
                if let Some((id, state)) = next {
                    self.passed = id.sequence;
                    *state = State::InHand;
                }
            }
            Event::Done => {
                if let Some(first) = self.first_in_hand() {
                    self.jobs.remove(first);
                }
            }
            Event::GiveUp => {
                if let Some(first) = self.first_in_hand() {
                    self.jobs[first].1 = State::GivenUp;
                    self.notices.push(notice(self.jobs[first].0.sequence, self.time));
                }
            }
            Event::Sweep => self.sweep(),
            Event::Kill(lost) => {
                self.last = self.last.saturating_sub(*lost);
                let last = self.last;
                self.jobs.retain(|(id, _)| id.sequence <= last);
            }
        }
    }

    /// Takes out what stood still; never what somebody has in hand, nor what the consumer will come to.
    fn sweep(&mut self) {
        let all = self.jobs.iter().map(|(id, _)| id.clone()).collect();
        let found = behind(self.standing(), all, self.standing());
        if let Some(earlier) = &self.looked {
            for id in stood_still(earlier, &found) {
                let (_, state) = self.jobs.iter().find(|(job, _)| job == id).unwrap();
                assert!(*state != State::InHand, "{id:?} is in hand");
                assert!(id.sequence <= self.passed, "{id:?} will be delivered");
            }
            let still: Vec<_> = stood_still(earlier, &found).cloned().collect();
            self.jobs.retain(|(id, _)| !still.contains(id));
        }
        self.looked = Some(found);
    }
}

proptest! {
    #[test]
    fn only_what_was_given_up_counts_as_given_up_whatever_a_killed_server_forgot(events in events()) {
        let mut model = Model::default();
        for event in &events {
            model.apply(event);
            for (id, state) in &model.jobs {
                let told = model.notices.iter().any(|notice| is_given_up(*notice, id, model.standing()));
                prop_assert_eq!(told, *state == State::GivenUp, "{:?}", id);
            }
        }
    }

    #[test]
    fn with_nothing_in_hand_two_sweeps_leave_nothing_that_nobody_will_deliver(events in events()) {
        let mut model = Model::default();
        for event in &events {
            model.apply(event);
        }
        while model.standing().in_hand > 0 {
            model.apply(&Event::Done);
        }
        model.apply(&Event::Sweep);
        model.apply(&Event::Sweep);
        prop_assert!(model.jobs.iter().all(|(id, _)| id.sequence > model.passed));
    }
}
