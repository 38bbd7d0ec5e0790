//! The headers of a tar entry, byte for byte.
//!
//! An unread file's headers are made again and hashed, and the parent's bytes stand for them: so the same entry must
//! always give the same bytes. Whoever changes a byte here changes [`LAYOUT`] too, and the next capture stores all
//! headers anew.
//!
//! An entry has a `ustar` header block, and before it, if anything does not fit there, a PAX header block (type `x`) and
//! its records, padded with zeros to full blocks. Records stand in this order; each only where the ustar field cannot
//! say it:
//!
//! | record | when |
//! |---|---|
//! | `path`, `linkpath` | too long for its field, or not ASCII |
//! | `size` | 8 GiB or more |
//! | `uid`, `gid` | above 2,097,151 |
//! | `mtime` | nanoseconds, before 1970, or too large |
//! | `GNU.sparse.major`, `minor`, `name`, `realsize` | sparse files |
//! | `SCHILY.xattr.NAME` | for each extended attribute, in byte order; `%` and `=` in NAME are `%25` and `%3D` |
//!
//! A field whose value a record gives holds zero, or the head of the name. Owners are numbers: `uname` and `gname` are
//! empty. Directories end in `/`. The names in a PAX header's own block and times there are constant.

use holdfast_format::{EntryKind, Stamp};

/// Names this layout of headers. It stands in the manifest's `tools` as `tar`: a parent of another layout lends no headers.
pub const LAYOUT: &str = "holdfast-tar-1";

pub(super) const BLOCK: usize = 512;

/// Largest value of an octal field of eleven digits (size, mtime), and of seven (owners, devices).
const OCTAL_11: u64 = 0o777_7777_7777;
const OCTAL_7: u64 = 0o777_7777;

const NAME: std::ops::Range<usize> = 0..100;
const LINK: std::ops::Range<usize> = 157..257;
const PREFIX: std::ops::Range<usize> = 345..500;

/// The facts that an entry's headers hold.
pub(super) struct Member<'a> {
    pub(super) kind: EntryKind,
    /// The path as in contents: no leading `./`, no trailing `/`.
    pub(super) path: &'a [u8],
    /// The target of a link.
    pub(super) link: &'a [u8],
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Bytes that follow in the archive, without padding.
    pub(super) stored: u64,
    pub(super) mtime: Stamp,
    /// Major and minor number of a device.
    pub(super) device: (u32, u32),
    /// The attributes in byte order of their names.
    pub(super) xattrs: &'a [(Vec<u8>, Vec<u8>)],
    /// The size of a sparse file.
    pub(super) sparse: Option<u64>,
}

/// Writes the entry's headers into `out`, in place of what it held.
pub(super) fn encode(member: &Member<'_>, out: &mut Vec<u8>) {
    let path = archive_path(member);
    let records = records(member, &path);
    out.clear();
    if !records.is_empty() {
        let mut block = blank(b'x', 0o644);
        put(&mut block[NAME], b"././@PaxHeader");
        octal(&mut block[124..136], records.len() as u64);
        octal(&mut block[136..148], 0);
        seal(&mut block);
        out.extend_from_slice(&block);
        out.extend_from_slice(&records);
        pad(out);
    }
    let mut block = ustar(member, &path);
    seal(&mut block);
    out.extend_from_slice(&block);
}

/// Fills the last block with zeros.
fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

/// The path as tar spells it. A sparse entry's true name is in its records; who does not know them makes a file of this
/// name.
fn archive_path(member: &Member<'_>) -> Vec<u8> {
    let mut path = Vec::with_capacity(member.path.len() + 20);
    if member.sparse.is_some() {
        path.extend_from_slice(b"GNUSparseFile.0/");
    }
    path.extend_from_slice(member.path);
    if member.kind == EntryKind::Dir {
        path.push(b'/');
    }
    path
}

fn ustar(member: &Member<'_>, path: &[u8]) -> [u8; BLOCK] {
    let mut block = blank(type_flag(member.kind), member.mode);
    match split(path) {
        Some((prefix, name)) if path.is_ascii() => {
            put(&mut block[NAME], name);
            put(&mut block[PREFIX], prefix);
        }
        _ => put(&mut block[NAME], &shorten(path)),
    }
    if member.link.len() <= LINK.len() && member.link.is_ascii() {
        put(&mut block[LINK], member.link);
    } else {
        put(&mut block[LINK], &shorten(member.link));
    }
    octal(&mut block[108..116], within(u64::from(member.uid), OCTAL_7));
    octal(&mut block[116..124], within(u64::from(member.gid), OCTAL_7));
    octal(&mut block[124..136], within(member.stored, OCTAL_11));
    octal(&mut block[136..148], plain_mtime(member.mtime).unwrap_or(0));
    octal(&mut block[329..337], u64::from(member.device.0) & OCTAL_7);
    octal(&mut block[337..345], u64::from(member.device.1) & OCTAL_7);
    block
}

fn blank(flag: u8, mode: u32) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    octal(&mut block[100..108], u64::from(mode));
    octal(&mut block[108..116], 0);
    octal(&mut block[116..124], 0);
    octal(&mut block[329..337], 0);
    octal(&mut block[337..345], 0);
    block
}

fn seal(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    octal(&mut block[148..155], sum);
}

fn type_flag(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::File => b'0',
        EntryKind::Hardlink => b'1',
        EntryKind::Symlink => b'2',
        EntryKind::Char => b'3',
        EntryKind::Block => b'4',
        EntryKind::Dir => b'5',
        EntryKind::Fifo => b'6',
    }
}

fn put(field: &mut [u8], bytes: &[u8]) {
    field[..bytes.len()].copy_from_slice(bytes);
}

/// Octal digits to the field's width, but for a closing zero byte.
fn octal(field: &mut [u8], mut value: u64) {
    let digits = field.len() - 1;
    for byte in field[..digits].iter_mut().rev() {
        *byte = b'0' + (value & 7) as u8;
        value >>= 3;
    }
    field[digits] = 0;
}

fn within(value: u64, limit: u64) -> u64 {
    if value <= limit { value } else { 0 }
}

/// The time for the ustar field, if it can say it all.
fn plain_mtime(mtime: Stamp) -> Option<u64> {
    let seconds = u64::try_from(mtime.seconds).ok()?;
    (mtime.nanoseconds == 0 && seconds <= OCTAL_11).then_some(seconds)
}

/// Prefix and name for the ustar fields, if the path fits.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME.len() {
        return Some((b"", path));
    }
    // The earliest slash that leaves a name short enough, and not empty.
    let from = path.len() - NAME.len() - 1;
    let at = from + path[from..path.len() - 1].iter().position(|b| *b == b'/')?;
    (1..=PREFIX.len()).contains(&at).then(|| (&path[..at], &path[at + 1..]))
}

/// The head of a name that a record gives in full. For people with a dump of the archive before them.
fn shorten(name: &[u8]) -> Vec<u8> {
    let head = &name[..name.len().min(NAME.len())];
    let mut out: Vec<u8> = head.iter().map(|b| if b.is_ascii() { *b } else { b'_' }).collect();
    while out.last() == Some(&b'/') {
        out.pop();
    }
    out
}

fn records(member: &Member<'_>, path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let simple = path.is_ascii() && split(path).is_some();
    if !simple && member.sparse.is_none() {
        record(&mut out, b"path", path);
    }
    if !member.link.is_ascii() || member.link.len() > LINK.len() {
        record(&mut out, b"linkpath", member.link);
    }
    if member.stored > OCTAL_11 {
        number(&mut out, b"size", member.stored);
    }
    for (key, value) in [(b"uid", member.uid), (b"gid", member.gid)] {
        if u64::from(value) > OCTAL_7 {
            number(&mut out, key, u64::from(value));
        }
    }
    if plain_mtime(member.mtime).is_none() {
        record(&mut out, b"mtime", decimal_time(member.mtime).as_bytes());
    }
    if let Some(size) = member.sparse {
        record(&mut out, b"GNU.sparse.major", b"1");
        record(&mut out, b"GNU.sparse.minor", b"0");
        record(&mut out, b"GNU.sparse.name", member.path);
        number(&mut out, b"GNU.sparse.realsize", size);
    }
    for (name, value) in member.xattrs {
        record(&mut out, &xattr_keyword(name), value);
    }
    out
}

/// One PAX record: its own length, a space, keyword, `=`, value, newline.
fn record(out: &mut Vec<u8>, keyword: &[u8], value: &[u8]) {
    let rest = keyword.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(keyword);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn number(out: &mut Vec<u8>, keyword: &[u8], value: u64) {
    record(out, keyword, value.to_string().as_bytes());
}

/// Seconds as PAX writes them: a decimal number, without zeros at its end.
fn decimal_time(time: Stamp) -> String {
    let mut whole = time.seconds.unsigned_abs();
    let mut nanoseconds = time.nanoseconds;
    if time.seconds < 0 && nanoseconds > 0 {
        // -1 s and 250,000,000 ns is -0.75 s.
        whole -= 1;
        nanoseconds = 1_000_000_000 - nanoseconds;
    }
    let sign = if time.seconds < 0 { "-" } else { "" };
    if nanoseconds == 0 {
        return format!("{sign}{whole}");
    }
    let text = format!("{sign}{whole}.{nanoseconds:09}");
    text.trim_end_matches('0').to_owned()
}

fn xattr_keyword(name: &[u8]) -> Vec<u8> {
    let mut keyword = b"SCHILY.xattr.".to_vec();
    for byte in name {
        match byte {
            b'%' => keyword.extend_from_slice(b"%25"),
            b'=' => keyword.extend_from_slice(b"%3D"),
            _ => keyword.push(*byte),
        }
    }
    keyword
}

#[cfg(test)]
mod tests;
