//! Reasons to keep a run.

use std::fmt;

use holdfast_config::Span;
use holdfast_format::{ArtefactId, Class, Level, PlaceName};
use jiff::Timestamp;

use super::Subject;

/// The reason why a run stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// No retention is configured for the place.
    NoRetention,
    /// The plan deletes nothing at all; the reason is in the plan's `refused`.
    Blocked,
    /// The run's class is `pinned`.
    Pinned,
    /// The run is held until this time, or without end until it is released.
    Held(Option<Timestamp>),
    /// The run has no restore point, and may get one until this time.
    GoingOn(Option<Timestamp>),
    /// The run is younger than the grace.
    Young,
    /// No period is set for the run's class or a lower one.
    NoPeriod(Class),
    /// The run is within this period of this class.
    Within(Class, Span),
    /// The run holds one of the last good artefacts of this subject.
    LastGood(Subject),
    /// The run holds an artefact of this subject that is newer than the last good ones.
    Newest(Subject),
    /// The run holds the last verified artefact of this subject.
    LastVerified(Subject),
    /// The run holds an artefact of this subject, and no newer good one was verified to this level.
    Unproven(Subject, Level),
    /// The run holds this artefact, whose records cannot be read.
    Unknown(ArtefactId),
    /// A target does not have an artefact of this subject yet.
    Lacks(PlaceName, Option<Subject>),
    /// A target could not be read, for this reason.
    Unseen(PlaceName, String),
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRetention => f.write_str("no retention is configured for this place"),
            Self::Blocked => f.write_str("nothing is deleted this time"),
            Self::Pinned => f.write_str("pinned"),
            Self::Held(Some(until)) => write!(f, "held until {until}"),
            Self::Held(None) => f.write_str("held until it is released"),
            Self::GoingOn(Some(deadline)) => write!(f, "not ended; its deadline is {deadline}"),
            Self::GoingOn(None) => f.write_str("no restore point, and no record of when it was to end"),
            Self::Young => f.write_str("younger than the grace"),
            Self::NoPeriod(Class::Daily) => f.write_str("no period is set for daily runs"),
            Self::NoPeriod(class) => write!(f, "no period is set for {class} runs or for what they also count as"),
            Self::Within(class, span) => write!(f, "within {class} = {span}"),
            Self::LastGood(subject) => write!(f, "among the last good backups of {subject}"),
            Self::Newest(subject) => write!(f, "among the newest backups of {subject}, good or not"),
            Self::LastVerified(subject) => write!(f, "the last verified backup of {subject}"),
            Self::Unproven(subject, level) => write!(
                f,
                "no newer good backup of {subject} was verified to level {level}; `holdfast verify --latest` does it"
            ),
            Self::Unknown(artefact) => write!(
                f,
                "artefact {artefact} cannot be read, so it is not known whether a newer one was verified"
            ),
            Self::Lacks(target, Some(subject)) => write!(f, "target {target} lacks its {subject}"),
            Self::Lacks(target, None) => write!(f, "target {target} lacks part of it"),
            Self::Unseen(target, why) => write!(f, "target {target} could not be looked at: {why}"),
        }
    }
}
