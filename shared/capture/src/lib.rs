//! holdfast-capture
