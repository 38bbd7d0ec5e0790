//! Artefacts that were really captured and sealed, and the records of their verification.

use holdfast_capture::{Packer, PackerOptions, Watch, capture_stream};
use holdfast_format::{
    Artefact, ArtefactId, ArtefactKind, ContentsRef, ContentsWriter, Damaged, Level, ObjectKey, PackRef, PointStatus,
    RunId, SourceName, Verdict, Verification,
};
use holdfast_repository::ContentsPut;
use holdfast_restore::{CheckOptions, Limits, OpenArtefact, Previous, Progress, check};
use holdfast_sealing::{PackSealer, Profile};
use holdfast_telemetry::clock::Clock as _;
use uuid::Uuid;

use super::records::{digest, manifest};
use super::{Bed, LOCAL, name};

impl Bed {
    /// Captures these bytes as the roles of the server `main`, in packs that are really sealed. Then reads them back,
    /// and ends the run.
    pub async fn proven(&self, run: RunId, bytes: &[u8]) -> ArtefactId {
        let source: SourceName = "main".parse().unwrap();
        let artefact = Artefact::new(run, &source, ArtefactKind::Globals, "globals");
        self.capture(run, source, &artefact, bytes).await;
        assert!(self.read_back(artefact.id).await);
        let status = PointStatus::Good {
            manifest: digest(b""),
            verified: Some(Level::Decrypt),
        };
        let id = artefact.id;
        self.write_point(run, artefact, status).await;
        id
    }

    async fn capture(&self, run: RunId, source: SourceName, artefact: &Artefact, bytes: &[u8]) {
        self.list(run, &source, artefact).await;
        let info = self.repository.info();
        let recipients = self.keys.recipients.clone().unwrap();
        let options = PackerOptions {
            params: info.chunker.clone(),
            key: info.chunk_key.clone(),
            namer: info.chunk_key.pack_namer(artefact.id, "gnupg", &recipients.readers()),
            parent: None,
            bad: std::collections::HashSet::new(),
        };
        let mut plain = Vec::new();
        let mut contents = ContentsWriter::new(Vec::new(), artefact.id).unwrap();
        let sink = |id, plaintext: Vec<u8>| {
            plain.push((id, plaintext.clone()));
            Ok(plaintext)
        };
        let mut packer = Packer::new(options, Box::new(sink));
        let mut watch = Watch {
            progress: &mut |_| {},
            stop: &|| false,
        };
        capture_stream(bytes, &mut packer, &mut contents, &mut watch).unwrap();
        let packed = packer.finish().unwrap();
        let (lines, size) = contents.finish(Vec::new()).unwrap();
        let sealer = PackSealer::new(&recipients, Profile::Gnupg).unwrap();
        let mut packs = Vec::new();
        for (id, plaintext) in plain {
            let sealed = sealer.seal(&zstd::bulk::compress(&plaintext, 1).unwrap()).unwrap();
            packs.push(PackRef {
                id,
                size: sealed.len() as u64,
                sha256: digest(&sealed),
                plain: u32::try_from(plaintext.len()).unwrap(),
                used: u32::try_from(plaintext.len()).unwrap(),
            });
            let key = ObjectKey::Pack(id);
            self.repository.place().put(&key, sealed.into(), None).await.unwrap();
            self.stamp(LOCAL, &key);
        }
        let draft = self.dir.path().join(format!("draft-{}", artefact.id));
        std::fs::write(&draft, zstd::bulk::compress(&lines, 3).unwrap()).unwrap();
        let put = self.repository.put_contents(artefact.id, &draft).await.unwrap();
        let ContentsPut::Stored { size: sealed, sha256 } = put else {
            panic!("other contents were there")
        };
        let mut manifest = manifest(artefact, run, source, self.clock.now(), packs);
        manifest.captured.recipients = recipients.fingerprints();
        manifest.captured.readers = recipients.readers();
        manifest.captured.stream = packed.stream(artefact.kind.stream_format());
        manifest.captured.new = packed.new;
        manifest.contents = ContentsRef {
            size: sealed,
            sha256,
            plain: size,
        };
        self.write(ObjectKey::Manifest(artefact.id), &manifest).await;
    }

    /// Reads an artefact back to level decrypt, and writes the same records as the verifier: a mark for each damaged
    /// pack, then the verification. Returns true if the artefact is good.
    pub async fn read_back(&self, artefact: ArtefactId) -> bool {
        self.clock.advance(std::time::Duration::from_secs(60));
        let fresh = self.repository.at(self.repository.place().clone());
        let opened = OpenArtefact::open(&fresh, self.backup.clone(), artefact, self.dir.path()).await;
        let opened = opened.unwrap().expect("it has a manifest");
        let checked = tokio::task::spawn_blocking(move || {
            let options = CheckOptions {
                limits: Limits::default(),
                client_dirs: &[],
                previous: Previous::NotLooked,
            };
            check(opened.origin(), Level::Decrypt, options, &Progress::default()).unwrap()
        });
        let report = checked.await.unwrap();
        for found in &report.findings {
            if let ObjectKey::Pack(pack) = found.object {
                let mark = Damaged {
                    pack,
                    at: self.clock.now(),
                    artefact,
                    problem: found.problem.clone(),
                };
                self.write(ObjectKey::Damaged(pack), &mark).await;
            }
        }
        let record = Verification {
            id: Uuid::new_v4(),
            artefact,
            run: None,
            place: name(LOCAL),
            level: Level::Decrypt,
            verdict: if report.is_good() {
                Verdict::Good
            } else {
                Verdict::Damaged
            },
            findings: Vec::new(),
            total_findings: report.total,
            started: self.clock.now(),
            finished: self.clock.now(),
            bytes_read: report.bytes_read,
            recipients_proven: report.recipients_proven,
        };
        self.write(ObjectKey::Verified(artefact, record.id), &record).await;
        report.is_good()
    }
}
