//! The records before an entry's own header block: PAX records, and the long names of GNU tar.

use holdfast_format::Stamp;
use holdfast_format::pax::{self, BrokenRecord, PaxRecord, Xattrs, decimal};

/// Attributes in spellings that are not read.
const OTHER_ATTRIBUTES: [&[u8]; 4] = [b"SCHILY.acl.", b"RHT.security.", b"LIBARCHIVE.xattr.", b"SCHILY.fflags"];

pub(super) const SPARSE: &str = "a sparse file, which no engine writes";

/// The values that stand before the next entry's own header block, and override those of the block.
#[derive(Default)]
pub(super) struct Overrides {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Stamp>,
    pub(super) xattrs: Xattrs,
    /// True if the entry has attributes that were not understood.
    pub(super) incomplete: bool,
    /// True if any record or long name was read.
    pub(super) is_some: bool,
}

impl Overrides {
    /// Takes PAX records. A later one goes before an earlier one; one without a value says nothing.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn records(&mut self, data: &[u8]) -> Result<(), &'static str> {
        self.is_some = true;
        for record in pax::records(data) {
            let record = record.map_err(|BrokenRecord| "a broken PAX record")?;
            match record.attribute() {
                Some(name) => self.xattr(name, record.value)?,
                None => self.value(&record)?,
            }
        }
        Ok(())
    }

    fn value(&mut self, record: &PaxRecord<'_>) -> Result<(), &'static str> {
        const NUMBER: &str = "a PAX record that is no such number";
        let value = record.value;
        match record.keyword {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(decimal(value).ok_or(NUMBER)?),
            b"uid" => self.uid = Some(owner(value).ok_or(NUMBER)?),
            b"gid" => self.gid = Some(owner(value).ok_or(NUMBER)?),
            b"mtime" => self.mtime = Some(time(value).ok_or(NUMBER)?),
            keyword if keyword.starts_with(b"GNU.sparse.") => return Err(SPARSE),
            keyword if OTHER_ATTRIBUTES.iter().any(|other| keyword.starts_with(other)) => self.incomplete = true,
            _ => {}
        }
        Ok(())
    }

    fn xattr(&mut self, name: Vec<u8>, value: &[u8]) -> Result<(), &'static str> {
        if name.is_empty() || name.contains(&0) {
            return Err("an extended attribute of no possible name");
        }
        self.xattrs.push((name, value.to_vec()));
        Ok(())
    }

    /// Attributes in byte order of their names, each once: as it was told last.
    pub(super) fn take_xattrs(&mut self) -> Xattrs {
        let mut xattrs = std::mem::take(&mut self.xattrs);
        pax::settle_attributes(&mut xattrs);
        xattrs
    }

    /// Takes a long name of GNU tar.
    pub(super) fn long_name(&mut self, text: &[u8]) -> Result<(), &'static str> {
        self.is_some = true;
        once(&mut self.path, text)
    }

    /// Takes a long link target of GNU tar.
    pub(super) fn long_link(&mut self, text: &[u8]) -> Result<(), &'static str> {
        self.is_some = true;
        once(&mut self.link, text)
    }
}

fn once(place: &mut Option<Vec<u8>>, text: &[u8]) -> Result<(), &'static str> {
    if place.is_some() {
        return Err("a name told twice");
    }
    let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
    *place = Some(text[..end].to_vec());
    Ok(())
}

fn owner(digits: &[u8]) -> Option<u32> {
    decimal(digits)?.try_into().ok()
}

/// Seconds since 1970, perhaps negative, perhaps with a fraction; what is below a nanosecond does not count.
fn time(text: &[u8]) -> Option<Stamp> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|b| *b == b'.') {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &b""[..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanoseconds = digits.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Some(match (negative, nanoseconds) {
        (false, _) => Stamp { seconds, nanoseconds },
        (true, 0) => Stamp {
            seconds: -seconds,
            nanoseconds,
        },
        // -0.75 s is -1 s and 250,000,000 ns.
        (true, _) => Stamp {
            seconds: -seconds - 1,
            nanoseconds: 1_000_000_000 - nanoseconds,
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn told(records: &[u8]) -> Result<Overrides, &'static str> {
        let mut told = Overrides::default();
        told.records(records).map(|()| told)
    }

    #[test]
    fn records_are_read_to_their_length() {
        // A value may hold line ends and `=`; the last record of a keyword counts, and an empty one does not.
        let mut found =
            told(b"14 path=a\n=b\xff\n13 path=./b\n\n8 path=\n22 SCHILY.xattr.u=1\n0\n22 SCHILY.xattr.u=\n=\0\n")
                .unwrap();
        assert_eq!(found.path.as_deref(), Some(&b"./b\n"[..]));
        assert_eq!(found.take_xattrs(), [(b"u".to_vec(), b"\n=\0".to_vec())]);
        let mut found = told(b"27 SCHILY.xattr.b%3D%25%=1\n19 SCHILY.xattr.a=\n").unwrap();
        let expected = [(b"a".to_vec(), b"".to_vec()), (b"b=%%".to_vec(), b"1".to_vec())];
        assert_eq!(found.take_xattrs(), expected);
        assert!(told(b"31 SCHILY.acl.access=user::rw-\n").unwrap().incomplete);
        for broken in [
            &b"5 a=1\n"[..],
            b"9 size=-\n",
            b"19 uid=99999999999\n",
            b"16 mtime=1.5e10\n",
            b"26 GNU.sparse.realsize=99\n",
            b"18 SCHILY.xattr.=\n",
        ] {
            assert!(told(broken).is_err(), "{}", broken.escape_ascii());
        }
    }

    #[test]
    fn times_are_decimal_numbers() {
        for (text, seconds, nanoseconds) in [
            ("0", 0, 0),
            ("1.5", 1, 500_000_000),
            ("-0.75", -1, 250_000_000),
            ("-2", -2, 0),
            ("7.123456789999", 7, 123_456_789),
            ("9223372036854775807", i64::MAX, 0),
            ("-9223372036854775807.1", i64::MIN, 900_000_000),
        ] {
            assert_eq!(time(text.as_bytes()), Some(Stamp { seconds, nanoseconds }), "{text}");
        }
        for text in ["", "-", ".5", "1.x", "9223372036854775808", "1e3", "--1"] {
            assert_eq!(time(text.as_bytes()), None, "{text}");
        }
    }
}
