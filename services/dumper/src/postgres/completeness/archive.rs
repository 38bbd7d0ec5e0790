//! The custom format of `pg_dump`, as far as it tells whether all of it came.
//!
//! The format has no end mark. But its table of contents stands first and names every entry with data; the data follow,
//! each under its entry's number, in pieces with their lengths. So lengths are followed, and nothing else is looked at.

use std::collections::HashSet;

/// Minor versions of the format (its major is 1) whose layout is known: those of `pg_dump` 9.0 to 18.
const KNOWN: std::ops::RangeInclusive<u8> = 12..=16;

/// The custom format's number among the formats.
const CUSTOM: u8 = 1;

/// The beginning of every archive: five letters, three bytes of version, the sizes of numbers and of offsets, the format.
const MAGIC: ([u8; 5], usize) = (*b"PGDMP", 11);

/// The beginning of a block of data: a table's, or that of large objects.
const TABLE: u8 = 1;
const OBJECTS: u8 = 3;

/// A part of the head or of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Byte,
    Number,
    Text,
    /// A flag, and a number of bytes that the magic tells.
    Offset,
    /// The entry's number.
    Id,
    /// The flag that says whether data follow.
    HasData,
    /// Texts up to one that is none.
    Dependencies,
}

/// Parts with the first minor version that has them, and the first that has them no more.
type Layout = [(u8, u8, Part)];

const EVER: u8 = u8::MAX;

/// Compression; when it was made; the database; two versions.
const HEAD: &Layout = &[
    (0, 15, Part::Number),
    (15, EVER, Part::Byte),
    (0, EVER, Part::Number),
    (0, EVER, Part::Number),
    (0, EVER, Part::Number),
    (0, EVER, Part::Number),
    (0, EVER, Part::Number),
    (0, EVER, Part::Number),
    (0, EVER, Part::Number),
    (0, EVER, Part::Text),
    (0, EVER, Part::Text),
    (0, EVER, Part::Text),
];

/// An entry: number and whether it has data; catalogue ids, name, kind; section; three statements; schema, tablespace, access
/// method, kind of relation; owner; whether rows have ids; what it depends on; where its data are.
const ENTRY: &Layout = &[
    (0, EVER, Part::Id),
    (0, EVER, Part::HasData),
    (0, EVER, Part::Text),
    (0, EVER, Part::Text),
    (0, EVER, Part::Text),
    (0, EVER, Part::Text),
    (0, EVER, Part::Number),
    (0, EVER, Part::Text),
    (0, EVER, Part::Text),
    (0, EVER, Part::Text),
    (0, EVER, Part::Text),
    (0, EVER, Part::Text),
    (14, EVER, Part::Text),
    (16, EVER, Part::Number),
    (0, EVER, Part::Text),
    (0, EVER, Part::Text),
    (0, EVER, Part::Dependencies),
    (0, EVER, Part::Offset),
];

/// The next part of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Magic,
    /// A part of the head.
    Head(usize),
    /// The number of entries.
    Count,
    /// A part of an entry.
    Entry(usize),
    /// A block of data, or the end.
    Block,
    /// The number of the block's entry.
    BlockId {
        objects: bool,
    },
    /// A large object, or their end.
    Object,
    /// A piece of data, or their end.
    Piece {
        objects: bool,
    },
}

/// The reason why no more is looked at.
enum Stop {
    /// The check cannot tell if the dump is complete, for this reason.
    Unknown(String),
    /// The dump is not whole, whatever follows.
    Broken(String),
}

/// An archive of which some has passed.
pub(crate) struct Archive {
    next: Next,
    /// The bytes of the next part that have passed.
    field: [u8; MAGIC.1],
    held: usize,
    /// Bytes to pass over before that.
    skip: u64,
    passed: u64,
    minor: u8,
    number_size: usize,
    offset_size: usize,
    entries: u64,
    id: i64,
    /// Entries whose data have not come.
    missing: HashSet<i64>,
    stop: Option<Stop>,
}

impl Default for Archive {
    fn default() -> Self {
        Self {
            next: Next::Magic,
            field: [0; MAGIC.1],
            held: 0,
            skip: 0,
            passed: 0,
            minor: 0,
            number_size: 0,
            offset_size: 0,
            entries: 0,
            id: 0,
            missing: HashSet::new(),
            stop: None,
        }
    }
}

impl Archive {
    /// Looks at the bytes that follow.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.stop.is_none() {
            bytes = self.whole_pieces(bytes);
            let wanted = self.size() - self.held;
            let (pass, is_field) = match usize::try_from(self.skip) {
                Ok(0) => (wanted.min(bytes.len()), true),
                skip => (skip.unwrap_or(usize::MAX).min(bytes.len()), false),
            };
            let (now, later) = bytes.split_at(pass);
            bytes = later;
            self.passed += pass as u64;
            if !is_field {
                self.skip -= pass as u64;
                continue;
            }
            self.field[self.held..self.held + pass].copy_from_slice(now);
            self.held += pass;
            if pass == wanted {
                self.held = 0;
                if let Err(stop) = self.step() {
                    self.stop = Some(stop);
                }
            }
        }
    }

    /// Passes over the pieces that lie here from end to end, which is most of a dump: some programs make one of every row.
    fn whole_pieces<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.skip > 0 || self.held > 0 || !matches!(self.next, Next::Piece { .. }) {
            return bytes;
        }
        let size = 1 + self.number_size;
        let mut rest = bytes;
        while let Some((field, after)) = rest.split_at_checked(size) {
            // Their end, and what makes no sense, are left to the step.
            let length = usize::try_from(number(field)).unwrap_or(0);
            match after.get(length..) {
                Some(later) if length > 0 => rest = later,
                _ => break,
            }
        }
        self.passed += (bytes.len() - rest.len()) as u64;
        rest
    }

    /// After the last byte: why nothing can be told, if that is so.
    pub(crate) fn end(self) -> Result<Option<String>, String> {
        match self.stop {
            Some(Stop::Unknown(why)) => return Ok(Some(why)),
            Some(Stop::Broken(problem)) => return Err(problem),
            None => {}
        }
        let passed = self.passed;
        let missing = self.missing.len();
        match self.next {
            Next::Block if missing == 0 && self.held == 0 => Ok(None),
            Next::Block => Err(format!(
                "it ends after {passed} bytes, and the data of {missing} entries of its table of contents are missing"
            )),
            Next::BlockId { .. } | Next::Object | Next::Piece { .. } => Err(format!(
                "it breaks off in the middle of data, after {passed} bytes; of {missing} more entries there are none"
            )),
            _ => Err(format!("it breaks off in its table of contents, after {passed} bytes")),
        }
    }

    /// The size of what comes next.
    fn size(&self) -> usize {
        let part = match self.next {
            Next::Magic => return MAGIC.1,
            Next::Block => Part::Byte,
            Next::Head(at) => HEAD[at].2,
            Next::Entry(at) => ENTRY[at].2,
            Next::Count | Next::BlockId { .. } | Next::Object | Next::Piece { .. } => Part::Number,
        };
        match part {
            Part::Byte => 1,
            Part::Offset => 1 + self.offset_size,
            _ => 1 + self.number_size,
        }
    }

    /// Takes the next part, which has passed whole, and goes on to the one behind it.
    fn step(&mut self) -> Result<(), Stop> {
        match self.next {
            Next::Magic => self.magic(),
            Next::Head(at) => self.head(at),
            Next::Count => {
                self.entries = u64::try_from(self.number()).map_err(|_| self.broken())?;
                self.begin_entry();
                Ok(())
            }
            Next::Entry(at) => self.entry(at),
            Next::Block => {
                let objects = match self.field[0] {
                    TABLE => false,
                    OBJECTS => true,
                    _ => return Err(self.broken()),
                };
                self.next = Next::BlockId { objects };
                Ok(())
            }
            Next::BlockId { objects } => {
                if !self.missing.remove(&self.number()) {
                    return Err(self.broken());
                }
                self.next = if objects { Next::Object } else { Next::Piece { objects } };
                Ok(())
            }
            Next::Object => {
                self.next = match self.number() {
                    0 => Next::Block,
                    _ => Next::Piece { objects: true },
                };
                Ok(())
            }
            Next::Piece { objects } => {
                match u64::try_from(self.number()).map_err(|_| self.broken())? {
                    0 if objects => self.next = Next::Object,
                    0 => self.next = Next::Block,
                    length => self.skip = length,
                }
                Ok(())
            }
        }
    }

    fn magic(&mut self) -> Result<(), Stop> {
        let [name @ .., major, minor, _, number, offset, format] = self.field;
        if name != MAGIC.0 || format != CUSTOM {
            return Err(Stop::Broken("it is no dump in the custom format".to_owned()));
        }
        let sizes = 1..=8;
        if major != 1 || !KNOWN.contains(&minor) || !sizes.contains(&number) || !sizes.contains(&offset) {
            return Err(Stop::Unknown(format!(
                "whether the dump is whole was not looked at: this Holdfast does not know version {major}.{minor} of its \
                 format"
            )));
        }
        (self.minor, self.number_size, self.offset_size) = (minor, number.into(), offset.into());
        self.next = after(HEAD, 0, minor).map_or(Next::Count, Next::Head);
        Ok(())
    }

    fn head(&mut self, at: usize) -> Result<(), Stop> {
        if HEAD[at].2 == Part::Text {
            self.skip = self.length();
        }
        self.next = after(HEAD, at + 1, self.minor).map_or(Next::Count, Next::Head);
        Ok(())
    }

    /// Goes on to the next entry, or to the data.
    fn begin_entry(&mut self) {
        self.next = match self.entries {
            0 => Next::Block,
            _ => Next::Entry(0),
        };
        self.entries = self.entries.saturating_sub(1);
    }

    fn entry(&mut self, at: usize) -> Result<(), Stop> {
        match ENTRY[at].2 {
            Part::Id => self.id = self.number(),
            Part::HasData if self.number() != 0 => drop(self.missing.insert(self.id)),
            Part::Text => self.skip = self.length(),
            Part::Dependencies if self.number() >= 0 => {
                self.skip = self.length();
                return Ok(());
            }
            _ => {}
        }
        match after(ENTRY, at + 1, self.minor) {
            Some(at) => self.next = Next::Entry(at),
            None => self.begin_entry(),
        }
        Ok(())
    }

    /// The number that has just passed.
    fn number(&self) -> i64 {
        number(&self.field[..=self.number_size])
    }

    /// The length of the text that follows; none is written as a negative length.
    fn length(&self) -> u64 {
        u64::try_from(self.number()).unwrap_or(0)
    }

    fn broken(&self) -> Stop {
        Stop::Broken(format!("what stands before byte {} makes no sense", self.passed))
    }
}

/// A number as it is written: a sign, then its bytes from the lowest.
fn number(field: &[u8]) -> i64 {
    let size = field
        .iter()
        .skip(1)
        .rev()
        .fold(0_i64, |size, byte| size << 8 | i64::from(*byte));
    if field.first() == Some(&0) {
        size
    } else {
        size.wrapping_neg()
    }
}

/// The first part from `at` on that this version has.
fn after(layout: &Layout, at: usize, minor: u8) -> Option<usize> {
    (at..layout.len()).find(|at| (layout[*at].0..layout[*at].1).contains(&minor))
}

#[cfg(test)]
mod tests;
