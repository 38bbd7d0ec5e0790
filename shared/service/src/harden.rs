//! Keeps the secret key inside this process.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// The system does not let this process close its memory to others.
#[derive(Debug, thiserror::Error)]
#[error("cannot forbid core dumps and debuggers for this process, which is to hold a secret key")]
pub struct HardenError(#[source] io::Error);

/// Forbids core dumps of this process, and keeps other processes of its user from reading its memory or attaching to
/// it.
///
/// # Errors
/// [`HardenError`] if the system refuses.
pub fn harden() -> Result<(), HardenError> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).map_err(|e| HardenError(e.into()))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|e| HardenError(e.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_core_is_dumped() {
        harden().unwrap();
        let limit = rustix::process::getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        assert_eq!(
            rustix::process::dumpable_behavior().unwrap(),
            DumpableBehavior::NotDumpable
        );
    }
}
