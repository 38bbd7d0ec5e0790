//! The grammar of PAX extended headers (POSIX.1-2017, `pax`, "pax Extended Header"), for all who read archives.

/// The prefix of the keywords of extended attributes, as star, GNU tar and Go write them.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// Extended attributes of one entry: names and values.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Bytes that are no PAX records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a broken PAX record")]
pub struct BrokenRecord;

/// One record of a PAX extended header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaxRecord<'a> {
    pub keyword: &'a [u8],
    /// Empty at most in the record of an extended attribute.
    pub value: &'a [u8],
    /// The whole record, with its length and its end of line.
    pub bytes: &'a [u8],
}

impl<'a> PaxRecord<'a> {
    /// The name of the extended attribute that this record holds, with its escapes taken off: `%25` and `%3D` stand for
    /// `%` and `=`. `None` for any other record.
    #[must_use]
    pub fn attribute(&self) -> Option<Vec<u8>> {
        self.keyword.strip_prefix(XATTR).map(unescape)
    }

    fn says_nothing(&self) -> bool {
        self.value.is_empty() && !self.keyword.starts_with(XATTR)
    }

    /// The first record, and what follows it.
    fn first(data: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let space = data.iter().take(20).position(|b| *b == b' ')?;
        let length = usize::try_from(decimal(&data[..space])?).ok()?;
        let body = data.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = body.iter().position(|b| *b == b'=')?;
        let record = Self {
            keyword: &body[..equals],
            value: &body[equals + 1..],
            bytes: &data[..length],
        };
        Some((record, &data[length..]))
    }
}

/// The records of a PAX extended header, in order. A record without a value says nothing and is passed over, unless it
/// is an extended attribute. Ends behind the first broken record.
pub fn records(data: &[u8]) -> impl Iterator<Item = Result<PaxRecord<'_>, BrokenRecord>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let Some((record, after)) = PaxRecord::first(rest) else {
                rest = &[];
                return Some(Err(BrokenRecord));
            };
            rest = after;
            if !record.says_nothing() {
                return Some(Ok(record));
            }
        }
        None
    })
}

/// The number of a record's value: decimal digits and nothing else.
#[must_use]
pub fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn unescape(escaped: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((first, tail)) = rest.split_first() {
        let (byte, after) = match rest {
            [b'%', b'2', b'5', after @ ..] => (b'%', after),
            [b'%', b'3', b'D', after @ ..] => (b'=', after),
            _ => (*first, tail),
        };
        out.push(byte);
        rest = after;
    }
    out
}

/// Puts attributes into byte order of their names, each once, with the value that came last.
pub fn settle_attributes(xattrs: &mut Xattrs) {
    // Stable: of equal names, the last one comes first.
    xattrs.reverse();
    xattrs.sort_by(|a, b| a.0.cmp(&b.0));
    xattrs.dedup_by(|later, first| later.0 == first.0);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_are_read_to_their_length() {
        // A value may hold line ends and `=`; an empty one says nothing, except for an attribute.
        let data = b"14 path=a\n=b\xff\n8 path=\n22 SCHILY.xattr.u=1\n0\n19 SCHILY.xattr.a=\n";
        let read: Result<Vec<_>, _> = records(data).collect();
        let read: Vec<_> = read
            .unwrap()
            .iter()
            .map(|r| (r.keyword, r.value, r.bytes.len()))
            .collect();
        let expected: [(&[u8], &[u8], usize); 3] = [
            (b"path", b"a\n=b\xff", 14),
            (b"SCHILY.xattr.u", b"1\n0", 22),
            (b"SCHILY.xattr.a", b"", 19),
        ];
        assert_eq!(read, expected);
        for broken in [
            &b"5 a=1\n"[..],
            b"7 a=1\n",
            b"6 abc\n",
            b" a=1\n",
            b"99999999999999999999 a=1\n",
            b"0 a=1\n",
            b"1 a=1\n",
            b"x",
        ] {
            let read: Vec<_> = records(broken).collect();
            assert_eq!(read, [Err(BrokenRecord)], "{}", broken.escape_ascii());
        }
    }

    #[test]
    fn names_are_read_back_from_their_escapes() {
        assert_eq!(unescape(b"b%3D%25%3d%"), b"b=%%3d%");
        assert_eq!(unescape(b"%253D"), b"%3D");
    }

    #[test]
    fn an_attribute_counts_once_with_its_last_value() {
        let pair = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
        let mut xattrs = vec![pair(b"b", b"1"), pair(b"a", b"2"), pair(b"b", b"3")];
        settle_attributes(&mut xattrs);
        assert_eq!(xattrs, [pair(b"a", b"2"), pair(b"b", b"3")]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(records(&data).count() <= data.len());
        }
    }
}
