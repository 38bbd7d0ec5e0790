//! An attempt that is staged whole.

use std::sync::Arc;

use holdfast_capture::{Attempt, Draft};
use holdfast_events::What;
use holdfast_service::JobError;
use holdfast_telemetry::failpoint;
use holdfast_telemetry::metrics::{self, Flow};

use crate::next_work::ask_for_next;
use crate::session::Session;

/// An attempt that is staged whole.
pub(crate) struct StagedAttempt {
    pub(crate) session: Session,
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) draft: Draft,
}

impl StagedAttempt {
    /// Tells that the artefact is captured, and asks for its seals.
    pub(crate) async fn hand_on(self) -> Result<(), JobError> {
        let Self {
            session,
            attempt,
            draft,
        } = self;
        failpoint::hit_async("capture.before_close").await?;
        let kind = session.artefact.kind.as_str();
        let metrics = metrics::global();
        metrics.bytes(Flow::Captured, kind, draft.captured.stream.size);
        metrics.bytes(Flow::Stored, kind, draft.captured.new.bytes);
        metrics.artefact(kind, "captured");
        let captured = What::ArtefactCaptured {
            artefact: session.artefact.id,
            attempt: attempt.number(),
            size: draft.captured.stream.size,
            new_bytes: draft.captured.new.bytes,
            warnings: draft.warnings.total,
        };
        session.cx.tell(session.work.run, captured).await?;
        ask_for_next(&session.cx, &attempt, &session.source).await
    }
}
