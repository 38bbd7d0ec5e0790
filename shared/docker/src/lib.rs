//! All that Holdfast knows of a Docker engine.
//!
//! - [`facts`]: containers, volumes and networks as plain structs.
//! - [`labels`]: what the labels of a container or volume ask for. Pure.
//! - [`inventory`]: which volumes are taken and which are left out, which databases there are, which stacks. Pure.
//! - [`quiet`]: which containers stop or pause while volumes are read, and in which order. Pure.
//! - [`intent`]: what a quiet time is about to do, on disk, so that a successor can bring the containers back.
//! - [`engine`]: the engine itself: narrow, every call with a time limit, every error with a name.
//! - [`perform`]: carries out a quiet plan, and brings everything back in every exit path.
//! - [`network`]: networks that are joined for a while, to reach a database.
//! - [`helper`]: containers that are made only to reach a volume's files through the engine.

pub mod engine;
pub mod facts;
pub mod helper;
pub mod intent;
pub mod inventory;
pub mod labels;
pub mod network;
mod owned;
pub mod perform;
pub mod quiet;
