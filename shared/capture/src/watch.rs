//! How a capture tells where it is, and hears that it should stop.

/// How far a capture is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the stream so far, those taken over from the parent included.
    pub bytes: u64,
    /// Entries so far; zero for dumps.
    pub files: u64,
}

/// A capture's line to its caller. Both functions are called often (per file, per few megabytes) and must be cheap.
pub struct Watch<'a> {
    /// Hears of progress.
    pub progress: &'a mut dyn FnMut(Progress),
    /// Says whether to stop. The capture then ends with [`CaptureError::Stopped`](crate::CaptureError::Stopped).
    pub stop: &'a dyn Fn() -> bool,
}

impl Watch<'_> {
    /// Whether the caller says stop.
    #[must_use]
    pub fn stopped(&self) -> bool {
        (self.stop)()
    }
}
