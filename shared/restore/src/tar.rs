//! The headers of one tar entry, as captures write them (docs/format.md, section 4) and a little beyond.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use holdfast_format::EntryKind;
use holdfast_format::pax::{self, BrokenRecord, Xattrs, decimal};

mod rename;

pub(crate) use rename::rename;

pub(crate) const BLOCK: usize = 512;

/// The facts of an entry's headers beyond its line in the contents, and those that have to agree with that line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: EntryKind,
    /// The path as in contents: no leading `./`, no trailing `/`.
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    /// Bytes of data that follow the headers, without padding.
    pub(crate) stored: u64,
    pub(crate) device: (u32, u32),
    /// The size of a sparse file, whose data begins with a map.
    pub(crate) sparse: Option<u64>,
    /// Extended attributes, in byte order of their names, each once.
    pub(crate) xattrs: Xattrs,
}

const BROKEN: &str = "a broken PAX record";

/// Reads an entry's headers, which are all of `bytes`.
///
/// # Errors
/// What is wrong with them, for people.
pub(crate) fn parse(bytes: &[u8]) -> Result<Header, &'static str> {
    let (text, block) = split(bytes)?;
    let mut records = Records::default();
    records.read(&text)?;
    header(block, block[156], records)
}

/// PAX records and header block of an entry.
fn split(bytes: &[u8]) -> Result<(Vec<u8>, &[u8; BLOCK]), &'static str> {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    if !rest.is_empty() {
        return Err("headers that are no whole blocks");
    }
    let mut records = Vec::new();
    let mut at = 0;
    loop {
        let block = blocks.get(at).ok_or("no header block")?;
        check(block)?;
        at += 1;
        if block[156] != b'x' {
            return if at == blocks.len() {
                Ok((records, block))
            } else {
                Err("more behind the header block")
            };
        }
        let size = usize::try_from(octal(block, 124..136)?).map_err(|_| "a PAX header without end")?;
        let end = at.saturating_add(size.div_ceil(BLOCK));
        let data = blocks.get(at..end).ok_or("a PAX header without end")?;
        records.extend_from_slice(&data.as_flattened()[..size]);
        at = end;
    }
}

/// A fingerprint of what headers and contents both say. Not secret, not stored: any hash does.
pub(crate) fn agreed(kind: EntryKind, path: &[u8], link: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    kind.as_str().hash(&mut hasher);
    path.hash(&mut hasher);
    link.hash(&mut hasher);
    hasher.finish()
}

fn header(block: &[u8; BLOCK], flag: u8, records: Records) -> Result<Header, &'static str> {
    let kind = match flag {
        b'0' | 0 => EntryKind::File,
        b'1' => EntryKind::Hardlink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::Char,
        b'4' => EntryKind::Block,
        b'5' => EntryKind::Dir,
        b'6' => EntryKind::Fifo,
        _ => return Err("an entry of an unknown type"),
    };
    let device = |range| octal(block, range).and_then(|n| u32::try_from(n).map_err(|_| "a device number too large"));
    let path = match (records.sparse_name, records.path) {
        (Some(name), _) if records.sparse.is_some() => name,
        (_, Some(path)) => path,
        _ => ustar_path(block),
    };
    Ok(Header {
        kind,
        path: plain(path),
        link: records.link.unwrap_or_else(|| text(&block[157..257]).to_vec()),
        stored: match records.size {
            Some(size) => size,
            None => octal(block, 124..136)?,
        },
        device: match kind {
            EntryKind::Char | EntryKind::Block => (device(329..337)?, device(337..345)?),
            _ => (0, 0),
        },
        sparse: records.sparse,
        xattrs: records.xattrs,
    })
}

fn ustar_path(block: &[u8; BLOCK]) -> Vec<u8> {
    let prefix = text(&block[345..500]);
    let name = text(&block[..100]);
    if prefix.is_empty() {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

/// A path in the spelling of contents.
fn plain(mut path: Vec<u8>) -> Vec<u8> {
    while path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
    if path.starts_with(b"./") {
        path.drain(..2);
    }
    path
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    &field[..end]
}

fn check(block: &[u8; BLOCK]) -> Result<(), &'static str> {
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(at, b)| u64::from(if (148..156).contains(&at) { b' ' } else { *b }))
        .sum();
    if octal(block, 148..156)? == sum {
        Ok(())
    } else {
        Err("a header block with a wrong checksum")
    }
}

fn octal(block: &[u8; BLOCK], range: Range<usize>) -> Result<u64, &'static str> {
    let digits = block[range].trim_ascii_end();
    let digits = text(digits).trim_ascii();
    let mut value: u64 = 0;
    for digit in digits {
        if !(b'0'..=b'7').contains(digit) {
            return Err("a number that is not octal");
        }
        value = value << 3 | u64::from(digit - b'0');
    }
    Ok(value)
}

#[derive(Default)]
struct Records {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse_name: Option<Vec<u8>>,
    sparse: Option<u64>,
    xattrs: Xattrs,
}

impl Records {
    fn read(&mut self, data: &[u8]) -> Result<(), &'static str> {
        let mut version = None;
        let mut real = None;
        for record in pax::records(data) {
            let record = record.map_err(|BrokenRecord| BROKEN)?;
            let value = record.value;
            match record.keyword {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(decimal(value).ok_or(BROKEN)?),
                b"GNU.sparse.major" => version = Some(value),
                b"GNU.sparse.name" => self.sparse_name = Some(value.to_vec()),
                b"GNU.sparse.realsize" => real = Some(decimal(value).ok_or(BROKEN)?),
                _ => {
                    if let Some(name) = record.attribute() {
                        self.xattrs.push((name, value.to_vec()));
                    }
                }
            }
        }
        pax::settle_attributes(&mut self.xattrs);
        match version {
            None => Ok(()),
            Some(b"1") => {
                self.sparse = Some(real.ok_or("a sparse file without its size")?);
                Ok(())
            }
            Some(_) => Err("a sparse file of an unknown kind"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn sealed(path: &str, flag: u8) -> Vec<u8> {
        let mut header = tar::Header::new_ustar();
        header.set_path(path).unwrap();
        header.set_size(700);
        header.set_entry_type(tar::EntryType::new(flag));
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    fn pax(records: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_ustar();
        header.set_path("x").unwrap();
        header.set_size(records.len() as u64);
        header.set_entry_type(tar::EntryType::XHeader);
        header.set_cksum();
        let mut out = header.as_bytes().to_vec();
        out.extend_from_slice(records);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
        out
    }

    #[test]
    fn records_win_over_the_block() {
        let mut bytes = pax(b"13 path=a/b/\n29 SCHILY.xattr.user.a%3D=\xff\n\n");
        bytes.extend(sealed("short", b'0'));
        let header = parse(&bytes).unwrap();
        assert_eq!(header.path, b"a/b");
        assert_eq!(header.stored, 700);
        assert_eq!(header.xattrs, [(b"user.a=".to_vec(), b"\xff\n".to_vec())]);
    }

    #[test]
    fn broken_headers_are_told() {
        let mut flipped = sealed("a", b'0');
        flipped[0] ^= 1;
        let cases: [(Vec<u8>, &str); 5] = [
            (flipped, "checksum"),
            (vec![0; 100], "whole blocks"),
            ([sealed("a", b'0'), sealed("b", b'0')].concat(), "more behind"),
            (sealed("a", b'g'), "unknown type"),
            ([pax(b"99 path=a\n"), sealed("a", b'0')].concat(), "broken PAX"),
        ];
        for (bytes, word) in cases {
            let problem = parse(&bytes).unwrap_err();
            assert!(problem.contains(word), "{problem}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048), cut in 0usize..600) {
            let _ = parse(&bytes);
            let mut records = pax(&bytes[..bytes.len().min(cut)]);
            records.extend(sealed("a", b'0'));
            let _ = parse(&records);
        }
    }
}
