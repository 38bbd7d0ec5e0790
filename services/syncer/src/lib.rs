//! holdfast-syncer
