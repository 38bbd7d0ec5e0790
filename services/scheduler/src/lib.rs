//! holdfast-scheduler
