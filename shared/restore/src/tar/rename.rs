//! The headers of an entry under another name.

use holdfast_format::pax::{self, BrokenRecord};

use super::{BLOCK, BROKEN, split};

const NAME: std::ops::Range<usize> = 0..100;
const LINK: std::ops::Range<usize> = 157..257;
const PREFIX: std::ops::Range<usize> = 345..500;

/// Adds an entry's headers to `out`, with this name, as tar spells it, in place of its own, and with this target if it is a
/// hard link's. All else stays: owner, mode, times, devices, attributes, sizes.
///
/// # Errors
/// What is wrong with the headers, for people.
pub(crate) fn rename(bytes: &[u8], name: &[u8], link: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let (text, block) = split(bytes)?;
    let mut block = *block;
    let mut is_sparse = false;
    let mut kept = Vec::with_capacity(text.len());
    for record in pax::records(&text) {
        let record = record.map_err(|BrokenRecord| BROKEN)?;
        is_sparse |= record.keyword == b"GNU.sparse.major";
        let replaced = match record.keyword {
            b"path" | b"GNU.sparse.name" => true,
            b"linkpath" => link.is_some(),
            _ => false,
        };
        if !replaced {
            kept.extend_from_slice(record.bytes);
        }
    }
    let mut records = Vec::new();
    block[PREFIX].fill(0);
    // A sparse file's true name is in its records only.
    if !put(&mut block[NAME], name) || is_sparse {
        let keyword: &[u8] = if is_sparse { b"GNU.sparse.name" } else { b"path" };
        add_record(&mut records, keyword, name);
    }
    if let Some(link) = link
        && !put(&mut block[LINK], link)
    {
        add_record(&mut records, b"linkpath", link);
    }
    records.extend_from_slice(&kept);
    if !records.is_empty() {
        out.extend_from_slice(&pax_block(records.len()));
        out.extend_from_slice(&records);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    seal(&mut block);
    out.extend_from_slice(&block);
    Ok(())
}

/// Puts a name into its field. False if it does not fit: then its head is there, for people.
fn put(field: &mut [u8], name: &[u8]) -> bool {
    field.fill(0);
    let fits = name.is_ascii() && name.len() <= field.len();
    let head = &name[..name.len().min(field.len())];
    // A directory's name ends in a slash; the head of another one must not look like that.
    let end = head.iter().rposition(|b| *b != b'/').map_or(0, |last| last + 1);
    let head = if fits { head } else { &head[..end] };
    for (place, byte) in field.iter_mut().zip(head) {
        *place = if byte.is_ascii() { *byte } else { b'_' };
    }
    fits
}

/// The block before records of this length.
fn pax_block(length: usize) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..14].copy_from_slice(b"././@PaxHeader");
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    // Headers fit into a pack: eight digits do.
    block[124..136].copy_from_slice(format!("{length:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000000\0");
    block[156] = b'x';
    block[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut block);
    block
}

fn seal(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

/// One PAX record: its own length, a space, keyword, `=`, value, newline.
fn add_record(out: &mut Vec<u8>, keyword: &[u8], value: &[u8]) {
    let rest = keyword.len() + value.len() + 3;
    // The length counts its own digits, which may make it longer by one.
    let digits = |n: usize| n.to_string().len();
    let length = rest + digits(rest + digits(rest));
    out.extend_from_slice(format!("{length} ").as_bytes());
    out.extend_from_slice(keyword);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::parse;
    use super::*;
    use proptest::prelude::*;

    fn block(kind: tar::EntryType, path: &str) -> Vec<u8> {
        let mut header = tar::Header::new_ustar();
        header.set_path(path).unwrap();
        header.set_entry_type(kind);
        header.set_size(700);
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    fn renamed(bytes: &[u8], name: &[u8], link: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        rename(bytes, name, link, &mut out).unwrap();
        out
    }

    #[test]
    fn what_fits_needs_no_records() {
        let long = format!("{}/{}", "p".repeat(60), "q".repeat(60));
        let file = block(tar::EntryType::Regular, &long);
        let out = renamed(&file, b"holdfast/a", None);
        assert_eq!(out.len(), BLOCK);
        let header = parse(&out).unwrap();
        assert_eq!((header.path, header.stored), (b"holdfast/a".to_vec(), 700));
        let out = renamed(&block(tar::EntryType::Link, "b"), b"holdfast/b", Some(b"holdfast/a"));
        assert_eq!(out.len(), BLOCK);
        assert_eq!(parse(&out).unwrap().link, b"holdfast/a");
        let out = renamed(&block(tar::EntryType::Regular, "b"), &[b'n'; 100], None);
        assert_eq!(out.len(), BLOCK);
        assert_eq!(parse(&out).unwrap().path, [b'n'; 100]);
    }

    proptest! {
        #[test]
        fn names_come_back_and_records_stay(
            old in proptest::collection::vec(any::<u8>(), 1..300),
            name in proptest::collection::vec(1u8.., 1..300),
            link in proptest::option::of(proptest::collection::vec(1u8.., 1..300)),
            value in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut records = Vec::new();
            add_record(&mut records, b"path", &old);
            add_record(&mut records, b"linkpath", b"old");
            add_record(&mut records, b"SCHILY.xattr.user.a", &value);
            let mut bytes = pax_block(records.len()).to_vec();
            bytes.extend_from_slice(&records);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
            bytes.extend(block(tar::EntryType::Link, "x"));
            let before = parse(&bytes).unwrap();
            // Contents' spelling, which is what is compared.
            let name = [b"p/", &name[..], b"n"].concat();
            let after = parse(&renamed(&bytes, &name, link.as_deref())).unwrap();
            prop_assert_eq!(after.path, name);
            prop_assert_eq!(after.link, link.unwrap_or(before.link));
            prop_assert_eq!(after.xattrs, before.xattrs);
        }
    }
}
