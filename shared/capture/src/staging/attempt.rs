//! The folder of one attempt.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use holdfast_format::{ArtefactId, ContentsWriter, PackId, RunId};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, mkdirat, openat, statat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::contents::ContentsFile;
use super::draft::Draft;
use super::receipt::Receipt;
use super::{Staging, StagingError, files};

/// The time between two looks for room. Encryptor and capture may be different processes, so the encryptor cannot wake
/// the capture.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The limits on waiting for room.
#[derive(Clone, Copy)]
pub struct Wait<'a> {
    /// Says whether to stop waiting.
    pub stop: &'a dyn Fn() -> bool,
    /// The time at which the wait ends with an error. Without one, the wait has no end.
    pub deadline: Option<Instant>,
}

/// One attempt at an artefact: its folder, held open.
#[derive(Debug)]
pub struct Attempt {
    staging: Staging,
    run: RunId,
    artefact: ArtefactId,
    number: u32,
    path: PathBuf,
    dir: OwnedFd,
    receipts: OwnedFd,
}

impl Attempt {
    pub(super) fn open(
        staging: &Staging,
        run: RunId,
        artefact: ArtefactId,
        number: u32,
    ) -> Result<Option<Self>, StagingError> {
        let path = staging.home(run, artefact).join(number.to_string());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let opened = openat(CWD, &path, flags, Mode::empty()).and_then(|dir| {
            match mkdirat(&dir, files::RECEIPTS, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e),
            }
            let receipts = openat(&dir, files::RECEIPTS, flags, Mode::empty())?;
            Ok((dir, receipts))
        });
        match opened {
            Ok((dir, receipts)) => Ok(Some(Self {
                staging: staging.clone(),
                run,
                artefact,
                number,
                path,
                dir,
                receipts,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(staging.fault("open", &path, e.into())),
        }
    }

    /// Returns the run.
    #[must_use]
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Returns the artefact.
    #[must_use]
    pub fn artefact(&self) -> ArtefactId {
        self.artefact
    }

    /// Returns the attempt's number, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Records the keys that every pack of this attempt is to be sealed to, by fingerprint. First, before any pack: capture
    /// and encryptor read the keys each for themselves.
    ///
    /// # Errors
    /// [`StagingError`]: superseded, or the filesystem refuses.
    pub fn put_readers(&self, readers: &[String]) -> Result<(), StagingError> {
        let json = self.encode(files::READERS, &readers)?;
        files::write(self.dir.as_fd(), files::READERS, &json).map_err(|e| self.fault("write", files::READERS, e))
    }

    /// Returns the keys that every pack of this attempt is to be sealed to; `None` if the attempt does not say.
    ///
    /// # Errors
    /// [`StagingError`] if they do not read.
    pub fn readers(&self) -> Result<Option<Vec<String>>, StagingError> {
        let json = files::read(self.dir.as_fd(), files::READERS).map_err(|e| self.fault("read", files::READERS, e))?;
        json.map(|json| self.decode(files::READERS, &json)).transpose()
    }

    /// Compresses a pack and stages it as [`put_pack`](Self::put_pack) does. Processors bound how many are compressed at a
    /// time, in all attempts of this process.
    ///
    /// # Errors
    /// As [`put_pack`](Self::put_pack).
    pub fn compress_pack(&self, id: PackId, plaintext: &[u8], level: i32, wait: &Wait<'_>) -> Result<(), StagingError> {
        let benches = &self.staging.inner.benches;
        let fault = |e| self.fault("compress", &format!("{id}{}", files::PACK), e);
        let taken = benches.take(level, wait.stop, LOOK_AGAIN).map_err(fault)?;
        let mut bench = taken.ok_or(StagingError::Stopped)?;
        let put = match bench.compress(plaintext).map_err(fault) {
            Ok(frame) => self.put_pack(id, frame, wait),
            Err(error) => Err(error),
        };
        benches.put_back(bench);
        put
    }

    /// Stages a pack's frame, and waits before that until it fits the bound. A pack that is there or sealed is not staged
    /// again.
    ///
    /// An attempt none of whose packs waits to be sealed may always stage one: else several captures could fill staging
    /// between them, and each wait for the others.
    ///
    /// # Errors
    /// [`StagingError`]: superseded, stopped, no room in time, or the filesystem refuses.
    pub fn put_pack(&self, id: PackId, frame: &[u8], wait: &Wait<'_>) -> Result<(), StagingError> {
        let name = format!("{id}{}", files::PACK);
        loop {
            let lock = self.staging.lock()?;
            self.check()?;
            let waiting = self.unsealed()?;
            if waiting.contains(&id) || self.receipt(id)?.is_some() {
                return Ok(());
            }
            let staged = self.staging.usage()?;
            let max_bytes = self.staging.max_bytes();
            if waiting.is_empty() || staged + frame.len() as u64 <= max_bytes {
                return files::write(self.dir.as_fd(), &name, frame).map_err(|e| self.fault("write", &name, e));
            }
            drop(lock);
            if (wait.stop)() {
                return Err(StagingError::Stopped);
            }
            if wait.deadline.is_some_and(|at| Instant::now() >= at) {
                return Err(StagingError::NoRoom { staged, max_bytes });
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// The zstd frame of a pack, in place of what is in `into`. Says whether it is staged, still.
    ///
    /// # Errors
    /// [`StagingError`] if it does not read.
    pub fn read_pack_into(&self, id: PackId, into: &mut Vec<u8>) -> Result<bool, StagingError> {
        let name = format!("{id}{}", files::PACK);
        files::read_into(self.dir.as_fd(), &name, into).map_err(|e| self.fault("read", &name, e))
    }

    /// Records what a pack was sealed to, and gives up its plaintext.
    ///
    /// # Errors
    /// [`StagingError`]: superseded, or the filesystem refuses.
    pub fn put_receipt(&self, id: PackId, receipt: &Receipt) -> Result<(), StagingError> {
        let name = format!("{id}{}", files::RECEIPT);
        let json = self.encode(&name, receipt)?;
        files::write(self.receipts.as_fd(), &name, &json).map_err(|e| self.fault("write", &name, e))?;
        let pack = format!("{id}{}", files::PACK);
        files::remove(self.dir.as_fd(), &pack).map_err(|e| self.fault("remove", &pack, e))
    }

    /// Returns the receipt of a pack, if the pack is sealed.
    ///
    /// # Errors
    /// [`StagingError`] if the receipt does not read.
    pub fn receipt(&self, id: PackId) -> Result<Option<Receipt>, StagingError> {
        let name = format!("{id}{}", files::RECEIPT);
        let json = files::read(self.receipts.as_fd(), &name).map_err(|e| self.fault("read", &name, e))?;
        json.map(|json| self.decode(&name, &json)).transpose()
    }

    /// Returns all receipts, by pack.
    ///
    /// # Errors
    /// [`StagingError`] if one does not read.
    pub fn receipts(&self) -> Result<HashMap<PackId, Receipt>, StagingError> {
        let mut all = HashMap::new();
        for id in self.sealed()? {
            if let Some(receipt) = self.receipt(id)? {
                all.insert(id, receipt);
            }
        }
        Ok(all)
    }

    /// The packs that wait to be sealed.
    ///
    /// # Errors
    /// [`StagingError`] if the folder does not read.
    pub fn unsealed(&self) -> Result<Vec<PackId>, StagingError> {
        let mut packs = files::packs(&self.dir, files::PACK).map_err(|e| self.fault("list", "packs", e))?;
        if !packs.is_empty() {
            // Whoever wrote the receipt may have died before it removed the plaintext.
            let sealed: HashSet<PackId> = self.sealed()?.into_iter().collect();
            packs.retain(|id| !sealed.contains(id));
        }
        Ok(packs)
    }

    fn sealed(&self) -> Result<Vec<PackId>, StagingError> {
        files::packs(&self.receipts, files::RECEIPT).map_err(|e| self.fault("list", files::RECEIPTS, e))
    }

    /// Begins this attempt's contents. They are there once [`ContentsFile::finish`] was called on the writer's inside.
    ///
    /// # Errors
    /// [`StagingError`]: superseded, or the filesystem refuses.
    pub fn contents(&self) -> Result<ContentsWriter<ContentsFile>, StagingError> {
        self.begin_contents(files::CONTENTS)
    }

    /// Begins the contents of a pre-copy, as [`contents`](Self::contents) does.
    ///
    /// # Errors
    /// [`StagingError`]: superseded, or the filesystem refuses.
    pub fn precopy(&self) -> Result<ContentsWriter<ContentsFile>, StagingError> {
        self.begin_contents(files::PRECOPY)
    }

    /// Removes the contents of the pre-copy: nothing is compared with it any more.
    ///
    /// # Errors
    /// [`StagingError`] if they cannot be removed.
    pub fn forget_precopy(&self) -> Result<(), StagingError> {
        files::remove(self.dir.as_fd(), files::PRECOPY).map_err(|e| self.fault("remove", files::PRECOPY, e))
    }

    fn begin_contents(&self, name: &'static str) -> Result<ContentsWriter<ContentsFile>, StagingError> {
        self.check()?;
        let file = ContentsFile::create(&self.dir, name, &self.path, self.staging.max_bytes())
            .map_err(|e| self.fault("create", name, e))?;
        ContentsWriter::new(file, self.artefact).map_err(|e| self.fault("write", name, e))
    }

    /// The contents' JSON lines, if the contents are whole.
    ///
    /// # Errors
    /// [`StagingError`] if they cannot be opened.
    pub fn read_contents(&self) -> Result<Option<impl io::BufRead + use<>>, StagingError> {
        self.read(files::CONTENTS)
            .map_err(|e| self.fault("open", files::CONTENTS, e))
    }

    pub(super) fn read(&self, name: &str) -> io::Result<Option<impl io::BufRead + use<>>> {
        let Some(file) = files::open(self.dir.as_fd(), name)? else {
            return Ok(None);
        };
        let lines = zstd::stream::read::Decoder::new(file)?;
        Ok(Some(io::BufReader::with_capacity(1 << 16, lines)))
    }

    /// Records that the capture is whole. Last, after all packs and the contents.
    ///
    /// # Errors
    /// [`StagingError`]: superseded, or the filesystem refuses.
    pub fn put_draft(&self, draft: &Draft) -> Result<(), StagingError> {
        let json = self.encode(files::DRAFT, draft)?;
        files::write(self.dir.as_fd(), files::DRAFT, &json).map_err(|e| self.fault("write", files::DRAFT, e))?;
        self.check()
    }

    /// The draft, once the capture is whole.
    ///
    /// # Errors
    /// [`StagingError`] if it does not read.
    pub fn draft(&self) -> Result<Option<Draft>, StagingError> {
        let json = files::read(self.dir.as_fd(), files::DRAFT).map_err(|e| self.fault("read", files::DRAFT, e))?;
        json.map(|json| self.decode(files::DRAFT, &json)).transpose()
    }

    /// Removes the attempt: its artefact is closed, or given up. Whoever still works on it finds it superseded.
    ///
    /// # Errors
    /// [`StagingError`] if it cannot be removed.
    pub fn discard(&self) -> Result<(), StagingError> {
        if self.is_current() {
            self.staging.take_away(&self.path)?;
            self.staging.tidy(&self.staging.home(self.run, self.artefact));
        }
        Ok(())
    }

    /// True if the folder still stands where it was made. A later attempt of the same number is another folder.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let there = statat(CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW).map(|s| (s.st_dev, s.st_ino));
        let mine = fstat(&self.dir).map(|s| (s.st_dev, s.st_ino));
        matches!((there, mine), (Ok(there), Ok(mine)) if there == mine)
    }

    pub(super) fn check(&self) -> Result<(), StagingError> {
        if self.is_current() {
            Ok(())
        } else {
            Err(self.superseded())
        }
    }

    fn superseded(&self) -> StagingError {
        StagingError::Superseded {
            artefact: self.artefact,
            attempt: self.number,
        }
    }

    fn fault(&self, action: &'static str, name: &str, source: io::Error) -> StagingError {
        if self.is_current() {
            self.staging.fault(action, &self.path.join(name), source)
        } else {
            self.superseded()
        }
    }

    fn encode(&self, name: &str, value: &impl Serialize) -> Result<Vec<u8>, StagingError> {
        serde_json::to_vec(value).map_err(|e| self.fault("encode", name, e.into()))
    }

    fn decode<T: for<'de> Deserialize<'de>>(&self, name: &str, json: &[u8]) -> Result<T, StagingError> {
        serde_json::from_slice(json).map_err(|source| StagingError::Malformed {
            path: self.path.join(name),
            source,
        })
    }
}
