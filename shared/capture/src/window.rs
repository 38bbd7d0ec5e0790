//! A sliding window over content: filled from a reader, cut at its head.

use holdfast_format::Cutter;

/// Room for the bytes that complete a file's last tar block, beyond what the cutter looks at.
const SLACK: usize = 512;

/// Holds the part of a content that the cutter looks at. Twice as large as the longest chunk, so that each byte is moved
/// once at most for every refill. One window serves many contents.
pub(crate) struct Window {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    least: usize,
}

impl Window {
    pub(crate) fn new(cutter: &Cutter) -> Self {
        Self {
            buffer: vec![0; 2 * cutter.window() + SLACK],
            start: 0,
            end: 0,
            ended: false,
            least: cutter.window(),
        }
    }

    /// Forgets what is left of the content before.
    pub(crate) fn reset(&mut self) {
        (self.start, self.end, self.ended) = (0, 0, false);
    }

    /// Fills the window, if it holds less than the cutter wants to see, until it is full or `read` gives 0.
    pub(crate) fn fill<E>(&mut self, mut read: impl FnMut(&mut [u8]) -> Result<usize, E>) -> Result<(), E> {
        if self.ended || self.end - self.start >= self.least {
            return Ok(());
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while self.end < self.buffer.len() {
            match read(&mut self.buffer[self.end..])? {
                0 => {
                    self.ended = true;
                    break;
                }
                n => self.end += n,
            }
        }
        Ok(())
    }

    /// Returns all bytes in the window.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The next chunk, which leaves the window. `None` at the content's end. Call [`Window::fill`] before.
    pub(crate) fn cut(&mut self, cutter: &Cutter) -> Option<&[u8]> {
        let length = cutter.cut(self.bytes());
        let at = self.start;
        self.start += length;
        (length > 0).then(|| &self.buffer[at..at + length])
    }
}
