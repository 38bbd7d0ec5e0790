//! Error codes of the server that decide what is done next.

pub(crate) const CONSUMER_NOT_FOUND: u64 = 10014;
pub(crate) const NO_MESSAGE: u64 = 10037;
pub(crate) const NOT_ENABLED_FOR_ACCOUNT: u64 = 10039;
pub(crate) const SEQUENCE_NOT_FOUND: u64 = 10043;
pub(crate) const STREAM_NAME_IN_USE: u64 = 10058;
pub(crate) const STREAM_NOT_FOUND: u64 = 10059;
pub(crate) const NOT_ENABLED: u64 = 10076;
pub(crate) const STORE_FAILED: u64 = 10077;
