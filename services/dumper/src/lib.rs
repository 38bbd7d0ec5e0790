//! holdfast-dumper
