//! holdfast-sealing
