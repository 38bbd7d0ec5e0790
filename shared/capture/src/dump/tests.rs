#![allow(clippy::unwrap_used)]
use std::collections::HashSet;
use std::io;

use holdfast_format::{ContentsReader, Extent};

use super::*;
use crate::testing::{ARTEFACT, Store, assemble, noise, packer};

/// Gives few bytes at a time, and is interrupted now and then.
struct Halting<'a>(&'a [u8], usize);

impl Read for Halting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 += 1;
        if self.1.is_multiple_of(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let n = buffer.len().min(1 + self.1 % 3000);
        self.0.read(&mut buffer[..n])
    }
}

fn capture(store: &Store, reader: impl Read) -> Result<(crate::Packed, Vec<Content>), CaptureError> {
    let mut packer = packer(store, None, &HashSet::new());
    let mut contents = ContentsWriter::new(Vec::new(), ARTEFACT).unwrap();
    let mut last = 0;
    let mut watch = Watch {
        progress: &mut |p| last = p.bytes,
        stop: &|| false,
    };
    let size = capture_stream(reader, &mut packer, &mut contents, &mut watch)?;
    assert_eq!(last, size);
    let (bytes, _) = contents.finish(vec![]).unwrap();
    let lines = ContentsReader::new(&bytes[..], ARTEFACT).unwrap().map(Result::unwrap);
    Ok((packer.finish()?, lines.collect()))
}

#[test]
fn the_stream_comes_back_however_it_came() {
    let store = Store::default();
    for size in [0, 1, 511, 16384, 1_000_000] {
        let data = noise(size, 9);
        let (packed, lines) = capture(&store, Halting(&data, 0)).unwrap();
        let extents: Vec<Extent> = lines.iter().flat_map(|l| l.extents().to_vec()).collect();
        assert_eq!(assemble(&store, &packed, &extents), data);
        assert!(lines.iter().all(|l| l.extents().len() <= BATCH));
        assert!(extents.iter().all(|x| x.id.is_some()));
        let (at_once, _) = capture(&store, &data[..]).unwrap();
        assert_eq!(at_once.digest, packed.digest, "cuts do not depend on how bytes arrive");
    }
}

#[test]
fn a_broken_stream_is_an_error() {
    let broken = noise(100_000, 1);
    let reader = broken.as_slice().chain(Failing);
    assert!(matches!(
        capture(&Store::default(), reader),
        Err(CaptureError::Stream(_))
    ));
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn a_stop_is_heard() {
    let mut packer = packer(&Store::default(), None, &HashSet::new());
    let mut contents = ContentsWriter::new(Vec::new(), ARTEFACT).unwrap();
    let mut watch = Watch {
        progress: &mut |_| {},
        stop: &|| true,
    };
    let result = capture_stream(io::repeat(1), &mut packer, &mut contents, &mut watch);
    assert!(matches!(result, Err(CaptureError::Stopped)));
}
