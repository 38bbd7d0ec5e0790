//! Moments of a capture at which a test may change the file system.

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// The name was read; nothing is known of it.
    Named,
    /// It was looked at, and is not open yet.
    Seen,
    /// It is open, its size is known, and nothing of it was read.
    Opened,
    /// A part of it was read.
    Reading,
}

#[cfg(not(test))]
pub(super) fn reached(_: Moment, _: &[u8]) {}

#[cfg(test)]
pub(super) use hook::{reached, set};

#[cfg(test)]
mod hook {
    use super::Moment;
    use std::cell::RefCell;

    type Hook = Box<dyn FnMut(Moment, &[u8])>;

    thread_local! {
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    pub(in crate::tree) fn reached(moment: Moment, path: &[u8]) {
        HOOK.with_borrow_mut(|hook| {
            if let Some(hook) = hook {
                hook(moment, path);
            }
        });
    }

    /// Sets what this thread's captures call.
    pub(in crate::tree) fn set(hook: impl FnMut(Moment, &[u8]) + 'static) {
        HOOK.set(Some(Box::new(hook)));
    }
}
