//! Names that one section gives and another one refers to.

use std::str::FromStr;

use crate::suggest;

/// The names that can be referred to.
pub(crate) struct Known<T> {
    names: Vec<T>,
    complete: bool,
}

impl<T: Clone + AsRef<str> + FromStr> Known<T> {
    /// `complete`: whether all sections that give such names could be read.
    pub(crate) fn new(names: Vec<T>, complete: bool) -> Self {
        Self { names, complete }
    }

    /// The name that `text` means. As long as a section that may give it is at fault itself, any name will do: the
    /// configuration is refused anyway.
    ///
    /// # Errors
    /// Nothing has this name: what the rule should go on with, perhaps nothing.
    pub(crate) fn find(&self, text: &str) -> Result<T, String> {
        let found = self.names.iter().find(|name| name.as_ref() == text).cloned();
        let found = found.or_else(|| text.parse().ok().filter(|_| !self.complete));
        found.ok_or_else(|| suggest::hint(text, self.names.iter().map(AsRef::as_ref)))
    }
}
