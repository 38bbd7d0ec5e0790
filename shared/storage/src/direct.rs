//! Writing and reading large files past the page cache. A backup is written once and not read again soon: through the
//! cache it would cost a copy, push out what the machine's own services need, and make a verification read memory instead
//! of the disk.

use std::fs::File;
use std::io::{self, Read, Write};

use bytes::Bytes;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Bytes of which memory, offsets and lengths must be a multiple, as file systems and disks ask.
const ALIGN: usize = 4096;

/// Bytes of one write.
const STEP: usize = 4 << 20;

/// Writes all that `from` yields to the end of an empty `file`, past the cache if its file system can (tmpfs cannot), and
/// returns the number of bytes.
pub(crate) fn copy(mut from: impl Read, file: &mut File) -> Result<u64, Fault> {
    let mut room = vec![0; STEP + ALIGN];
    let start = room.as_ptr().align_offset(ALIGN).min(ALIGN);
    let buffer = &mut room[start..start + STEP];
    let mut direct = set(file, true);
    let mut total = 0;
    loop {
        let got = fill(&mut from, buffer).map_err(Fault::Reading)?;
        // The rest at the end of the stream is no multiple of ALIGN.
        let whole = if got == STEP { STEP } else { got / ALIGN * ALIGN };
        write(file, &buffer[..whole], &mut direct).map_err(Fault::Writing)?;
        total += got as u64;
        if got < STEP {
            direct &= !set(file, false);
            return match write(file, &buffer[whole..got], &mut direct) {
                Ok(()) => Ok(total),
                Err(error) => Err(Fault::Writing(error)),
            };
        }
    }
}

/// Reads the first `size` bytes of a file, or all that it has if those are fewer; past the cache as [`copy`] writes.
pub(crate) fn read(file: &mut File, size: usize) -> io::Result<Bytes> {
    let whole = size.next_multiple_of(ALIGN);
    let mut room = vec![0; whole + ALIGN];
    let start = room.as_ptr().align_offset(ALIGN).min(ALIGN);
    let mut direct = set(file, true);
    let mut filled = 0;
    while filled < size {
        match file.read(&mut room[start + filled..start + whole]) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidInput && direct => direct = !set(file, false),
            Err(error) => return Err(error),
        }
    }
    Ok(Bytes::from(room).slice(start..start + filled.min(size)))
}

/// The side of a copy that failed.
pub(crate) enum Fault {
    Reading(io::Error),
    Writing(io::Error),
}

/// Turns the mode on or off; returns whether that was done.
fn set(file: &File, on: bool) -> bool {
    let flags = fcntl_getfl(file).map(|flags| {
        if on {
            flags | OFlags::DIRECT
        } else {
            flags - OFlags::DIRECT
        }
    });
    flags.is_ok_and(|flags| fcntl_setfl(file, flags).is_ok())
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes all of it. A file system that took the mode may still refuse the first write, or one behind a short one.
fn write(file: &mut File, mut bytes: &[u8], direct: &mut bool) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidInput && *direct => *direct = !set(file, false),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_size_is_written_and_read_whole() {
        // Beside this crate, since the usual temporary folder may be a tmpfs, which has no direct mode.
        for dir in [tempfile::tempdir(), tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))] {
            let dir = dir.unwrap();
            for size in [0, 1, 4095, 4096, 4097, STEP - 1, STEP, STEP + 1, 2 * STEP + 5000] {
                let bytes: Vec<u8> = (0..size).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect();
                let path = dir.path().join(size.to_string());
                let mut file = File::options().write(true).create_new(true).open(&path).unwrap();
                assert!(matches!(copy(bytes.as_slice(), &mut file), Ok(n) if n == size as u64));
                assert!(std::fs::read(&path).unwrap() == bytes, "{size} bytes differ");
                for asked in [size, size + 1, size / 2] {
                    let read = read(&mut File::open(&path).unwrap(), asked).unwrap();
                    assert!(read == bytes[..asked.min(size)], "{asked} of {size} bytes differ");
                }
            }
        }
    }
}
