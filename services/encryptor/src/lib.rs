//! The encryptor: compresses and seals staged packs, in parallel; closes artefacts with contents and a signed manifest.
//!
//! Work in: `seal` per pack, `close` per artefact, both of its own site, whose staging it shares. Leaves packs, contents,
//! manifest. It holds public keys, the reader key and a producer's key, and no secret key of a backup. A job that comes again finds the
//! receipt or the manifest, and only hands on; a pack that is stored already is never written twice.

mod close;
mod process;
mod readers;
mod seal;
mod stage;

pub use process::main;
pub use stage::Encryptor;
