//! holdfast-restore
