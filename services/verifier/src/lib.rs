//! holdfast-verifier
