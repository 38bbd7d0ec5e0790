//! holdfast-storage
