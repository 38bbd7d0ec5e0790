//! What the services that capture share: one capture from work to draft, what follows it, listings, the staging folder,
//! and the question that the dumper asks whoever speaks to a Docker engine.
//!
//! A capture begins with [`Session::begin`], which looks at what is there already. Packs are handed to the encryptor while
//! the capture goes on; what follows an attempt that is whole, [`ask_for_seals`] says, for the encryptor too.

mod docker_question;
mod input;
mod listing;
mod next;
mod session;
mod stager;
mod staging;

pub use docker_question::{DatabaseContainer, DockerReply, Reachable, answer_docker, ask_docker, own_container};
pub use input::{Found, Input, Precopy};
pub use listing::{Listing, write_listing};
pub use next::{ask_for_seals, hand_on_sealed, missing_captures, staged_artefacts};
pub use session::Session;
pub use staging::{StagingFolderError, is_in_memory, open_staging, staging_dir};
