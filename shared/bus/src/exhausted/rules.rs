//! The rules by which a job counts as given up.
//!
//! A server that is killed can forget the newest messages of a stream, and it gives their numbers to the next ones. What it
//! told of the forgotten ones can outlive them: advisories are in another stream, and how far a consumer has come is in a
//! file of its own. A consumer is also seen ahead of what it has delivered for a moment, and a job that was just done stays
//! in the stream for a moment. So:
//!
//! 1. A number is no name. Number, subject and time of storing together are ([`MessageId`]).
//! 2. A job counts as given up only by an advisory that is younger than the job ([`is_given_up`]).
//! 3. What a consumer has passed and what nobody has in hand is no proof. Found by two sweeps, the same message by its whole
//!    name, it stands still ([`stood_still`]): it is taken out so that it is asked for again, and nothing else follows.

use std::collections::HashSet;

use async_nats::datetime::DateTime;

/// The name of a message in the work stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct MessageId {
    pub(super) sequence: u64,
    pub(super) subject: String,
    /// The time at which the server stored it.
    pub(super) stored: DateTime,
}

/// The server's word that a consumer delivers a message no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// Number of the message at that time.
    pub(super) sequence: u64,
    pub(super) told: DateTime,
}

/// The progress of a consumer, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) created: DateTime,
    /// The greatest number that it has passed.
    pub(super) passed: u64,
    /// Number of jobs that were delivered and are not answered yet.
    pub(super) in_hand: usize,
}

/// Tells whether the notice is about this very message, and still holds: a consumer that was made after it, or that has
/// not come to the message, delivers it anew.
pub(super) fn is_given_up(notice: Notice, message: &MessageId, consumer: Standing) -> bool {
    notice.sequence == message.sequence
        && notice.told > message.stored
        && notice.told > consumer.created
        && consumer.passed >= message.sequence
}

/// Messages that one sweep found behind a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Behind {
    created: DateTime,
    messages: HashSet<MessageId>,
}

/// Messages behind a consumer that had nothing in hand. `messages` were read between two looks at it.
pub(super) fn behind(before: Standing, messages: Vec<MessageId>, after: Standing) -> Behind {
    let idle = before.in_hand == 0 && after.in_hand == 0 && before.created == after.created;
    let passed = |message: &MessageId| idle && message.sequence <= before.passed.min(after.passed);
    Behind {
        created: after.created,
        messages: messages.into_iter().filter(passed).collect(),
    }
}

/// Messages that two sweeps one after the other found behind the same consumer.
pub(super) fn stood_still<'a>(earlier: &'a Behind, later: &'a Behind) -> impl Iterator<Item = &'a MessageId> {
    let same = earlier.created == later.created;
    earlier.messages.intersection(&later.messages).filter(move |_| same)
}

#[cfg(test)]
mod tests;
