//! The judgement of an artefact.

use holdfast_format::{ArtefactKind, ObjectKey, Verdict};

/// The judgement of an artefact, good until something is found.
pub(crate) struct Judged {
    /// The kind of artefact, if its manifest could be read.
    pub(crate) kind: Option<ArtefactKind>,
    pub(crate) verdict: Verdict,
    /// The objects at fault, each with its problem, or those that could not be judged. May hold fewer than `total`.
    pub(crate) findings: Vec<(ObjectKey, String)>,
    pub(crate) total: u64,
    /// The number of sealed bytes that were read.
    pub(crate) bytes_read: u64,
    /// True if every pack is sealed to every reader that the manifest names.
    pub(crate) recipients_proven: bool,
}

impl Judged {
    pub(crate) fn good(kind: Option<ArtefactKind>) -> Self {
        Self {
            kind,
            verdict: Verdict::Good,
            findings: Vec::new(),
            total: 0,
            bytes_read: 0,
            recipients_proven: false,
        }
    }

    /// An artefact that cannot be judged, and why: something is not at hand that the judgement of this object takes.
    pub(crate) fn unknown(kind: Option<ArtefactKind>, object: ObjectKey, reason: String) -> Self {
        Self {
            verdict: Verdict::Unknown,
            findings: vec![(object, reason)],
            total: 1,
            ..Self::good(kind)
        }
    }

    /// Adds damage.
    pub(crate) fn add(&mut self, object: ObjectKey, problem: String) {
        self.verdict = Verdict::Damaged;
        self.findings.push((object, problem));
        self.total += 1;
    }
}
