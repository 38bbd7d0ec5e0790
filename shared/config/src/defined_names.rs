//! Names that one section defines and another one refers to.

use std::str::FromStr;

use crate::suggest;

/// The names that other sections can refer to.
pub(crate) struct DefinedNames<T> {
    names: Vec<T>,
    complete: bool,
}

impl<T: Clone + AsRef<str> + FromStr> DefinedNames<T> {
    /// Makes the list. `complete` is true if all sections that define such names could be read.
    pub(crate) fn new(names: Vec<T>, complete: bool) -> Self {
        Self { names, complete }
    }

    /// Returns the name that `text` means. If a section that may define it is at fault, any name is accepted, since the
    /// configuration is refused anyway.
    ///
    /// # Errors
    /// If there is no such name. The error is a hint to append to the rule, and may be empty.
    pub(crate) fn find(&self, text: &str) -> Result<T, String> {
        let found = self.names.iter().find(|name| name.as_ref() == text).cloned();
        let found = found.or_else(|| text.parse().ok().filter(|_| !self.complete));
        found.ok_or_else(|| suggest::hint(text, self.names.iter().map(AsRef::as_ref)))
    }
}
