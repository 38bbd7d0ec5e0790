//! The commands, one file each.

pub(crate) mod cleanup;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod hold;
pub(crate) mod init;
pub(crate) mod join;
pub(crate) mod keys;
pub(crate) mod list;
pub(crate) mod rebuild;
pub(crate) mod restore;
pub(crate) mod revoke;
pub(crate) mod roster;
pub(crate) mod rotate;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod status;
pub(crate) mod sync;
pub(crate) mod up;
pub(crate) mod verify;
