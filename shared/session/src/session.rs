//! One capture from work to draft: the parent, the attempt, packs on their way to the encryptor while capture goes on.
//! The dumper and the snapshotter bring only what they read.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast_bus::Delivery;
use holdfast_capture::{
    Attempt, CaptureError, ContentsIter, Draft, Earlier, Packer, PackerOptions, ParentIndex, Progress, ReadContents,
    Staging, Wait, Watch,
};
use holdfast_events::{Job, What, Work};
use holdfast_format::{Artefact, Captured, Class, ContentsError, Expected, PackId, Predecessor, RunId, SourceName};
use holdfast_repository::{ContentsFile, Latest, SealedManifest};
use holdfast_service::{Context, JobError};
use holdfast_telemetry::failpoint;
use holdfast_telemetry::metrics::{self, Flow};
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::input::{Found, Input};
use crate::next::{ask_for_seals, hand_on_sealed};
use crate::stager;

/// How often bytes done so far are told.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// From which delivery on a parent is no longer tried: if it is what fails, the artefact is captured whole.
const WITHOUT_PARENT_FROM: u64 = 3;

/// A capture that is to be done: nothing of it is staged or sealed yet.
pub struct Session {
    cx: Context,
    staging: Arc<Staging>,
    work: Work,
    expected: Arc<Expected>,
    source: SourceName,
    artefact: Artefact,
    class: Class,
    delivery: u64,
    lost: tokio_util::sync::CancellationToken,
}

impl Session {
    /// Looks at what is there already. `None` if the artefact is sealed, or staged whole by an earlier attempt: then only
    /// the next step was asked for again.
    ///
    /// # Errors
    /// [`JobError`] if the work makes no sense or the repository cannot be read.
    pub async fn begin(
        cx: &Context,
        staging: &Arc<Staging>,
        work: &Work,
        delivery: &Delivery,
    ) -> Result<Option<Self>, JobError> {
        let Job::Capture { source, artefact, .. } = &work.job else {
            return Err(JobError::Fail(format!("{} is no capture", work.stage())));
        };
        let expected = cx.expected(work.run).await?;
        let listed = cx.listed(work.run, source, *artefact).await?;
        if let Some(sealed) = cx.repository.manifest(*artefact).await? {
            hand_on_sealed(cx, &expected, source, &sealed, 0).await?;
            return Ok(None);
        }
        if expected.deadline < cx.now() {
            return Err(JobError::Fail(format!(
                "it was not captured before the run's deadline, {}",
                expected.deadline
            )));
        }
        if let Some(attempt) = staging.latest(work.run, *artefact)?
            && attempt.draft()?.is_some()
        {
            ask_for_seals(cx, &attempt, source).await?;
            return Ok(None);
        }
        Ok(Some(Self {
            cx: cx.clone(),
            staging: staging.clone(),
            work: work.clone(),
            class: expected.class,
            expected,
            source: source.clone(),
            artefact: listed,
            delivery: delivery.count,
            lost: delivery.lost.clone(),
        }))
    }

    /// What is captured.
    #[must_use]
    pub fn artefact(&self) -> &Artefact {
        &self.artefact
    }

    /// The run that it is captured in.
    #[must_use]
    pub fn run_id(&self) -> RunId {
        self.work.run
    }

    /// The source that it is of.
    #[must_use]
    pub fn source(&self) -> &SourceName {
        &self.source
    }

    /// With a class of its own, if that is kept longer than the run's.
    #[must_use]
    pub fn at_least(mut self, class: Option<Class>) -> Self {
        self.class = self.class.max(class.unwrap_or(self.class));
        self
    }

    /// Cancelled when the job is no longer this worker's.
    #[must_use]
    pub fn lost(&self) -> tokio_util::sync::CancellationToken {
        self.lost.clone()
    }

    /// Captures: `body` reads the source on a thread of its own, packs are handed to the encryptor meanwhile. `started` is
    /// when the state that is captured was fixed (the snapshot), or now.
    ///
    /// # Errors
    /// [`JobError`]; what was staged stays for the next attempt to find or replace.
    pub async fn run<F>(self, started: Timestamp, body: F) -> Result<(), JobError>
    where
        F: FnOnce(Input<'_, '_>) -> Result<Found, JobError> + Send + 'static,
    {
        let (kind, name) = (self.artefact.kind, self.artefact.name.clone());
        let run = self.work.run;
        let attempt = self.staging.begin(run, self.artefact.id)?;
        let number = attempt.number();
        self.cx
            .tell(
                run,
                What::ArtefactStarted {
                    artefact: self.artefact.id,
                    attempt: number,
                },
            )
            .await?;
        let latest = self.cx.catalogue.latest(&self.source, kind, &name, Some(run)).await?;
        let parent = self.parent().await?;
        let bad: HashSet<PackId> = self.cx.catalogue.damaged_packs().await?.into_iter().collect();

        let (told, mut packs) = mpsc::channel(16);
        let bytes = Arc::new(AtomicU64::new(0));
        let blocking = Blocking {
            session: self,
            attempt: Arc::new(attempt),
            latest,
            parent,
            bad,
            started,
            told,
            bytes: bytes.clone(),
        };
        let (cx, work, source, attempt) = blocking.outside();
        let lost = blocking.session.lost.clone();
        let mut capturing = tokio::task::spawn_blocking(move || blocking.capture(body));
        let mut tick = tokio::time::interval(TELL_EVERY);
        let draft = loop {
            tokio::select! {
                Some(pack) = packs.recv() => {
                    let job = Job::Seal { artefact: attempt.artefact(), attempt: number, pack };
                    let work = Work { job, ..work.clone() };
                    if let Err(error) = cx.bus.publish_work(&work).await {
                        // The encryptor's reconciler would find the pack too; but the bus is gone, so is our claim.
                        lost.cancel();
                        // Nobody takes packs any more, and none of its threads may wait for that.
                        packs.close();
                        let _ = (&mut capturing).await;
                        return Err(error.into());
                    }
                }
                _ = tick.tick() => cx.bus.tell_progress(run, attempt.artefact(), bytes.load(Ordering::Relaxed), None).await,
                done = &mut capturing => break done?,
            }
        };
        let draft = match draft {
            Ok(draft) => draft,
            Err(error) => {
                // The next attempt would replace it; until then its plaintext need not lie there.
                discard(attempt);
                return Err(error);
            }
        };
        failpoint::hit_async("capture.before_close").await?;
        let what = What::ArtefactCaptured {
            artefact: attempt.artefact(),
            attempt: number,
            size: draft.captured.stream.size,
            new_bytes: draft.captured.new.bytes,
            warnings: draft.warnings.total,
        };
        let metrics = metrics::global();
        metrics.bytes(Flow::Captured, kind.as_str(), draft.captured.stream.size);
        metrics.bytes(Flow::Stored, kind.as_str(), draft.captured.new.bytes);
        metrics.artefact(kind.as_str(), "captured");
        cx.tell(run, what).await?;
        ask_for_seals(&cx, &attempt, &source).await
    }

    /// The artefact whose chunks may be referenced, if there is one sealed to the same readers in the same way.
    async fn parent(&self) -> Result<Option<Arc<SealedManifest>>, JobError> {
        if self.expected.fresh || self.delivery >= WITHOUT_PARENT_FROM {
            return Ok(None);
        }
        let run = Some(self.work.run);
        let newest = self
            .cx
            .catalogue
            .newest(&self.source, self.artefact.kind, &self.artefact.name, run)
            .await?;
        let (recipients, profile) = self.cx.recipients()?;
        let (recipients, profile) = (recipients.fingerprints(), profile.as_str());
        Ok(newest.filter(|p| p.manifest.captured.recipients == recipients && p.manifest.captured.profile == profile))
    }
}

/// A parent's contents, if they could be fetched.
struct OfParent(Option<ContentsFile>);

impl ReadContents for OfParent {
    fn lines(&self) -> Result<ContentsIter<'_>, ContentsError> {
        let Some(file) = &self.0 else {
            return Ok(Box::new(std::iter::empty()));
        };
        let reader = file.reader();
        Ok(Box::new(
            reader.map_err(|e| ContentsError::Read(std::io::Error::other(e)))?,
        ))
    }
}

/// The part that reads and writes, on a thread that may block.
struct Blocking {
    session: Session,
    attempt: Arc<Attempt>,
    latest: Latest,
    parent: Option<Arc<SealedManifest>>,
    bad: HashSet<PackId>,
    started: Timestamp,
    told: mpsc::Sender<PackId>,
    bytes: Arc<AtomicU64>,
}

impl Blocking {
    fn outside(&self) -> (Context, Work, SourceName, Arc<Attempt>) {
        let s = &self.session;
        (s.cx.clone(), s.work.clone(), s.source.clone(), self.attempt.clone())
    }

    fn capture<F>(self, body: F) -> Result<Draft, JobError>
    where
        F: FnOnce(Input<'_, '_>) -> Result<Found, JobError>,
    {
        let cx = &self.session.cx;
        let repository = &cx.repository;
        let runtime = tokio::runtime::Handle::current();
        let mut parent = self.parent.as_ref();
        let mut contents_of_parent = OfParent(None);
        if let Some(sealed) = parent {
            match runtime.block_on(repository.open_contents(&sealed.manifest, &cx.scratch)) {
                Ok(file) => contents_of_parent = OfParent(Some(file)),
                Err(error) => {
                    let reason = holdfast_fault::chain(&error).to_string();
                    tracing::warn!(artefact = %sealed.manifest.captured.artefact, reason, "its contents cannot serve as parent");
                    parent = None;
                }
            }
        }
        let (index, maker) = parent.map(|p| ParentIndex::new(&p.manifest.packs, &self.bad)).unzip();
        let (recipients, profile) = cx.recipients()?;
        let recipients = recipients.fingerprints();
        let options = PackerOptions {
            params: repository.info().chunker.clone(),
            key: repository.info().chunk_key.clone(),
            namer: repository
                .info()
                .chunk_key
                .pack_namer(self.session.artefact.id, profile.as_str(), &recipients),
            parent: index,
            bad: self.bad.clone(),
        };
        let lost = &self.session.lost;
        let left = self.session.expected.deadline.duration_since(cx.now());
        let deadline = std::time::Instant::now()
            .checked_add(left.unsigned_abs())
            .filter(|_| left.is_positive());
        let stop = || lost.is_cancelled();
        let attempt = &self.attempt;
        let level = cx.settings.encryption.compression_level;
        let put = |id: PackId, plaintext: &[u8]| {
            let wait = Wait { stop: &stop, deadline };
            attempt.compress_pack(id, plaintext, level, &wait)?;
            let _ = failpoint::hit("capture.after_pack");
            // Nobody listens any more only if the capture was given up; it then stops at its next look.
            let _ = self.told.blocking_send(id);
            Ok(())
        };
        let mut contents = attempt.contents()?;
        let bytes = &self.bytes;
        let mut progress = |p: Progress| bytes.store(p.bytes, Ordering::Relaxed);
        let captured = stager::beside(put, |sink, settle| {
            let mut packer = Packer::new(options, sink);
            // The parent's chunks are looked for only once something new comes, so they are read beside the capture.
            let found = std::thread::scope(|scope| {
                if let Some(maker) = maker {
                    scope.spawn(|| match contents_of_parent.lines() {
                        Ok(lines) => maker.make(lines, &stop),
                        Err(error) => maker.fail(error),
                    });
                }
                let input = Input {
                    packer: &mut packer,
                    contents: &mut contents,
                    earlier: parent.map(|p| Earlier::parent(&p.manifest, &contents_of_parent)),
                    previous: self.latest.manifest.as_deref(),
                    watch: Watch {
                        progress: &mut progress,
                        stop: &stop,
                    },
                    attempt,
                    settle,
                    cx,
                };
                body(input)
            });
            Ok((found?, packer.finish()?))
        });
        self.session.staging.release_memory();
        let (found, packed) = captured?;
        let (file, contents_plain) = contents.finish(found.closing).map_err(CaptureError::Contents)?;
        file.finish().map_err(CaptureError::Contents)?;
        failpoint::hit("capture.before_draft")?;
        let session = &self.session;
        let captured = Captured {
            artefact: session.artefact.id,
            run: session.work.run,
            source: session.source.clone(),
            kind: session.artefact.kind,
            name: session.artefact.name.clone(),
            site: cx.site.clone(),
            sequence: self.latest.next_sequence(),
            previous: self.latest.manifest.as_ref().map(|m| Predecessor {
                artefact: m.manifest.captured.artefact,
                sha256: m.sha256,
            }),
            parent: parent.map(|p| p.manifest.captured.artefact),
            started: self.started,
            finished: cx.now(),
            attempt: attempt.number(),
            class: session.class,
            profile: profile.as_str().to_owned(),
            recipients,
            tools: found.tools,
            stream: packed.stream(session.artefact.kind.stream_format()),
            new: packed.new,
            counts: found.counts,
            database: found.database,
            volume: found.volume,
        };
        let draft = Draft {
            captured,
            warnings: found.warnings,
            packs: packed.packs,
            contents_plain,
        };
        attempt.put_draft(&draft)?;
        Ok(draft)
    }
}

fn discard(attempt: Arc<Attempt>) {
    if let Some(attempt) = Arc::into_inner(attempt)
        && let Err(error) = attempt.discard()
    {
        tracing::debug!(reason = %holdfast_fault::chain(&error), "a failed attempt could not be removed yet");
    }
}
