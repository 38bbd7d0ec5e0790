//! A dump: one stream, cut throughout.

use std::io::{Read, Write};

use holdfast_format::{Content, ContentsWriter};

use crate::window::Window;
use crate::{CaptureError, CaptureProgress, Packer, Watch};

/// Extents on one line of contents: lines stay short, and there are few of them.
const BATCH: usize = 64;

/// Captures what `reader` gives until its end, and writes its `data` lines. Returns the bytes read. That the stream is
/// whole, only the caller can know: it must not hand in a draft before the program at the other end has succeeded.
///
/// # Errors
/// [`CaptureError`] if the stream breaks, packs or contents cannot be written, or the caller says stop. A reader that
/// blocks is not interrupted: to stop, end what it reads from as well.
pub fn capture_stream<R: Read, W: Write>(
    mut reader: R,
    packer: &mut Packer<'_>,
    contents: &mut ContentsWriter<W>,
    watch: &mut Watch<'_>,
) -> Result<u64, CaptureError> {
    let before = packer.size();
    let mut window = Window::new(packer.cutter());
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        window.fill(|buffer| next(&mut reader, buffer, watch.stop))?;
        let Some(chunk) = window.cut(packer.cutter()) else {
            break;
        };
        batch.push(packer.chunk(chunk)?);
        (watch.progress)(CaptureProgress {
            bytes: packer.size() - before,
            files: 0,
        });
        if batch.len() == BATCH {
            let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
            contents.write(&Content::Data(full)).map_err(CaptureError::Contents)?;
        }
    }
    if !batch.is_empty() {
        contents.write(&Content::Data(batch)).map_err(CaptureError::Contents)?;
    }
    Ok(packer.size() - before)
}

/// Reads once, unless the caller says stop.
pub(crate) fn next<R: Read>(reader: &mut R, buffer: &mut [u8], stop: &dyn Fn() -> bool) -> Result<usize, CaptureError> {
    loop {
        if stop() {
            return Err(CaptureError::Stopped);
        }
        match reader.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result.map_err(CaptureError::Stream),
        }
    }
}

#[cfg(test)]
mod tests;
