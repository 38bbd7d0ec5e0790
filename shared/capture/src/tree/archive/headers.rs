//! The headers of a foreign archive: ustar, PAX, GNU tar.

use std::io::Read;
use std::ops::Range;

use holdfast_format::pax::Xattrs;
use holdfast_format::{EntryKind, Stamp};

use super::pax::{Overrides, SPARSE};
use super::source::{Block, Source};
use crate::CaptureError;

/// The most bytes that PAX records and long names before one header block may take together. Go's reader and writer
/// stop at a quarter of this.
const TOLD_MAX: usize = 4 << 20;

/// The largest number of a device that our own headers can hold; Linux has less.
const DEVICE_MAX: u32 = 0o777_7777;

/// An entry as its headers tell it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ArchiveEntry {
    pub(super) kind: EntryKind,
    /// The path, spelled as in the archive.
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Bytes of a regular file, which follow.
    pub(super) size: u64,
    pub(super) mtime: Stamp,
    pub(super) device: (u32, u32),
    /// The attributes in byte order of their names. None for hard links: the first name has them.
    pub(super) xattrs: Xattrs,
    /// True if the entry has attributes that were not understood.
    pub(super) incomplete: bool,
}

/// Reads the headers of the next entry. `None` at the archive's end, which was read as well.
///
/// # Errors
/// [`CaptureError`] if they are none, or tell of something that is not taken.
pub(super) fn next<R: Read>(source: &mut Source<'_, R>) -> Result<Option<ArchiveEntry>, CaptureError> {
    let start = source.at();
    let refused = |problem| CaptureError::Archive {
        at: format!("the entry at byte {start}"),
        problem,
    };
    let mut told = Overrides::default();
    let mut room = TOLD_MAX;
    loop {
        let block = source.block()?;
        if block.iter().all(|b| *b == 0) {
            if told.is_some {
                return Err(refused("nothing behind its first headers"));
            }
            return source.end().map(|()| None);
        }
        check(&block).map_err(refused)?;
        let flag = block[156];
        if !matches!(flag, b'x' | b'L' | b'K') {
            return found(&block, flag, told).map(Some).map_err(refused);
        }
        let size = number(&block, 124..136).ok().and_then(|n| usize::try_from(n).ok());
        let size = size
            .filter(|size| *size <= room)
            .ok_or(refused("headers that are too long"))?;
        room -= size;
        let data = source.bytes(size)?;
        match flag {
            b'x' => told.records(&data),
            b'L' => told.long_name(&data),
            _ => told.long_link(&data),
        }
        .map_err(refused)?;
    }
}

fn found(block: &Block, flag: u8, mut told: Overrides) -> Result<ArchiveEntry, &'static str> {
    let kind = match flag {
        b'0' | b'7' | 0 => EntryKind::File,
        b'1' => EntryKind::Hardlink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::Char,
        b'4' => EntryKind::Block,
        b'5' => EntryKind::Dir,
        b'6' => EntryKind::Fifo,
        b'S' => return Err(SPARSE),
        b'g' => return Err("a PAX header for all entries, which no engine writes"),
        _ => return Err("an entry of an unknown type"),
    };
    let size = match told.size {
        Some(size) => size,
        None => unsigned(block, 124..136)?,
    };
    // Readers differ in whether they take it for data, and so would tell other entries behind it.
    if kind != EntryKind::File && size > 0 {
        return Err("data for something that is no file");
    }
    let owner = |told: Option<u32>, range| match told {
        Some(id) => Ok(id),
        None => u32::try_from(number(block, range)?).map_err(|_| "an owner of no possible number"),
    };
    let device = |range| {
        let id = u32::try_from(number(block, range)?).ok().filter(|id| *id <= DEVICE_MAX);
        id.ok_or("a device of no possible number")
    };
    let xattrs = told.take_xattrs();
    Ok(ArchiveEntry {
        kind,
        size,
        mode: u32::try_from(unsigned(block, 100..108)? & 0o7777).unwrap_or(0),
        uid: owner(told.uid, 108..116)?,
        gid: owner(told.gid, 116..124)?,
        mtime: match told.mtime {
            Some(mtime) => mtime,
            None => Stamp {
                seconds: number(block, 136..148)?,
                nanoseconds: 0,
            },
        },
        device: match kind {
            EntryKind::Char | EntryKind::Block => (device(329..337)?, device(337..345)?),
            _ => (0, 0),
        },
        path: told.path.unwrap_or_else(|| name(block)),
        link: told.link.unwrap_or_else(|| text(&block[157..257]).to_vec()),
        xattrs: if kind == EntryKind::Hardlink {
            Vec::new()
        } else {
            xattrs
        },
        incomplete: told.incomplete,
    })
}

/// The name in the block. Only POSIX archives have the head of a long one apart: GNU tar uses that room otherwise.
fn name(block: &Block) -> Vec<u8> {
    let head = text(&block[345..500]);
    let tail = text(&block[..100]);
    if head.is_empty() || block[257..263] != *b"ustar\0" {
        return tail.to_vec();
    }
    [head, b"/", tail].concat()
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    &field[..end]
}

fn check(block: &Block) -> Result<(), &'static str> {
    let byte = |(at, b): (usize, &u8)| u64::from(if (148..156).contains(&at) { b' ' } else { *b });
    let sum: u64 = block.iter().enumerate().map(byte).sum();
    match unsigned(block, 148..156) {
        Ok(told) if told == sum => Ok(()),
        _ => Err("no header block where one should be"),
    }
}

fn unsigned(block: &Block, range: Range<usize>) -> Result<u64, &'static str> {
    u64::try_from(number(block, range)?).map_err(|_| "a number below zero")
}

/// A number in octal digits, or, as GNU tar has it for large ones, in bytes.
fn number(block: &Block, range: Range<usize>) -> Result<i64, &'static str> {
    let field = &block[range];
    if let [first, rest @ ..] = field
        && first & 0x80 != 0
    {
        // The highest bit is a mark, the next one the sign. Twelve bytes at most.
        let first = if first & 0x40 == 0 { first & 0x7f } else { *first };
        let head = if first & 0x40 == 0 {
            i128::from(first)
        } else {
            i128::from(first) - 0x100
        };
        let value = rest.iter().fold(head, |value, byte| value << 8 | i128::from(*byte));
        return i64::try_from(value).map_err(|_| "a number that is too large");
    }
    let digits = text(field).trim_ascii();
    let mut value = 0;
    for digit in digits {
        if !(b'0'..=b'7').contains(digit) {
            return Err("a number that is not octal");
        }
        value = value << 3 | i64::from(digit - b'0');
    }
    Ok(value)
}
