//! The bytes of a file as they stand in the archive.

use std::os::fd::BorrowedFd;

use rustix::io::{Errno, pread};

use super::sparse::Segment;

/// Reads a file's segments, bounded to the size first seen, and the zeros that fill the last block. What is not there any
/// more, or cannot be read, is zeros: the headers have told the length already.
pub(super) struct FileData<'f> {
    fd: BorrowedFd<'f>,
    segments: &'f [Segment],
    done: u64,
    padding: usize,
    /// True if the file ended early.
    pub(super) shrunk: bool,
    /// The error that ended reading, if any.
    pub(super) fault: Option<Errno>,
}

impl<'f> FileData<'f> {
    pub(super) fn new(fd: BorrowedFd<'f>, segments: &'f [Segment], padding: usize) -> Self {
        Self {
            fd,
            segments,
            done: 0,
            padding,
            shrunk: false,
            fault: None,
        }
    }

    /// The next bytes. Zero at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        while let Some(segment) = self.segments.first() {
            let left = segment.length - self.done;
            if left == 0 {
                self.segments = &self.segments[1..];
                self.done = 0;
                continue;
            }
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let n = self.part(&mut buffer[..wanted], segment.offset + self.done);
            self.done += n as u64;
            return n;
        }
        let n = self.padding.min(buffer.len());
        buffer[..n].fill(0);
        self.padding -= n;
        n
    }

    fn part(&mut self, buffer: &mut [u8], offset: u64) -> usize {
        while !self.shrunk && self.fault.is_none() {
            match pread(self.fd, &mut *buffer, offset) {
                Ok(0) => self.shrunk = true,
                Ok(n) => return n,
                Err(Errno::INTR) => {}
                Err(error) => self.fault = Some(error),
            }
        }
        buffer.fill(0);
        buffer.len()
    }
}
