//! Contents laid out by pack, to look at each pack once.

use holdfast_format::{Content, Entry, EntryKind, Extent, ObjectKey, StreamFormat};

use super::findings::{CheckError, Findings};
use crate::ledger::Ledger;
use crate::source::Origin;
use crate::stream::{StreamError, compare};
use crate::tar::{self, BLOCK};

/// An extent, to be found in its pack.
struct Piece {
    pack: u32,
    offset: u32,
    length: u32,
    /// The position in the stream.
    place: u32,
}

/// The values that an entry's headers must agree with.
struct Wanted {
    /// The place of the header extent.
    place: u32,
    /// Kind, path and link.
    hash: u64,
    /// The file's size.
    size: u64,
    /// Bytes of the data extents.
    data: u64,
}

/// The extents of contents, ordered by pack: about 40 bytes for each, and 32 for each entry.
#[derive(Default)]
pub(super) struct Survey {
    pieces: Vec<Piece>,
    /// In the order of places.
    headers: Vec<Wanted>,
    ledger: Ledger,
}

/// Reads contents through, compares them with the manifest, and keeps what is needed to look into packs, if `keep` says so.
/// `None` if contents cannot be read to their end, which then is a finding.
pub(super) fn survey(origin: Origin<'_>, findings: &Findings, keep: bool) -> Result<Option<Survey>, CheckError> {
    let mut survey = Survey::default();
    let mut size = 0;
    let mut count = 0;
    let mut outside = 0_u64;
    let lines = match origin.lines() {
        Ok(lines) => lines,
        Err(error) => return findings.contents(origin, error).map(|()| None),
    };
    for line in lines {
        let content = match line {
            Ok(content) => content,
            Err(error) => return findings.contents(origin, error).map(|()| None),
        };
        for extent in content.extents() {
            size += u64::from(extent.length);
            count += 1;
            outside += u64::from(!fits(origin, extent));
        }
        if keep {
            survey.enter(origin, &content);
        }
    }
    let stream = &origin.manifest.captured.stream;
    let key = ObjectKey::Contents(origin.manifest.captured.artefact);
    if outside > 0 {
        findings.add(key.clone(), format!("{outside} extents reach beyond their packs"), true);
    }
    // The digest is left for when the chunks were seen.
    if let Err(error) = compare(origin, size, count, stream.digest) {
        findings.add(key, error.to_string(), true);
    }
    survey.pieces.sort_unstable_by_key(|piece| (piece.pack, piece.offset));
    Ok(Some(survey))
}

fn fits(origin: Origin<'_>, extent: &Extent) -> bool {
    origin
        .pack(extent.pack)
        .is_some_and(|pack| u64::from(extent.offset) + u64::from(extent.length) <= u64::from(pack.plain))
}

impl Survey {
    fn enter(&mut self, origin: Origin<'_>, content: &Content) {
        let first = self.pieces.len();
        for extent in content.extents() {
            let piece = Piece {
                pack: extent.pack,
                offset: extent.offset,
                length: extent.length,
                place: self.ledger.enter(extent),
            };
            self.pieces.push(piece);
        }
        if let (Content::Entry(entry), Some(header), StreamFormat::Tar) =
            (content, self.pieces.get(first), origin.manifest.captured.stream.format)
        {
            let data = entry.extents[1..].iter().map(|x| u64::from(x.length)).sum();
            self.headers.push(Wanted {
                place: header.place,
                hash: tar::agreed(entry.kind, &entry.path.0, link_of(entry)),
                size: entry.size,
                data,
            });
        }
    }

    /// Compares what lies in a pack with its ids, and headers with the contents. At most one finding for a pack.
    pub(super) fn check_pack(&self, origin: Origin<'_>, index: u32, plain: &[u8], findings: &Findings) {
        let start = self.pieces.partition_point(|piece| piece.pack < index);
        let end = self.pieces.partition_point(|piece| piece.pack <= index);
        let mut ids = Vec::new();
        for piece in &self.pieces[start..end] {
            let from = piece.offset as usize;
            let to = piece.offset as usize + piece.length as usize;
            // Found by the survey already.
            let Some(bytes) = plain.get(from..to) else {
                continue;
            };
            let id = origin.key.chunk_id(bytes);
            match self.ledger.expected(piece.place) {
                Some(expected) if expected != id => {
                    let extent = Extent {
                        pack: index,
                        offset: piece.offset,
                        length: piece.length,
                        id: None,
                    };
                    let error = StreamError::chunk(origin, &extent, expected);
                    findings.add(origin.pack_key(index), error.to_string(), true);
                    return;
                }
                Some(_) => {}
                None => ids.push((piece.place, id)),
            }
            if let Err(problem) = self.check_header(piece.place, bytes) {
                let problem = format!(
                    "tar headers at {} of it do not agree with the contents: {problem}",
                    piece.offset
                );
                findings.add(origin.pack_key(index), problem, true);
                return;
            }
        }
        self.ledger.found(&ids);
    }

    fn check_header(&self, place: u32, bytes: &[u8]) -> Result<(), &'static str> {
        let Ok(at) = self.headers.binary_search_by_key(&place, |wanted| wanted.place) else {
            return Ok(());
        };
        let wanted = &self.headers[at];
        let header = tar::parse(bytes)?;
        if tar::agreed(header.kind, &header.path, &header.link) != wanted.hash {
            return Err("another kind, path or link");
        }
        let is_file = header.kind == EntryKind::File;
        if is_file && header.sparse.unwrap_or(header.stored) != wanted.size {
            return Err("another size");
        }
        let data = if is_file {
            header.stored.next_multiple_of(BLOCK as u64)
        } else {
            0
        };
        if data != wanted.data {
            return Err("another amount of data");
        }
        Ok(())
    }

    /// Compares the stream's digest with the manifest's.
    pub(super) fn compare(self, origin: Origin<'_>) -> Result<(), StreamError> {
        self.ledger.compare(origin)
    }
}

fn link_of(entry: &Entry) -> &[u8] {
    entry.link.as_ref().map_or(&[], |link| link.0.as_slice())
}
