//! holdfast-repository
