//! holdfast-volume-snapshotter
