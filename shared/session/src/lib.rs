//! The library of the services that capture: one capture from work to draft, the work after it, listings, the staging
//! folder, and the question that the dumper asks the process that speaks to a Docker engine.
//!
//! A capture is a value with steps. [`Session::begin`] looks at what is there already; [`Session::recording`] begins an
//! attempt; [`Recording::read`] reads the source into it, perhaps after a [`Recording::precopy`]; [`Recorded::finish`]
//! makes the attempt whole. Packs are handed to the encryptor meanwhile. [`next_works`] returns the work that
//! follows a whole attempt, for the encryptor too.

mod docker_question;
mod hand_over;
mod history;
mod input;
mod joined_thread;
mod listing;
mod next_work;
mod parent;
mod recording;
mod session;
mod staged_attempt;
mod stager;
mod staging;

pub use docker_question::{DatabaseContainer, DockerReply, Reachable, answer_docker, ask_docker, own_container};
pub use input::{Input, SourceFacts};
pub use listing::{Listing, write_listing};
pub use next_work::{ask_for_next, hand_on_sealed, missing_captures, next_works, staged_artefacts};
pub use recording::{Recorded, Recording};
pub use session::Session;
pub use staging::{StagingFolderError, open_staging, staging_dir};
