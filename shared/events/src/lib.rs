//! holdfast-events
