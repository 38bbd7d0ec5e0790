//! The map of a sparse file (`GNU.sparse` 1.0), read from its data as it comes.

use holdfast_format::pax::decimal;

use crate::tar::BLOCK;

/// No map has more segments: it is held in memory.
const MOST_SEGMENTS: u64 = 1 << 20;

/// A part of a file that holds data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    offset: u64,
    length: u64,
}

/// Turns the data of a sparse entry into pieces of the file.
pub(crate) struct Sparse {
    size: u64,
    text: Vec<u8>,
    /// Parsed up to here.
    at: usize,
    numbers: Vec<u64>,
    segments: Vec<Segment>,
    /// Reading data: index of the segment, and bytes of it that came.
    data: Option<(usize, u64)>,
}

impl Sparse {
    /// For a file of this size.
    pub(crate) fn new(size: u64) -> Self {
        Self {
            size,
            text: Vec::new(),
            at: 0,
            numbers: Vec::new(),
            segments: Vec::new(),
            data: None,
        }
    }

    /// Takes the next bytes of the entry's data; calls `piece` with offset and bytes of each part of the file in them.
    ///
    /// # Errors
    /// What is wrong with the map, for people; or what `piece` answers.
    pub(crate) fn take<E: From<&'static str>>(
        &mut self,
        mut bytes: &[u8],
        mut piece: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.data.is_none() {
            self.text.extend_from_slice(bytes);
            let Some(end) = self.read_map()? else {
                return Ok(());
            };
            // The text before this call was part of the map, and so was none of what follows it.
            bytes = &bytes[bytes.len() - (self.text.len() - end)..];
            self.text = Vec::new();
            self.data = Some((0, 0));
        }
        while let Some((index, came)) = self.data {
            let Some(segment) = self.segments.get(index) else {
                // What is left fills the last block.
                return Ok(());
            };
            if came == segment.length {
                self.data = Some((index + 1, 0));
                continue;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let left = usize::try_from(segment.length - came).unwrap_or(usize::MAX);
            let (now, rest) = bytes.split_at(left.min(bytes.len()));
            piece(segment.offset + came, now)?;
            self.data = Some((index, came + now.len() as u64));
            bytes = rest;
        }
        Ok(())
    }

    /// True if all data came.
    pub(crate) fn is_whole(&self) -> bool {
        self.data.is_some_and(|(index, came)| {
            let mut left = self.segments.iter().skip(index);
            left.next().is_none_or(|segment| segment.length == came) && left.all(|segment| segment.length == 0)
        })
    }

    /// Reads numbers from the text; once all are there, makes the segments and gives the end of the map.
    fn read_map(&mut self) -> Result<Option<usize>, &'static str> {
        const BROKEN: &str = "a broken map of a sparse file";
        loop {
            if let Some(count) = self.numbers.first() {
                if *count > MOST_SEGMENTS {
                    return Err(BROKEN);
                }
                if self.numbers.len() as u64 == 1 + 2 * count {
                    let end = self.at.next_multiple_of(BLOCK);
                    if end > self.text.len() {
                        return Ok(None);
                    }
                    self.make_segments()?;
                    return Ok(Some(end));
                }
            }
            let rest = &self.text[self.at..];
            let Some(length) = rest.iter().take(24).position(|b| *b == b'\n') else {
                return if rest.len() < 24 { Ok(None) } else { Err(BROKEN) };
            };
            self.numbers.push(decimal(&rest[..length]).ok_or(BROKEN)?);
            self.at += length + 1;
        }
    }

    fn make_segments(&mut self) -> Result<(), &'static str> {
        let mut end = 0;
        for pair in self.numbers[1..].chunks_exact(2) {
            let segment = Segment {
                offset: pair[0],
                length: pair[1],
            };
            let reach = segment.offset.checked_add(segment.length);
            if segment.offset < end || reach.is_none_or(|reach| reach > self.size) {
                return Err("a map of a sparse file that does not fit the file");
            }
            end = segment.offset + segment.length;
            self.segments.push(segment);
        }
        self.numbers = Vec::new();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pieces(size: u64, data: &[u8], step: usize) -> Result<(Vec<(u64, u8)>, bool), String> {
        struct Fault(String);
        impl From<&'static str> for Fault {
            fn from(text: &'static str) -> Self {
                Self(text.to_owned())
            }
        }
        let mut sparse = Sparse::new(size);
        let mut out = Vec::new();
        for part in data.chunks(step) {
            let taken = sparse.take(part, |offset, bytes| {
                out.extend(bytes.iter().enumerate().map(|(n, b)| (offset + n as u64, *b)));
                Ok::<_, Fault>(())
            });
            taken.map_err(|fault| fault.0)?;
        }
        Ok((out, sparse.is_whole()))
    }

    #[test]
    fn data_goes_where_the_map_says_however_it_comes() {
        let mut data = b"3\n10\n2\n4096\n3\n5000\n0\n".to_vec();
        data.resize(BLOCK, 0);
        data.extend(b"abcde");
        data.resize(2 * BLOCK, 0);
        let expected = [(10, b'a'), (11, b'b'), (4096, b'c'), (4097, b'd'), (4098, b'e')];
        for step in [1, 3, 511, 512, 513, 5000] {
            let (found, whole) = pieces(5000, &data, step).unwrap();
            assert_eq!(found, expected, "in steps of {step}");
            assert!(whole);
        }
        let (_, whole) = pieces(5000, &data[..BLOCK + 4], 100).unwrap();
        assert!(!whole, "a byte is missing");
    }

    #[test]
    fn maps_that_reach_out_of_the_file_are_refused() {
        for map in [
            "1\n10\n18446744073709551615\n",
            "1\n4999\n2\n",
            "2\n10\n5\n12\n1\n",
            "x\n",
            "1\n\n5\n",
            "99999999\n1\n",
            "111111111111111111111111111\n",
        ] {
            let mut data = map.as_bytes().to_vec();
            data.resize(BLOCK, 0);
            assert!(pieces(5000, &data, 512).is_err(), "{map:?}");
        }
    }
}
