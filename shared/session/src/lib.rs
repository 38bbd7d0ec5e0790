//! What the services that capture share: one capture from work to draft, what follows it, listings, the staging folder,
//! and the question that the dumper asks whoever speaks to a Docker engine.
//!
//! A capture is a value with steps. [`Session::begin`] looks at what is there already; [`Session::recording`] begins an
//! attempt; [`Recording::read`] reads the source into it, perhaps after a [`Recording::precopy`]; [`Recorded::finish`]
//! makes the attempt whole. Packs are handed to the encryptor meanwhile. What follows an attempt that is whole, is said
//! once, for the encryptor too: [`next_works`].

mod beside;
mod docker_question;
mod hand_over;
mod history;
mod input;
mod listing;
mod next;
mod parent;
mod recording;
mod session;
mod stager;
mod staging;
mod whole;

pub use docker_question::{DatabaseContainer, DockerReply, Reachable, answer_docker, ask_docker, own_container};
pub use input::{Found, Input};
pub use listing::{Listing, write_listing};
pub use next::{ask_for_next, hand_on_sealed, missing_captures, next_works, staged_artefacts};
pub use recording::{Recorded, Recording};
pub use session::Session;
pub use staging::{StagingFolderError, is_in_memory, open_staging, staging_dir};
