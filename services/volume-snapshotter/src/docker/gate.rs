//! Several captures that are read in one quiet time.
//!
//! A capture prepares itself (its parent is fetched, its attempt begun) before any container stops, and does what remains
//! (packs sealed, contents written) after all are back: only reading lies between. Each capture has a [`Pass`], on the
//! thread that reads; the [`Gate`] is on the other side.

use holdfast_fault::{Retry, Retryable};
use holdfast_service::JobError;
use tokio::sync::oneshot;

/// Why a capture does not go on.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Closed {
    pub(crate) reason: String,
    pub(crate) retry: Retry,
}

impl Retryable for Closed {
    fn retry(&self) -> Retry {
        self.retry
    }
}

/// What a quiet time brought that was read in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quieted {
    /// For how long containers were quiet, if any were.
    pub(crate) milliseconds: Option<u64>,
    /// What the operator should know.
    pub(crate) warnings: Vec<String>,
}

/// A capture's side.
pub(crate) struct Pass {
    ready: Option<oneshot::Sender<()>>,
    open: Option<oneshot::Receiver<Result<(), Closed>>>,
    read: Option<oneshot::Sender<()>>,
    verdict: Option<oneshot::Receiver<Result<Quieted, Closed>>>,
}

struct Member {
    ready: oneshot::Receiver<()>,
    open: oneshot::Sender<Result<(), Closed>>,
    reader: Reader,
}

/// A capture that reads.
struct Reader {
    read: oneshot::Receiver<()>,
    verdict: oneshot::Sender<Result<Quieted, Closed>>,
}

/// The side of whoever makes containers quiet.
#[derive(Default)]
pub(crate) struct Gate {
    members: Vec<Member>,
}

/// Captures that are being read.
pub(crate) struct Opened {
    reading: Vec<Reader>,
}

impl Gate {
    /// One more capture.
    pub(crate) fn pass(&mut self) -> Pass {
        let ((ready, is_ready), (open, is_open)) = (oneshot::channel(), oneshot::channel());
        let ((read, is_read), (verdict, judged)) = (oneshot::channel(), oneshot::channel());
        self.members.push(Member {
            ready: is_ready,
            open,
            reader: Reader { read: is_read, verdict },
        });
        Pass {
            ready: Some(ready),
            open: Some(is_open),
            read: Some(read),
            verdict: Some(judged),
        }
    }

    /// Waits until all are prepared; those that failed before are out. Whether any is left.
    pub(crate) async fn all_ready(&mut self) -> bool {
        let mut ready = Vec::new();
        for mut member in std::mem::take(&mut self.members) {
            if (&mut member.ready).await.is_ok() {
                ready.push(member);
            }
        }
        self.members = ready;
        !self.members.is_empty()
    }

    /// Lets all read.
    pub(crate) fn open(self) -> Opened {
        let let_in = |member: Member| {
            // Who has gone does not count any more; its other end is closed, too.
            let _ = member.open.send(Ok(()));
            member.reader
        };
        Opened {
            reading: self.members.into_iter().map(let_in).collect(),
        }
    }

    /// Sends all away.
    pub(crate) fn close(self, why: &Closed) {
        for member in self.members {
            let _ = member.open.send(Err(why.clone()));
        }
    }
}

impl Opened {
    /// Waits until all have read, or given up.
    pub(crate) async fn all_read(&mut self) {
        for reader in &mut self.reading {
            let _ = (&mut reader.read).await;
        }
    }

    /// Tells all what became of the quiet time that they read in.
    pub(crate) fn judge(self, verdict: &Result<Quieted, Closed>) {
        for reader in self.reading {
            let _ = reader.verdict.send(verdict.clone());
        }
    }
}

const GIVEN_UP: &str = "the quiet time was given up";

impl Pass {
    /// Says that all is prepared, and waits for the quiet time.
    pub(crate) fn enter(&mut self) -> Result<(), JobError> {
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(());
        }
        let answer = self.open.take().and_then(|open| open.blocking_recv().ok());
        Ok(answer.ok_or_else(|| JobError::Retry(GIVEN_UP.to_owned()))??)
    }

    /// Says that all is read, and waits until containers are back: only then it is known whether what was read counts.
    pub(crate) fn leave(mut self) -> Result<Quieted, JobError> {
        if let Some(read) = self.read.take() {
            let _ = read.send(());
        }
        let answer = self.verdict.take().and_then(|verdict| verdict.blocking_recv().ok());
        Ok(answer.ok_or_else(|| JobError::Retry(GIVEN_UP.to_owned()))??)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn reader(
        mut pass: Pass,
        read: impl FnOnce() + Send + 'static,
    ) -> tokio::task::JoinHandle<Result<Quieted, JobError>> {
        tokio::task::spawn_blocking(move || {
            pass.enter()?;
            read();
            pass.leave()
        })
    }

    #[tokio::test]
    async fn reading_lies_between_opening_and_the_verdict() {
        let mut gate = Gate::default();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let readers: Vec<_> = (0..3)
            .map(|at| {
                let tell = tell.clone();
                reader(gate.pass(), move || tell.send(at).unwrap())
            })
            .collect();
        // One that fails while it prepares holds nobody up.
        drop(gate.pass());
        assert!(gate.all_ready().await);
        assert!(told.try_recv().is_err());
        let mut opened = gate.open();
        opened.all_read().await;
        let mut all: Vec<i32> = std::iter::from_fn(|| told.try_recv().ok()).collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
        assert!(readers.iter().all(|reader| !reader.is_finished()));
        opened.judge(&Ok(Quieted {
            milliseconds: Some(7),
            warnings: Vec::new(),
        }));
        for reader in readers {
            assert_eq!(reader.await.unwrap().unwrap().milliseconds, Some(7));
        }
    }

    #[tokio::test]
    async fn who_is_sent_away_or_left_alone_does_not_read() {
        let mut gate = Gate::default();
        let sent = reader(gate.pass(), || panic!("it must not read"));
        assert!(gate.all_ready().await);
        gate.close(&Closed {
            reason: "no".to_owned(),
            retry: Retry::Never,
        });
        assert!(matches!(sent.await.unwrap(), Err(JobError::Fail(why)) if why == "no"));
        let mut gate = Gate::default();
        let alone = reader(gate.pass(), || panic!("it must not read"));
        drop(gate);
        assert!(matches!(alone.await.unwrap(), Err(JobError::Retry(_))));
        assert!(!Gate::default().all_ready().await);
    }
}
