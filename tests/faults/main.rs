//! Faults: processes killed, servers gone, networks cut, disks full. In every case the run ends well or names its
//! failures, and earlier backups are complete.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bus;
mod clients;
mod disk;
mod kills;
mod postgres;
mod storage;
mod support;
