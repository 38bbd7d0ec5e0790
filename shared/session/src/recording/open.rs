//! The open parts of a capture while it goes on. Everything here may block.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use holdfast_capture::{
    Attempt, CaptureError, CaptureProgress, ContentsFile, Draft, Earlier, Packed, Packer, PackerOptions, Sink, Staging,
    Wait, Watch,
};
use holdfast_format::{Captured, ContentsWriter, Extent, PackId, Predecessor};
use holdfast_service::JobError;
use holdfast_telemetry::failpoint;
use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::history::History;
use crate::input::{Input, SourceFacts};
use crate::joined_thread::JoinedThread;
use crate::parent::Parent;
use crate::session::Session;
use crate::staged_attempt::StagedAttempt;
use crate::stager::Stager;

/// The open parts of a capture. Fields are dropped in their order: the threads are told to end, the channels that they
/// wait for are closed, then the threads are waited for, and last the attempt's folder is removed.
pub(super) struct Open {
    ending: DropGuard,
    packer: Packer<'static>,
    contents: ContentsWriter<ContentsFile>,
    indexing: Option<Indexing>,
    stager: Stager,
    _memory: Memory,
    attempt: Unfinished,
    stop: CancellationToken,
    bytes: Arc<AtomicU64>,
    history: History,
    /// The time at which the pre-copy began, if there is one to compare with.
    precopied: Option<Timestamp>,
    session: Session,
}

/// An attempt whose folder is removed when this is dropped, unless the attempt is whole by then.
pub(super) struct Unfinished {
    attempt: Arc<Attempt>,
    whole: bool,
}

/// The thread that makes the parent's index, told to end and waited for when this is dropped.
struct Indexing {
    _ending: DropGuard,
    _thread: JoinedThread,
}

/// The memory that compressing took, given back when this is dropped.
struct Memory(Arc<Staging>);

impl Unfinished {
    pub(super) fn begin(session: &Session) -> Result<Self, JobError> {
        let attempt = session.staging.begin(session.work.run, session.artefact.id)?;
        Ok(Self {
            attempt: Arc::new(attempt),
            whole: false,
        })
    }

    pub(super) fn number(&self) -> u32 {
        self.attempt.number()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.whole
            && let Err(error) = self.attempt.discard()
        {
            // The next attempt replaces it.
            tracing::debug!(reason = %holdfast_fault::chain(&error), "a failed attempt could not be removed yet");
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.release_memory();
    }
}

impl Open {
    /// Opens everything. Packs that are staged are told to `staged`; `bytes` gets the stream's bytes so far.
    ///
    /// # Errors
    /// [`JobError`] if staging does not take the contents, this host only restores, or the system gives no threads.
    pub(super) fn new(
        session: Session,
        attempt: Unfinished,
        history: History,
        staged: UnboundedSender<PackId>,
        bytes: Arc<AtomicU64>,
    ) -> Result<Self, JobError> {
        let stop = session.lost.child_token();
        let ending = stop.clone().drop_guard();
        let (recipients, _) = session.cx.recipients()?;
        attempt.attempt.put_readers(&recipients.readers())?;
        let contents = attempt.attempt.contents()?;
        let mut options = options(&session, &history)?;
        let indexing = match &history.parent {
            Some(parent) => {
                let stop = stop.child_token();
                let ending = stop.clone().drop_guard();
                let (index, thread) = parent.index(&history.bad, stop)?;
                options.parent = Some(index);
                Some(Indexing {
                    _ending: ending,
                    _thread: thread,
                })
            }
            None => None,
        };
        let (stager, sink) = stager(&session, &attempt, &stop, staged)?;
        Ok(Self {
            ending,
            packer: Packer::new(options, sink),
            contents,
            indexing,
            stager,
            _memory: Memory(session.staging.clone()),
            attempt,
            stop,
            bytes,
            history,
            precopied: None,
            session,
        })
    }

    /// Lets `read` capture. Files are compared with the pre-copy, if there is one, else with the parent.
    pub(super) fn read<T>(&mut self, read: impl FnOnce(Input<'_>) -> Result<T, JobError>) -> Result<T, JobError> {
        let precopy = self.attempt.attempt.precopied();
        let earlier = match self.precopied {
            Some(began) => Some(Earlier::precopy(began, &precopy)),
            None => self.history.parent.as_ref().map(Parent::earlier),
        };
        let bytes = &self.bytes;
        let stop = &self.stop;
        read(Input {
            packer: &mut self.packer,
            contents: &mut self.contents,
            earlier,
            previous: self.history.latest.manifest.as_deref(),
            watch: Watch {
                progress: &mut |progress: CaptureProgress| bytes.store(progress.bytes, Ordering::Relaxed),
                stop: &|| stop.is_cancelled(),
            },
        })
    }

    pub(super) fn precopy(
        &mut self,
        read: impl FnOnce(Input<'_>) -> Result<Option<SourceFacts>, JobError>,
    ) -> Result<(), JobError> {
        let began = self.session.cx.now();
        let of_precopy = self.attempt.attempt.precopy()?;
        let of_capture = std::mem::replace(&mut self.contents, of_precopy);
        let facts = self.read(read);
        let of_precopy = std::mem::replace(&mut self.contents, of_capture);
        self.packer.begin_again();
        // Nothing of it is to wait for room once programs stand still.
        self.stager.settle();
        if let Some(facts) = facts? {
            put_contents(of_precopy, facts.closing)?;
            self.precopied = Some(began);
        }
        Ok(())
    }

    /// Gives the attempt up because of `error`, unless a pack could not be staged: then that is why.
    pub(super) fn fail(self, error: JobError) -> JobError {
        drop(self.ending);
        drop(self.packer);
        self.stager.end().err().unwrap_or(error)
    }

    /// Completes the attempt: packs, contents, and last the draft.
    pub(super) fn complete(mut self, mut facts: SourceFacts) -> Result<StagedAttempt, JobError> {
        if self.precopied.is_some()
            && let Err(error) = self.attempt.attempt.forget_precopy()
        {
            // They go with the attempt.
            tracing::debug!(reason = %holdfast_fault::chain(&error), "a pre-copy's contents could not be removed");
        }
        let packed = self.packer.finish();
        // Nobody looks for a chunk any more.
        drop(self.indexing);
        self.stager.end()?;
        let packed = packed?;
        let contents_plain = put_contents(self.contents, std::mem::take(&mut facts.closing))?;
        failpoint::hit("capture.before_draft")?;
        let number = self.attempt.number();
        let draft = draft(&self.session, &self.history, number, packed, facts, contents_plain)?;
        self.attempt.attempt.put_draft(&draft)?;
        self.attempt.whole = true;
        Ok(StagedAttempt {
            attempt: self.attempt.attempt.clone(),
            session: self.session,
            draft,
        })
    }
}

/// Returns the packer's options.
fn options(session: &Session, history: &History) -> Result<PackerOptions, JobError> {
    let info = session.cx.repository.info();
    let (recipients, profile) = session.cx.recipients()?;
    let namer = info
        .chunk_key
        .pack_namer(session.artefact.id, profile.as_str(), &recipients.readers());
    Ok(PackerOptions {
        params: info.chunker.clone(),
        key: info.chunk_key.clone(),
        namer,
        parent: None,
        bad: history.bad.clone(),
    })
}

/// The threads that stage packs, and tell `staged` of each that is.
fn stager(
    session: &Session,
    attempt: &Unfinished,
    stop: &CancellationToken,
    staged: UnboundedSender<PackId>,
) -> Result<(Stager, Sink<'static>), JobError> {
    let level = session.cx.settings.encryption.compression_level;
    let left = session.expected.deadline.duration_since(session.cx.now());
    let left = std::time::Duration::try_from(left).unwrap_or_default();
    // A deadline that no clock of this machine reaches is none.
    let deadline = Instant::now().checked_add(left);
    let attempt = attempt.attempt.clone();
    let stop = stop.clone();
    Stager::start(move |id, plaintext| {
        let wait = Wait {
            stop: &|| stop.is_cancelled(),
            deadline,
        };
        attempt.compress_pack(id, plaintext, level, &wait)?;
        let _ = failpoint::hit("capture.after_pack");
        // Nobody listens any more only if the capture was given up; it then stops at its next look.
        let _ = staged.send(id);
        Ok(())
    })
}

/// Puts contents into their place; the bytes of their lines.
fn put_contents(contents: ContentsWriter<ContentsFile>, closing: Vec<Extent>) -> Result<u64, JobError> {
    let (file, plain) = contents.finish(closing).map_err(CaptureError::Contents)?;
    file.finish().map_err(CaptureError::Contents)?;
    Ok(plain)
}

fn draft(
    session: &Session,
    history: &History,
    attempt: u32,
    packed: Packed,
    facts: SourceFacts,
    contents_plain: u64,
) -> Result<Draft, JobError> {
    let (recipients, profile) = session.cx.recipients()?;
    let artefact = &session.artefact;
    let captured = Captured {
        artefact: artefact.id,
        run: session.work.run,
        source: session.source.clone(),
        kind: artefact.kind,
        name: artefact.name.clone(),
        site: session.cx.site.clone(),
        sequence: history.latest.next_sequence(),
        previous: history.latest.manifest.as_ref().map(|latest| Predecessor {
            artefact: latest.manifest.captured.artefact,
            sha256: latest.sha256,
        }),
        parent: history.parent.as_ref().map(Parent::id),
        started: history.started,
        finished: session.cx.now(),
        attempt,
        class: session.class,
        profile: profile.as_str().to_owned(),
        recipients: recipients.fingerprints(),
        readers: recipients.readers(),
        tools: facts.tools,
        stream: packed.stream(artefact.kind.stream_format()),
        new: packed.new,
        counts: facts.counts,
        database: facts.database,
        volume: facts.volume,
    };
    Ok(Draft {
        captured,
        warnings: facts.warnings,
        packs: packed.packs,
        contents_plain,
    })
}
