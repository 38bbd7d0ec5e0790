//! What happens when things break: processes killed, servers gone, networks cut, disks full. In every case the run ends
//! right or says what failed, and earlier backups are whole.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bus;
mod clients;
mod disk;
mod kills;
mod postgres;
mod storage;
mod support;
