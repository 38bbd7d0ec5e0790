//! Moments of a capture at which a test may change the file system, and numbers of inodes that a test may tell.

/// A moment in the capture of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// The name was read; nothing is known of it.
    Named,
    /// The entry was looked at, and is not open yet.
    Seen,
    /// The entry is open, its size is known, and nothing of it was read.
    Opened,
    /// A part of it was read.
    Reading,
}

#[cfg(not(test))]
pub(super) fn reached(_: Moment, _: &[u8]) {}

/// The number of an inode, as the system tells it.
#[cfg(not(test))]
pub(super) fn inode(told: u64) -> u64 {
    told
}

#[cfg(test)]
pub(super) use hook::{inode, reached, renumber, set};

#[cfg(test)]
mod hook {
    use super::Moment;
    use std::cell::RefCell;
    use std::collections::HashMap;

    type Hook = Box<dyn FnMut(Moment, &[u8])>;

    thread_local! {
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
        static NUMBERS: RefCell<HashMap<u64, u64>> = RefCell::default();
    }

    pub(in crate::tree) fn reached(moment: Moment, path: &[u8]) {
        HOOK.with_borrow_mut(|hook| {
            if let Some(hook) = hook {
                hook(moment, path);
            }
        });
    }

    pub(in crate::tree) fn inode(told: u64) -> u64 {
        NUMBERS.with_borrow(|numbers| numbers.get(&told).copied().unwrap_or(told))
    }

    /// Lets this thread's captures take the inode of one number for one of another, as if the file system had used it again.
    pub(in crate::tree) fn renumber(told: u64, number: u64) {
        NUMBERS.with_borrow_mut(|numbers| numbers.insert(told, number));
    }

    /// Sets what this thread's captures call.
    pub(in crate::tree) fn set(hook: impl FnMut(Moment, &[u8]) + 'static) {
        HOOK.set(Some(Box::new(hook)));
    }
}
