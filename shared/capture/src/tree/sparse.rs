//! Sparse files: where their data is, and how tar tells it (`GNU.sparse` 1.0).
//!
//! The map of a sparse file stands before its data: the number of segments, then offset and length of each, decimal, a
//! line each, filled with zeros to a full block. Segments begin and end at multiples of 512, but that the last one ends
//! with the file; a file's last, partial block always counts as data. So the archive's share of the file leaves the same
//! rest as its size when divided by 512, and an unread file's headers can be made from the extents of its parent.

use std::os::fd::BorrowedFd;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::header::BLOCK;

/// Shorter holes are stored as the zeros that they are.
const LEAST_HOLE: u64 = 32 << 10;

/// Above this many segments, longer holes are stored too: the map is held in memory.
const MOST_SEGMENTS: usize = 1 << 16;

/// A part of a file that holds data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// The map of a sparse file's data.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Map {
    /// The map as text, as it stands in the archive.
    pub(super) text: Vec<u8>,
    pub(super) segments: Vec<Segment>,
    /// Bytes of text and data.
    pub(super) stored: u64,
}

/// The map of a file, if its holes are worth one.
pub(super) fn map(fd: BorrowedFd<'_>, size: u64, allocated: u64) -> Option<Map> {
    if size < LEAST_HOLE || allocated >= size {
        return None;
    }
    // A filesystem that does not know holes refuses, or tells that everything is data.
    let segments = scan(
        size,
        |at| seek(fd, SeekFrom::Data(at)),
        |at| seek(fd, SeekFrom::Hole(at)),
    )
    .ok()?;
    let text = text(&segments);
    let data: u64 = segments.iter().map(|s| s.length).sum();
    let stored = data + text.len() as u64;
    (stored + LEAST_HOLE <= size).then_some(Map { text, segments, stored })
}

/// Bytes of an unread file in the archive, from its size and the sum of its data extents in the parent.
pub(super) fn stored_size(size: u64, extents: u64) -> Option<u64> {
    extents.checked_sub(padding(size) as u64)
}

/// Zero bytes that fill the last block.
pub(super) fn padding(size: u64) -> usize {
    let block = BLOCK as u64;
    ((block - size % block) % block) as usize
}

fn scan(
    size: u64,
    data: impl Fn(u64) -> Result<u64, Errno>,
    hole: impl Fn(u64) -> Result<u64, Errno>,
) -> Result<Vec<Segment>, Errno> {
    let block = BLOCK as u64;
    let mut least = LEAST_HOLE;
    let mut segments: Vec<Segment> = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match data(at) {
            Ok(start) if start < size => start,
            Ok(_) | Err(Errno::NXIO) => break,
            Err(error) => return Err(error),
        };
        // A file that was cut meanwhile has no hole behind it: it ends there.
        let end = match hole(start) {
            Ok(end) => end.min(size),
            Err(Errno::NXIO) => size,
            Err(error) => return Err(error),
        };
        at = end.max(start + 1);
        add(
            &mut segments,
            start - start % block,
            end.next_multiple_of(block).min(size),
            least,
        );
        while segments.len() > MOST_SEGMENTS {
            least *= 2;
            let finer = std::mem::take(&mut segments);
            for s in finer {
                add(&mut segments, s.offset, s.offset + s.length, least);
            }
        }
    }
    let tail = size - size % block;
    if tail < size {
        add(&mut segments, tail, size, LEAST_HOLE);
    } else if segments.last().is_none_or(|s| s.offset + s.length < size) {
        // Tells the file's end to readers that go by the map.
        segments.push(Segment {
            offset: size,
            length: 0,
        });
    }
    Ok(segments)
}

/// Adds a segment, or lets the one before it reach to its end if the hole between them is short.
fn add(segments: &mut Vec<Segment>, start: u64, end: u64, least: u64) {
    match segments.last_mut() {
        Some(last) if start < last.offset + last.length + least => {
            last.length = last.length.max(end.saturating_sub(last.offset));
        }
        None if start < least => segments.push(Segment { offset: 0, length: end }),
        _ => segments.push(Segment {
            offset: start,
            length: end - start,
        }),
    }
}

fn text(segments: &[Segment]) -> Vec<u8> {
    let mut text = format!("{}\n", segments.len());
    for segment in segments {
        text.push_str(&format!("{}\n{}\n", segment.offset, segment.length));
    }
    let mut text = text.into_bytes();
    text.resize(text.len().next_multiple_of(BLOCK), 0);
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// A file whose data is in the given blocks of 4096 bytes.
    fn segments(size: u64, blocks: &[u64]) -> Vec<Segment> {
        let is_data = |at: u64| blocks.contains(&(at / 4096));
        let step = |at: u64| at - at % 4096 + 4096;
        let find = |mut at: u64, wanted: bool| {
            while at < size && is_data(at) != wanted {
                at = step(at);
            }
            if at < size {
                Ok(at)
            } else if wanted {
                Err(Errno::NXIO)
            } else {
                Ok(size)
            }
        };
        scan(size, |at| find(at, true), |at| find(at, false)).unwrap()
    }

    #[test]
    fn ends_are_told() {
        assert_eq!(
            segments(1 << 43, &[]),
            [Segment {
                offset: 1 << 43,
                length: 0
            }]
        );
        let odd = (1 << 43) + 700;
        assert_eq!(
            segments(odd, &[]),
            [Segment {
                offset: odd - 188,
                length: 188
            }]
        );
        assert_eq!(text(&segments(1 << 43, &[]))[..18], *b"1\n8796093022208\n0\n");
    }

    proptest! {
        #[test]
        fn segments_cover_all_data(size in 1u64..600_000, blocks in proptest::collection::vec(0u64..150, 0..20)) {
            let found = segments(size, &blocks);
            let covered = |at: u64| found.iter().any(|s| s.offset <= at && at < s.offset + s.length);
            for block in &blocks {
                for at in [block * 4096, block * 4096 + 4095] {
                    prop_assert!(at >= size || covered(at));
                }
            }
            let total: u64 = found.iter().map(|s| s.length).sum();
            prop_assert_eq!(total % 512, size % 512);
            prop_assert!(found.windows(2).all(|w| w[0].offset + w[0].length < w[1].offset + u64::from(w[1].length == 0)));
            prop_assert!(found.iter().all(|s| s.offset + s.length <= size));
            let sum = total + padding(size) as u64;
            prop_assert_eq!(stored_size(size, sum), Some(total));
        }
    }
}
