//! Captures with a real place, real staging and a private bus, as the services make them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod begin;
mod common;
mod docker_question;
mod listing;
mod parent;
mod recording;
mod staging;
