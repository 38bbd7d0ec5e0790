//! The contents of an attempt's pre-copy, read.

use std::io;

use holdfast_format::{ContentsError, ContentsReader};

use super::attempt::Attempt;
use super::files;
use crate::{ContentsIter, ReadContents};

impl Attempt {
    /// The contents of the pre-copy.
    #[must_use]
    pub fn precopied(&self) -> PrecopyContents<'_> {
        PrecopyContents(self)
    }
}

/// The contents of an attempt's pre-copy, once they are whole.
pub struct PrecopyContents<'a>(&'a Attempt);

impl ReadContents for PrecopyContents<'_> {
    fn lines(&self) -> Result<ContentsIter<'_>, ContentsError> {
        let lines = self.0.read(files::PRECOPY);
        let lines = lines.and_then(|lines| lines.ok_or_else(|| io::ErrorKind::NotFound.into()));
        let reader = ContentsReader::new(lines.map_err(ContentsError::Read)?, self.0.artefact())?;
        Ok(Box::new(reader))
    }
}
