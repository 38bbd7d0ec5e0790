//! The judgement of an artefact.

use holdfast_format::{ArtefactKind, ObjectKey};

/// The judgement of an artefact.
#[derive(Default)]
pub(crate) struct Judged {
    /// The kind of artefact, if its manifest could be read.
    pub(crate) kind: Option<ArtefactKind>,
    /// The objects at fault, each with its problem. May hold fewer than `total`.
    pub(crate) findings: Vec<(ObjectKey, String)>,
    pub(crate) total: u64,
    /// The number of sealed bytes that were read.
    pub(crate) bytes_read: u64,
    /// True if every pack is sealed to every recipient.
    pub(crate) recipients_proven: bool,
}

impl Judged {
    pub(crate) fn add(&mut self, object: ObjectKey, problem: String) {
        self.findings.push((object, problem));
        self.total += 1;
    }
}
