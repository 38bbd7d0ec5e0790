//! Forwards bytes, and damages them on demand.

use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Fault, Way};

/// The number of bytes that are forwarded at once: few enough to keep a slow connection smooth.
const BUFFER: usize = 16 * 1024;

/// Applies a fault to the bytes of one direction.
#[derive(Debug)]
pub(super) struct Meddler {
    fault: Option<Fault>,
    way: Way,
    passed: u64,
    /// The length of the body, if it is known, so that its last byte can be recognised.
    length: Option<u64>,
}

impl Meddler {
    pub(super) fn new(fault: Option<Fault>, way: Way) -> Self {
        Self {
            fault,
            way,
            passed: 0,
            length: None,
        }
    }

    pub(super) fn with_length(mut self, length: Option<u64>) -> Self {
        self.length = length;
        self
    }

    /// Forwards `bytes` with the fault applied. An error means that the connection has to be closed.
    pub(super) async fn pass(&mut self, bytes: &mut [u8], to: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
        let mut keep = bytes.len();
        match self.fault {
            Some(Fault::Flip(way, at)) if way == self.way => self.flip(bytes, at),
            Some(Fault::Cut(way, after)) if way == self.way => {
                keep = usize::try_from(after.saturating_sub(self.passed))
                    .unwrap_or(usize::MAX)
                    .min(keep);
            }
            Some(Fault::Slow(rate)) => {
                let seconds = bytes.len() as f64 / rate.max(1) as f64;
                tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            }
            _ => {}
        }
        to.write_all(&bytes[..keep]).await?;
        to.flush().await?;
        self.passed += bytes.len() as u64;
        if keep < bytes.len() {
            return Err(Error::new(ErrorKind::ConnectionAborted, "cut by the proxy"));
        }
        Ok(())
    }

    fn flip(&self, bytes: &mut [u8], at: u64) {
        let at = self.length.map_or(at, |length| at.min(length.saturating_sub(1)));
        let index = at
            .checked_sub(self.passed)
            .and_then(|index| usize::try_from(index).ok());
        if let Some(byte) = index.and_then(|index| bytes.get_mut(index)) {
            *byte ^= 1;
        }
    }
}

/// Forwards bytes until there are no more, and then closes the receiver's side.
pub(super) async fn until_end(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut meddler: Meddler,
) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        meddler.pass(&mut buffer[..read], to).await?;
    }
}

/// Forwards exactly `length` bytes.
pub(super) async fn exactly(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    length: u64,
    meddler: &mut Meddler,
) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut left = length;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
        let read = from.read(&mut buffer[..want]).await?;
        if read == 0 {
            return Err(Error::from(ErrorKind::UnexpectedEof));
        }
        meddler.pass(&mut buffer[..read], to).await?;
        left -= read as u64;
    }
    Ok(())
}
