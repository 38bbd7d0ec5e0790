//! The bytes of an archive, in blocks.

use std::io::{BufReader, Read};

use crate::CaptureError;
use crate::dump;
use crate::tree::header::BLOCK;
use crate::tree::sparse::padding;

/// Bytes asked for at once. Data is read around this buffer.
const BUFFER: usize = 128 << 10;

pub(super) type Block = [u8; BLOCK];

/// Reads the blocks of an archive, and counts their bytes.
pub(super) struct Source<'w, R> {
    reader: BufReader<R>,
    stop: &'w dyn Fn() -> bool,
    /// The bytes that were read so far.
    at: u64,
}

impl<'w, R: Read> Source<'w, R> {
    pub(super) fn new(archive: R, stop: &'w dyn Fn() -> bool) -> Self {
        Self {
            reader: BufReader::with_capacity(BUFFER, archive),
            stop,
            at: 0,
        }
    }

    /// Returns the number of bytes that were read.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, CaptureError> {
        let n = dump::next(&mut self.reader, buffer, self.stop)?;
        self.at += n as u64;
        Ok(n)
    }

    /// The next bytes, as many as fit.
    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), CaptureError> {
        while !buffer.is_empty() {
            match self.read(buffer)? {
                0 => return Err(CaptureError::ArchiveCut(self.at)),
                n => buffer = &mut buffer[n..],
            }
        }
        Ok(())
    }

    /// Reads the next block.
    pub(super) fn block(&mut self) -> Result<Block, CaptureError> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        Ok(block)
    }

    /// The next bytes, and what fills their last block. The caller bounds the length.
    pub(super) fn bytes(&mut self, length: usize) -> Result<Vec<u8>, CaptureError> {
        let mut bytes = Vec::new();
        let mut data = self.data(length as u64);
        // Grows with what comes, not with what was promised.
        while bytes.len() < length {
            let before = bytes.len();
            let step = (length - bytes.len()).min(BUFFER);
            bytes.resize(before + step, 0);
            let n = data.read(&mut bytes[before..])?;
            bytes.truncate(before + n);
        }
        data.finish()?;
        Ok(bytes)
    }

    /// The data of an entry of this size.
    pub(super) fn data(&mut self, size: u64) -> Data<'_, 'w, R> {
        Data {
            source: self,
            left: size,
            padding: padding(size),
            filled: false,
        }
    }

    /// Reads to the end of the archive, the first of the two blocks that say so having come. Who made the archive may tell
    /// of a failure only there.
    ///
    /// # Errors
    /// If something else than zeros is there, or too few of them.
    pub(super) fn end(&mut self) -> Result<(), CaptureError> {
        let mut block = self.block()?;
        loop {
            if block.iter().any(|b| *b != 0) {
                return Err(CaptureError::Archive {
                    at: format!("byte {}", self.at),
                    problem: "more behind a block of zeros",
                });
            }
            // The last of them may be a part of one: nobody says how long the rest is.
            block = [0; BLOCK];
            if self.read(&mut block)? == 0 {
                return Ok(());
            }
        }
    }
}

/// Reads an entry's data, and gives zeros for what fills the last block, whatever stands there.
pub(super) struct Data<'s, 'w, R> {
    source: &'s mut Source<'w, R>,
    left: u64,
    padding: usize,
    /// True once the rest of the last block was read.
    filled: bool,
}

impl<R: Read> Data<'_, '_, R> {
    /// The next bytes. Zero at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, CaptureError> {
        if self.left > 0 {
            let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
            let n = self.source.read(&mut buffer[..wanted])?;
            if n == 0 && wanted > 0 {
                return Err(CaptureError::ArchiveCut(self.source.at));
            }
            self.left -= n as u64;
            return Ok(n);
        }
        self.finish()?;
        let n = self.padding.min(buffer.len());
        buffer[..n].fill(0);
        self.padding -= n;
        Ok(n)
    }

    /// Reads what fills the last block, once all data came.
    fn finish(&mut self) -> Result<(), CaptureError> {
        if !self.filled {
            self.source.fill(&mut [0; BLOCK][..self.padding])?;
            self.filled = true;
        }
        Ok(())
    }
}
