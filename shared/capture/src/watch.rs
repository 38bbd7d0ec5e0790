//! The connection between a capture and its caller: the capture tells of its progress, and asks if it should stop.

/// The progress of a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureProgress {
    /// Bytes of the stream so far, those taken over from the parent included.
    pub bytes: u64,
    /// Entries so far; zero for dumps.
    pub files: u64,
}

/// A capture's line to its caller. Both functions are called often (per file, per few megabytes) and must be cheap.
pub struct Watch<'a> {
    pub progress: &'a mut dyn FnMut(CaptureProgress),
    /// Says whether to stop. The capture then ends with [`CaptureError::Stopped`](crate::CaptureError::Stopped).
    pub stop: &'a dyn Fn() -> bool,
}

impl Watch<'_> {
    /// True if the caller asks the capture to stop.
    #[must_use]
    pub fn stopped(&self) -> bool {
        (self.stop)()
    }
}
