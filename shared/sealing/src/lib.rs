//! All OpenPGP in Holdfast: certificates, sealing, signing, opening, checking.
//!
//! - [`Recipients`] are the public certificates that a repository is sealed to. They are validated once, when they are
//!   loaded, and sealing refuses them from the moment they expire.
//! - [`PackSealer`] seals many packs under one session key; [`seal`] and [`seal_stream`] seal single objects;
//!   [`sign_and_seal`] makes the signed records (manifests, restore points).
//! - [`SecretKeys`] open what was sealed. [`open_signed`] opens a record and insists on one good signature of a
//!   [`TrustedSigners`] member.
//! - [`generate`] makes a key.
//!
//! Every sealed object is one complete OpenPGP message, so any OpenPGP program can open it without Holdfast. The
//! [`Profile`] decides which programs: with [`Profile::Gnupg`], also GnuPG 2.2. The packet format is always pinned by the
//! profile and never derived from what a certificate advertises.
//!
//! What "opened" means: [`SecretKeys::open`] and [`open_signed`] return bytes only after the whole message was
//! authenticated. [`SecretKeys::open_stream`] and [`SecretKeys::open_reader`] hand bytes out earlier and are only for
//! objects whose SHA-256 was checked first.

mod cache;
mod certs;
mod error;
mod generate;
mod helper;
mod judgement;
mod opening;
mod packets;
mod recipients;
mod seal;
mod secret;
mod seipd1;
mod sign;
mod trusted;
mod verify;

pub use error::{KeyError, OpenError, SealError};
pub use generate::{GeneratedKey, KeyPurpose, generate};
pub use holdfast_format::Profile;
pub use opening::Opening;
pub use packets::{missing_readers, recipients_of};
pub use recipients::Recipients;
pub use seal::{PackSealer, seal, seal_stream};
pub use secret::SecretKeys;
pub use sign::{Signer, sign_and_seal};
pub use trusted::TrustedSigners;
pub use verify::{Opened, open_signed};
