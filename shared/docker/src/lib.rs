//! The library for Docker engines: reading their facts, deciding what to back up, making containers quiet.
//!
//! - [`facts`]: containers, volumes and networks as plain structs.
//! - [`labels`]: reads the labels of a container or volume. Pure.
//! - [`inventory`]: decides which volumes are taken and which are left out, and lists databases and stacks. Pure.
//! - [`quiet`]: decides which containers stop or pause while volumes are read, and in which order. Pure.
//! - `intent`: writes the actions of a quiet time to disk, so that a successor can bring the containers back.
//! - [`engine`]: calls the engine. Every call has a time limit, and every error names the operation and the thing.
//! - [`perform`]: carries out a quiet plan, and brings everything back in every exit path.
//! - [`network`]: joins networks for a while, to reach a database.
//! - [`reach`]: finds the way to the databases of a container.
//! - [`helper`]: makes containers only to reach a volume's files through the engine.

pub mod engine;
pub mod facts;
pub mod helper;
mod intent;
pub mod inventory;
pub mod labels;
pub mod network;
mod owned;
pub mod perform;
pub mod quiet;
pub mod reach;
