//! holdfast-janitor
